package kvsink_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// TestStale: what a sink remembers of a document, or that there is none, may be old. A handler
// that refuses for that reason has it read anew when it is tried again.
func TestStale(t *testing.T) {
	server := startServers(t, 1)[0]
	s, other := open(t, connect(t, server), 1), open(t, connect(t, server), 1)
	p := counter("stale")
	if err := s.Prepare(within(t), p, 1); err != nil {
		t.Fatal(err)
	}
	own := projections.Unit{Projection: "stale", Generation: 1}
	another := projections.Unit{Projection: "stale", Generation: 1, Partition: 1}
	// Nothing has been committed yet: so much does the sink know.
	if _, err := s.Checkpoint(within(t), own); err != nil {
		t.Fatal(err)
	}
	early := errors.New("it is too early")
	for n, want := range []string{`{"n":1}`, `{"n":2}`} {
		from, to := projections.Checkpoint{Done: uint64(n)}, projections.Checkpoint{Done: uint64(n + 1)}
		count := func(b projections.Batch) error { return p.Handle(b, item("a", to.Done)) }
		if err := other.Commit(within(t), another, from, to, count); err != nil {
			t.Fatal(err)
		}
		look := func(b projections.Batch) error {
			return b.Change("a", projections.Place{Sequence: to.Done}, func(old []byte) ([]byte, error) {
				if string(old) != want {
					return nil, early
				}
				return old, nil
			})
		}
		if err := s.Commit(within(t), own, from, to, look); !errors.Is(err, early) {
			t.Errorf("what the sink remembers: it returned %v", err)
		}
		if err := s.Commit(within(t), own, from, to, look); err != nil {
			t.Errorf("the second time it returned %v", err)
		}
	}
}

// TestWithin: of a commit that was broken off, what has had its effect is not done again, even
// when an event is not refused any more that was parked.
func TestWithin(t *testing.T) {
	server := startServers(t, 1)[0]
	other := open(t, connect(t, server), 1)
	p := newPlay(t, other, "within")
	dying := open(t, connect(t, server), 1)
	ctx, die := context.WithCancel(t.Context())
	defer die()
	dying.Through(func(m *nats.Msg, request bool, next func() error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := next()
		if request && m.Header.Get("Nats-Batch-Commit") != "" {
			die()
		}
		return err
	})
	if err := dying.Commit(ctx, p.u, p.from(), p.to(), p.do); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Fatalf("the one that died returned %v", err)
	}
	at, err := other.Checkpoint(within(t), p.u)
	if err != nil || at != p.from() {
		t.Fatalf("the checkpoint is %+v, %v", at, err)
	}
	err = other.Commit(within(t), p.u, p.from(), p.to(), func(b projections.Batch) error {
		for n := range uint64(playEvents) {
			if err := p.p.Handle(b, item("again", 4+n)); err != nil {
				return err
			}
			if n%500 == 7 { // this time it is not refused, or another one is
				if err := b.Park(park("bad", 5+n)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The first part was of the late events, and of 445 more, with 450 messages.
	if got := dump(t, other, p.u); got["key-0"] != `{"n":1}` || got["key-600"] != "" || got["again"] != `{"n":755}` {
		t.Errorf("key-0 is %s, key-600 %s, again %s", got["key-0"], got["key-600"], got["again"])
	}
	parked, err := other.Parked(within(t), p.u, "bad", 10)
	if err != nil || len(parked) != 3 || parked[0].Event.Position.Sequence() != 11 || parked[1].Event.Position.Sequence() != 512 {
		t.Errorf("parked is %+v, %v", parked, err)
	}
}
