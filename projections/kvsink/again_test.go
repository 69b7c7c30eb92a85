package kvsink_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/kvsink"
)

// TestBrokenOffWithinRecord: a commit that is broken off between two events of one record, which
// change the same document, leaves out neither when it is done again.
func TestBrokenOffWithinRecord(t *testing.T) {
	server := startServers(t, 1)[0]
	for meanwhile, until := range map[string]uint64{"nothing": 0, "stays": 1, "moves": 4} {
		other, dying := open(t, connect(t, server), 1), open(t, connect(t, server), 1)
		p := counter("record_" + meanwhile)
		if err := other.Prepare(within(t), p, 1); err != nil {
			t.Fatal(err)
		}
		u := projections.Unit{Projection: p.Name(), Generation: 1}
		from, to := projections.Checkpoint{Done: 1}, projections.Checkpoint{Done: 5}
		nothing := func(projections.Batch) error { return nil }
		if err := other.Commit(within(t), u, projections.Checkpoint{}, from, nothing); err != nil {
			t.Fatal(err)
		}
		breakOff(t, dying, u, from, to, func(b projections.Batch) error { return wide(p, b) })
		if got := dump(t, other, u); len(got) < 2 || len(got) > wideEvents {
			t.Fatalf("there are %d documents: it was not broken off within the record", len(got))
		}
		if at, err := other.Checkpoint(within(t), u); at != from || err != nil {
			t.Fatalf("it is at %+v, %v", at, err)
		}
		if until > 0 { // what is parked is tried, or a smaller batch
			next := projections.Checkpoint{Done: until}
			if err := other.Commit(within(t), u, from, next, nothing); err != nil {
				t.Fatal(err)
			}
			from = next
		}
		if err := other.Commit(within(t), u, from, to, func(b projections.Batch) error { return wide(p, b) }); err != nil {
			t.Fatal(err)
		}
		got := dump(t, other, u)
		if want := fmt.Sprintf(`{"n":%d}`, wideEvents); got["all"] != want || len(got) != wideEvents+1 {
			t.Errorf("%s: all is %s, of %d documents; want %s of %d", meanwhile, got["all"], len(got), want, wideEvents+1)
		}
	}
}

// wideEvents are those of one record, more than a part has room for.
const wideEvents = 600

// wide has all of them handled: each changes a document of its own, and one that is of all.
func wide(p *projections.Projection, b projections.Batch) error {
	for n := range wideEvents {
		own, all := item(fmt.Sprintf("key-%d", n), 5), item("all", 5)
		own.Index, all.Index = n, n
		if err := errors.Join(p.Handle(b, own), p.Handle(b, all)); err != nil {
			return err
		}
	}
	return nil
}

// breakOff has a sink die after the first part of a commit.
func breakOff(t *testing.T, s *kvsink.Sink, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) {
	t.Helper()
	ctx, die := context.WithCancel(t.Context())
	defer die()
	s.Through(func(m *nats.Msg, request bool, next func() error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := next()
		if request && m.Header.Get("Nats-Batch-Commit") != "" {
			die()
		}
		return err
	})
	if err := s.Commit(ctx, u, from, to, do); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Fatalf("the one that died returned %v", err)
	}
}

// TestPutBack: when a bucket is put back to an earlier state, what the sink remembers of its
// documents is not what is there: all that is done again has its effect.
func TestPutBack(t *testing.T) {
	server := startServers(t, 1)[0]
	conn := connect(t, server)
	for _, notices := range []string{"writing", "looking", "missing"} {
		name := "put_back_" + notices
		s, other := open(t, conn, 1), open(t, connect(t, server), 1)
		p := counter(name)
		if err := s.Prepare(within(t), p, 1); err != nil {
			t.Fatal(err)
		}
		u := projections.Unit{Projection: name, Generation: 1}
		commit := func(n uint64, key string) error {
			return s.Commit(within(t), u, projections.Checkpoint{Done: n - 1}, projections.Checkpoint{Done: n}, func(b projections.Batch) error {
				return p.Handle(b, item(key, n))
			})
		}
		if err := errors.Join(commit(1, "a"), commit(2, "b"), other.Drop(within(t), name, 1)); err != nil {
			t.Fatal(err)
		}
		if notices == "missing" {
			if err := commit(3, "c"); !errors.Is(err, holdfast.ErrUnavailable) {
				t.Fatalf("without the bucket it returned %v", err)
			}
		}
		if err := other.Prepare(within(t), p, 1); err != nil {
			t.Fatal(err)
		}
		if notices == "writing" {
			if err := commit(3, "c"); !errors.Is(err, projections.ErrFenced) {
				t.Fatalf("the one that goes on returned %v, want ErrFenced", err)
			}
		}
		if at, err := s.Checkpoint(within(t), u); at.Done != 0 || err != nil {
			t.Fatalf("it is at %+v, %v", at, err)
		}
		if err := errors.Join(commit(1, "a"), commit(2, "b")); err != nil {
			t.Fatal(err)
		}
		if got := dump(t, s, u); got["a"] != `{"n":1}` || got["b"] != `{"n":1}` {
			t.Errorf("%s: there is %v", notices, got)
		}
	}
}
