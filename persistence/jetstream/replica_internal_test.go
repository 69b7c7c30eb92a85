package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// begun gives a reader that has begun to read a log of some commits, and what appends more.
func begun(t *testing.T, filter string, commits int) (r *reader, more func(n int)) {
	t.Helper()
	return beginOn(t, newSite(t).server, filter, commits, 1)
}

func beginOn(t *testing.T, server *natsd.Server, filter string, commits, replicas int) (r *reader, more func(n int)) {
	t.Helper()
	connect := func() *nats.Conn {
		nc, err := server.Connect(natsd.Node, nats.ReconnectBufSize(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, Config{Context: "real", Publish: connect(), Read: []*nats.Conn{connect()}, Replicas: replicas, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var head persistence.Head
	more = func(n int) {
		t.Helper()
		for range n {
			appended := make(chan error, 1)
			s.Append(fakeRef, head, []*messages.Change{{Events: []*messages.Event{{Type: "t"}}}}, func(h persistence.Head, err error) {
				head = h
				appended <- err
			})
			if err := <-appended; err != nil {
				t.Error(err)
			}
		}
	}
	more(commits)
	r = &reader{store: s, partition: s.partitions[0], filter: filter, next: 1, patience: patience}
	if err := r.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.finish(context.Background()) })
	return r, more
}

func (r *reader) mustRead(t *testing.T, want uint64) {
	t.Helper()
	rec, more, err := r.read(t.Context())
	if err != nil || !more || rec.Position.Sequence() != want {
		t.Fatalf("read %s, %v, %v, want record %d", rec.Position, more, err, want)
	}
}

// TestReaderGivesUp on a replica that does not come to where its leader is.
func TestReaderGivesUp(t *testing.T) {
	t.Parallel()
	const commits = 3
	r, _ := begun(t, "real.log.0.>", commits)
	r.end = 5
	for n := range uint64(commits) {
		r.mustRead(t, n+1)
	}
	r.patience = 2 * time.Second
	for range 2 {
		untilQuick(t, func() error {
			r.reopen(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, more, err := r.read(ctx)
			if more || err == nil || ctx.Err() != nil {
				t.Fatalf("it reads: %v, %v", more, err)
			}
			if want := "lags behind: it has come to 3 of 5, and no further for 2s"; !strings.Contains(err.Error(), want) {
				return fmt.Errorf("error is %w, want %q", err, want)
			}
			return nil
		})
	}
}

// reopen has a reader that has failed read again.
func (r *reader) reopen(t *testing.T) {
	t.Helper()
	if r.pull != nil {
		return
	}
	before := r.patience
	r.patience = patience
	if err := r.open(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	r.patience = before
}

// untilQuick tries again what a machine that stands still for a moment may spoil: what is to
// take less than some time, or to bear that nothing is heard for less than that.
func untilQuick(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := try()
		if err == nil {
			return
		}
		if t.Log(err); time.Now().After(deadline) {
			t.Fatal("it never is quick enough")
		}
	}
}

// TestReaderWaits for a replica as long as it comes on, although nothing of it is to be read.
func TestReaderWaits(t *testing.T) {
	t.Parallel()
	const commits, lacking = 3, 8
	rest := 250 * time.Millisecond
	r, more := begun(t, "real.log.0.other.>", commits)
	r.end = commits
	untilQuick(t, func() error {
		r.reopen(t)
		rest = min(2*rest, 2*time.Second) // more than the machine stands still
		r.end += lacking
		r.whole = false
		r.patience = lacking / 2 * rest
		var appending sync.WaitGroup
		appending.Go(func() {
			pace := time.NewTicker(rest)
			defer pace.Stop()
			for range lacking {
				<-pace.C
				more(1)
			}
		})
		_, found, err := r.read(t.Context())
		appending.Wait()
		if err != nil || found || r.reached < r.end {
			return fmt.Errorf("it has come to %d of %d, and reads: %v, %w", r.reached, r.end, found, err)
		}
		return nil
	})
}

// TestReaderEndsAtOnce when the replica has no more that matches.
func TestReaderEndsAtOnce(t *testing.T) {
	r, _ := begun(t, "real.log.0.other.>", 3)
	untilQuick(t, func() error {
		r.whole = false
		begin := time.Now()
		_, found, err := r.read(t.Context())
		if found || err != nil {
			t.Fatalf("it reads: %v, %v", found, err)
		}
		if took := time.Since(begin); took >= scanQuiet {
			return fmt.Errorf("it takes %s", took)
		}
		return nil
	})
}

// startThree starts three servers, and gives the first.
func startThree(t *testing.T) *natsd.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	servers, err := natsd.StartCluster(ctx, 3, natsd.Config{DataDir: t.TempDir(), Context: "unused", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		t.Cleanup(s.Stop)
	}
	return servers[0]
}

// TestReaderStays: what is known of one replica says nothing of another.
func TestReaderStays(t *testing.T) {
	r, _ := beginOn(t, startThree(t), "real.log.0.>", 3, 3)
	at := r.at
	for range 12 { // it would come to be there by chance once in half a million
		r.whole = false
		if _, err := r.ended(t.Context()); err != nil || r.at != at {
			t.Fatalf("it is on %s, %v, and was on %s", r.at, err, at)
		}
	}
}

// refusing is a JetStream that refuses to make consumers, some times.
type refusing struct {
	jetstream.JetStream
	code, times int
}

func (j *refusing) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if j.times > 0 {
		j.times--
		return nil, &jetstream.APIError{Code: j.code}
	}
	return j.JetStream.CreateConsumer(ctx, stream, cfg)
}

// TestReaderTriesAgain what JetStream refuses only for now.
func TestReaderTriesAgain(t *testing.T) {
	r, _ := begun(t, "real.log.0.>", 2)
	js := &refusing{r.store.js, 503, 2}
	r.store.js = js
	if err := r.open(t.Context(), ""); err != nil || js.times > 0 {
		t.Fatalf("refused for now: %v", err)
	}
	r.mustRead(t, 1)
	js.code, js.times = 400, 2
	if err := r.open(t.Context(), ""); err == nil || js.times != 1 {
		t.Errorf("refused for good: %v, asked %d times", err, 2-js.times)
	}
}

// TestInfoWaitsForALeader through an election, and asks again what nobody has answered.
func TestInfoWaitsForALeader(t *testing.T) {
	f := newSite(t).fake(t)
	f.grow(2)
	asked := 0
	f.read = func(m *nats.Msg) bool {
		if asked++; asked == 1 {
			f.respond(m, `{"error":{"code":503,"err_code":10008,"description":"no leader"}}`)
		}
		return asked > 2
	}
	described := make(chan result, 1)
	go func() {
		p, err := f.store.Describe(t.Context())
		if err == nil && p[0].Commits != 2 {
			err = fmt.Errorf("described as %+v", p)
		}
		described <- result{err: err}
	}()
	r := f.endTicking(described)
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, r.err)
	}
}

