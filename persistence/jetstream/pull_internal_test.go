package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// largeServer is quick, and takes what is large.
func largeServer(t *testing.T) *natsd.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := natsd.Start(ctx, natsd.Config{
		DataDir: t.TempDir(), Context: "unused", MaxPayload: 8 << 20, RelaxedSync: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// requests counts those for messages.
func (r *reader) requests(t *testing.T) *nats.Subscription {
	t.Helper()
	made, err := r.store.publish.nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.>")
	if err == nil {
		err = r.store.publish.nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestPullTakesWhatIsLarge, beyond all that is asked for at a time, and in between.
func TestPullTakesWhatIsLarge(t *testing.T) {
	r, _ := beginOn(t, largeServer(t), "real.log.0.>", 1, 1)
	sizes := []int{
		1, 3 << 20, 1, 5 << 20, 6 << 20, 100, pullBytes / 2, pullBytes/2 + 1, pullBytes / 2, pullBytes/2 - 200, 7 << 20,
		pullBytes - 100, pullBytes - 50, pullBytes, pullBytes + 1, pullBytes/2 + 1000, pullBytes/2 + 2000, pullBytes/2 + 3000, 1,
	}
	for !testing.Short() && len(sizes) < 70 {
		sizes = append(sizes, sizes...)
	}
	for i, size := range sizes {
		if err := r.store.publish.nc.Publish("real.log.0.account.a-1", bytes.Repeat([]byte{byte(i)}, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.store.publish.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.end = uint64(1 + len(sizes))
	untilQuick(t, func() error {
		r.from(t, 1)
		requests := r.requests(t)
		r.mustRead(t, 1)
		name := r.consumer.CachedInfo().Name
		for i, size := range sizes {
			rec, more, err := r.read(t.Context())
			if err != nil || !more || len(rec.Body) != size || rec.Body[0] != byte(i) {
				t.Fatalf("record %d has %d bytes, %v, %v, want %d", i, len(rec.Body), more, err, size)
			}
		}
		if now := r.consumer.CachedInfo().Name; now != name {
			return errors.New("there was another consumer")
		}
		n, _, err := requests.Pending()
		if t.Logf("%d records by %d requests", len(sizes), n); err != nil || n > 3*len(sizes) {
			return fmt.Errorf("%d requests were made for %d records, %w", n, len(sizes), err)
		}
		return nil
	})
}

// TestPullAsksForLittle of a log of small records, and seldom.
func TestPullAsksForLittle(t *testing.T) {
	r, _ := beginOn(t, largeServer(t), "real.log.0.>", 1, 1)
	const n = 5 * pullMessages
	for range n {
		if err := r.store.publish.nc.Publish("real.log.0.account.a-1", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.store.publish.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	requests := r.requests(t)
	most := 0
	await(t, "all are stored", func() bool {
		i, err := r.store.info(t.Context(), r.partition)
		r.end = i.State.LastSeq
		return err == nil && r.end > n
	})
	untilQuick(t, func() error {
		r.from(t, 1)
		before, _, err := requests.Pending()
		if err != nil {
			t.Fatal(err)
		}
		for r.next <= r.end {
			r.mustRead(t, r.next)
			most = max(most, len(r.pull.msgs))
		}
		if made, _, err := requests.Pending(); err != nil || made-before > n/pullPart+4*n/pullMessages {
			return fmt.Errorf("%d requests were made for %d records, %w", made-before, n, err)
		}
		return nil
	})
	if t.Logf("%d waited", most); most > pullMessages+pullRoom/2 {
		t.Errorf("%d messages waited", most)
	}
}

// TestPullAsksAhead, when half of what is to be on its way has come.
func TestPullAsksAhead(t *testing.T) {
	r, _ := beginOn(t, largeServer(t), "real.log.0.>", 0, 1)
	const size, n = pullBytes / 10, 30
	for range n {
		if err := r.store.publish.nc.Publish("real.log.0.account.a-1", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.store.publish.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.end = n
	untilQuick(t, func() error {
		r.from(t, 1)
		requests := r.requests(t)
		for i := range 7 {
			r.mustRead(t, uint64(i+1))
			for _, nc := range []*nats.Conn{r.store.js.Conn(), r.store.publish.nc} {
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			if made, _, err := requests.Pending(); err != nil || made > 1 && i < 5 || made != 2 && i > 5 {
				return fmt.Errorf("%d requests were made for %d records, %w", made, i+1, err)
			}
		}
		return nil
	})
}

// from has the reader begin anew.
func (r *reader) from(t *testing.T, next uint64) {
	t.Helper()
	r.next = next
	if err := r.open(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}

// TestPullHears at once that its consumer is gone.
func TestPullHears(t *testing.T) {
	t.Parallel()
	r, _ := begun(t, "real.log.0.>", 1)
	heard := func(quiet time.Duration) error {
		begin := time.Now()
		_, err := r.receive(t.Context(), quiet)
		t.Logf("%v, after %s", err, time.Since(begin))
		return err
	}
	untilQuick(t, func() error {
		r.from(t, 1)
		r.mustRead(t, 1)
		if err := heard(3 * heartbeat); !errors.Is(err, errQuiet) { // and not silent
			return fmt.Errorf("of a consumer that has nothing to give: %w", err)
		}
		p, c := r.partition, r.consumer
		time.AfterFunc(heartbeat/4, func() { r.store.deleteConsumer(t.Context(), p, c) })
		if err := heard(patience); !errors.Is(err, errGone) {
			return fmt.Errorf("of a consumer that is deleted: %w", err)
		}
		r.pull.bytes = 0
		if err := heard(patience); !errors.Is(err, errGone) { // nobody answers
			return fmt.Errorf("when it asks for more: %w", err)
		}
		if err := heard(patience); !errors.Is(err, errStill) {
			return fmt.Errorf("without a request: %w", err)
		}
		return nil
	})
}

// TestPullIsQuietBesideHeartbeats that come in the moment in which it finds so.
func TestPullIsQuietBesideHeartbeats(t *testing.T) {
	r, _ := begun(t, "real.log.0.>", 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const quiet = 20 * time.Microsecond
	var beating sync.WaitGroup
	msgs := r.pull.msgs
	beating.Go(func() {
		tick := time.NewTicker(quiet)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			select {
			case msgs <- &nats.Msg{Header: nats.Header{"Status": {"100"}}}:
			default:
			}
		}
	})
	for n := range 2000 {
		begin := time.Now()
		if _, err := r.receive(ctx, quiet); !errors.Is(err, errQuiet) && time.Since(begin) < heartbeat {
			t.Errorf("the %dth time: %v", n, err)
			break
		}
	}
	cancel()
	beating.Wait()
}

// TestPullEndsWithItsConnection, and not when it is missed.
func TestPullEndsWithItsConnection(t *testing.T) {
	on := newSite(t).server
	untilQuick(t, func() error {
		r, _ := beginOn(t, on, "real.log.0.>", 0, 1)
		begin := time.Now()
		time.AfterFunc(heartbeat/4, r.store.js.Conn().Close)
		if _, err := r.receive(t.Context(), patience); !errors.Is(err, errDisconnected) || time.Since(begin) > heartbeat {
			return fmt.Errorf("after %s: %w", time.Since(begin), err)
		}
		return nil
	})
}

// TestPullCountsAsTheServer does: else it would ask too late, or for too much.
func TestPullCountsAsTheServer(t *testing.T) {
	r, _ := begun(t, "real.log.0.>", 0)
	const n, size = 300, 1 << 19
	for i := range n {
		body := bytes.Repeat([]byte("x"), i)
		m := &nats.Msg{Subject: "real.log.0.account.a-1", Data: body, Header: nats.Header{"A": {string(body[i/2:])}}}
		if err := r.store.publish.nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	r.pull.close()
	p, err := newPull(r.store.js.Conn(), &r.store.pulls, r.partition.stream, r.consumer.CachedInfo().Name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := p.request(n, size); err != nil {
		t.Fatal(err)
	}
	got := 0
	for range n {
		got += (<-p.msgs).Size()
	}
	if last := <-p.msgs; last.Header.Get("Nats-Pending-Bytes") != strconv.Itoa(size-got) {
		t.Errorf("after %d of %d bytes the server says %v", got, size, last.Header)
	}
}
