package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// atRest returns when nothing has come for a while.
func atRest(nc *nats.Conn) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for still, came := 0, uint64(0); still < 5; still++ {
		<-tick.C
		if now := nc.Stats().InMsgs; now != came {
			still, came = 0, now
		}
	}
}

// appendMany appends commits of one event to as many aggregates, many at a time.
func appendMany(t *testing.T, s persistence.Store, n int, data []byte) {
	t.Helper()
	type answer struct {
		ref holdfast.Ref
		err error
	}
	answers := make(chan answer, n)
	changes := []*messages.Change{{CommandId: "c", Events: []*messages.Event{{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: data}}}}
	send := func(ref holdfast.Ref) {
		s.Append(ref, persistence.Head{}, changes, func(_ persistence.Head, err error) { answers <- answer{ref, err} })
	}
	deadline := time.Now().Add(long)
	for i := range n {
		send(holdfast.Ref{Type: "t", ID: fmt.Sprint(i)})
		if i%1000 < 999 && i < n-1 {
			continue
		}
		for left := i%1000 + 1; left > 0; left-- {
			a := <-answers
			late := errors.Is(a.err, holdfast.ErrUncertain) || errors.Is(a.err, holdfast.ErrUnavailable)
			switch {
			case late && time.Now().Before(deadline): // the machine is busy: if it is there, that is a conflict
				left++
				send(a.ref)
			case a.err != nil && !errors.Is(a.err, holdfast.ErrConflict):
				t.Fatal(a.err)
			}
		}
	}
}

// A scan asks for no more than it has room for, however small the messages and however
// slow the reader: what the client's library drops would have to be read again.
func TestScanOverrunsNothing(t *testing.T) {
	commits := 20_000
	if testing.Short() {
		commits /= 4
	}
	s := startServers(t, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	var complaints atomic.Int64
	read, err := s.list[0].Connect(natsd.Node, nats.ReconnectBufSize(-1), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		complaints.Add(1)
		t.Log(err)
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(read.Close)
	store := s.open(t, jetstream.Config{Context: "slow", Read: []*nats.Conn{read}})
	appendMany(t, store, commits, nil)

	seen := 0
	unread, err := store.Scan(t.Context(), persistence.ScanOptions{}, func(persistence.Record) error {
		if seen++; seen%501 == 1 { // in the moments after more has been asked for, and others
			atRest(read)
		}
		return nil
	})
	if err != nil || unread != 0 || seen != commits {
		t.Errorf("read %d of %d commits, %d unread: %v", seen, commits, unread, err)
	}
	if n := complaints.Load(); n > 0 {
		t.Errorf("the client's library had to drop messages: %d complaints", n)
	}
}

// Whoever reads more slowly than the disk has only so much on its way.
func TestScanKeepsLittleOnItsWay(t *testing.T) {
	const commits, size, bound = 800, 100 << 10, 1 << 20
	s := startServers(t, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	read := s.connect(t, 0)
	store := s.open(t, jetstream.Config{Context: "big", Read: []*nats.Conn{read}})
	appendMany(t, store, commits, make([]byte, size))

	for tries := 1; ; tries++ {
		before, taken, most := read.Stats().InBytes, uint64(0), uint64(0)
		unread, err := store.Scan(t.Context(), persistence.ScanOptions{}, func(r persistence.Record) error {
			if taken%(50*size) < size {
				atRest(read)
				most = max(most, read.Stats().InBytes-before-taken)
			}
			taken += uint64(len(r.Body))
			return nil
		})
		if err != nil || unread != 0 || taken < commits*size {
			t.Errorf("read %d bytes, %d commits unread: %v", taken, unread, err)
		}
		if t.Logf("%d bytes were on their way", most); most <= bound {
			return
		}
		if tries == 5 { // whenever this process stands still, some comes twice
			t.Fatalf("%d bytes were on their way, want %d at the most", most, bound)
		}
	}
}

// A scan ends with its context, also when more has come already.
func TestScanEndsWithItsContext(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	read := s.connect(t, 0)
	store := s.open(t, jetstream.Config{Context: "ends", Read: []*nats.Conn{read}})
	appendMany(t, store, 2, nil)
	for range 10 { // Go chooses among what is ready at random
		ctx, cancel := context.WithCancel(t.Context())
		_, err := store.Scan(ctx, persistence.ScanOptions{}, func(persistence.Record) error {
			atRest(read)
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
	}
}