// TestDescribeNeverGoesBack when a new leader knows less than the last one.
func TestDescribeNeverGoesBack(t *testing.T) {
	f := newSite(t).fake(t)
	for _, c := range []struct{ says, want uint64 }{{7, 7}, {5, 7}, {8, 8}} {
		f.answer(map[string]odd{count: says(fmt.Sprintf(`{"state":{"messages":1,"last_seq":%d}}`, c.says))})
		if p, err := f.store.Describe(t.Context()); err != nil || p[0].Last != c.want {
			t.Errorf("when the leader says %d: %+v, %v", c.says, p, err)
		}
	}
}

// TestReaderAsksSeldom how far a replica has come that gives one record after the other.
func TestReaderAsksSeldom(t *testing.T) {
	const commits = 20
	r, more := begun(t, "real.log.0.>", 1)
	made, err := r.store.publish.nc.SubscribeSync("$JS.API.CONSUMER.CREATE.>")
	if err != nil {
		t.Fatal(err)
	}
	untilQuick(t, func() error {
		before, _, err := made.Pending()
		if err != nil {
			t.Fatal(err)
		}
		r.end += commits
		for range commits {
			r.mustRead(t, r.next)
			more(1)
		}
		if n, _, err := made.Pending(); n-before > 5 || err != nil {
			return fmt.Errorf("%d consumers were made meanwhile, %w", n-before, err)
		}
		return nil
	})
}

// TestReaderWaitsForASlowServer that has more to give and does not for a moment.
func TestReaderWaitsForASlowServer(t *testing.T) {
	t.Parallel()
	r, _ := begun(t, "real.log.0.>", 3)
	r.mustRead(t, 1)
	untilQuick(t, func() error {
		r.from(t, 2)
		r.whole = true
		name := r.consumer.CachedInfo().Name
		if _, err := r.store.js.PauseConsumer(t.Context(), r.partition.stream, name, time.Now().Add(3*scanQuiet/2)); err != nil {
			t.Fatal(err)
		}
		r.mustRead(t, 2)
		if now := r.consumer.CachedInfo().Name; now != name {
			return errors.New("it has not waited")
		}
		return nil
	})
}

// TestReaderMissesTheLast messages on their way, so that no other shows that they are gone.
func TestReaderMissesTheLast(t *testing.T) {
	t.Parallel()
	const commits = 3
	r, _ := begun(t, "real.log.0.>", commits)
	r.mustRead(t, 1)
	untilQuick(t, func() error {
		r.from(t, 2)
		r.whole = true
		stolen, err := r.consumer.FetchNoWait(commits)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range stolen.Messages() {
			n++
		}
		if n != commits-1 {
			return fmt.Errorf("%d messages are gone, %w", n, stolen.Error())
		}
		begin := time.Now()
		r.mustRead(t, 2)
		r.mustRead(t, 3)
		if took := time.Since(begin); took >= scanQuiet {
			return fmt.Errorf("it takes %s, and a heartbeat has told of them", took)
		}
		return nil
	})
	if _, found, err := r.read(t.Context()); found || err != nil {
		t.Errorf("after the last: %v, %v", found, err)
	}
}

// TestReaderMissesOne message on its way, and others follow.
func TestReaderMissesOne(t *testing.T) {
	const commits = 5
	r, _ := begun(t, "real.log.0.>", commits)
	r.mustRead(t, 1)
	if err := r.open(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	stolen, err := r.consumer.FetchNoWait(1)
	if err != nil {
		t.Fatal(err)
	}
	for range stolen.Messages() {
	}
	for n := range uint64(commits - 1) {
		r.mustRead(t, n+2)
	}
}

// While there is no leader, all replicas are among the others.
func TestReplicasWithoutALeader(t *testing.T) {
	t.Parallel()
	i := streamInfo{Cluster: &jetstream.ClusterInfo{Leader: "b", Replicas: []*jetstream.PeerInfo{{Name: "c"}, {Name: "a"}}}}
	if got := i.replicas(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("with a leader: %q", got)
	}
	i.Cluster = &jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{{Name: "c"}, {Name: "a"}, {Name: "b"}}}
	if got := i.replicas(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("without: %q", got)
	}
}
