package kvsink_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// TestBrokenOffWithinRecord: a commit that is broken off between two events of one record, which
// change the same document, leaves out neither when it is done again.
func TestBrokenOffWithinRecord(t *testing.T) {
	server := startServers(t, 1)[0]
	other, dying := open(t, connect(t, server), 1), open(t, connect(t, server), 1)
	p := counter("record")
	if err := other.Prepare(within(t), p, 1); err != nil {
		t.Fatal(err)
	}
	u := projections.Unit{Projection: "record", Generation: 1}
	const events = 600 // of one record; more than a part has room for
	do := func(b projections.Batch) error {
		for n := range events {
			i := item(fmt.Sprintf("key-%d", n), 1)
			i.Index = n
			both := item("all", 1)
			both.Index = n
			if err := errors.Join(p.Handle(b, i), p.Handle(b, both)); err != nil {
				return err
			}
		}
		return nil
	}
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
	to := projections.Checkpoint{Done: 1}
	if err := dying.Commit(ctx, u, projections.Checkpoint{}, to, do); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Fatalf("the one that died returned %v", err)
	}
	if got := dump(t, other, u); len(got) < 2 || len(got) > events {
		t.Fatalf("there are %d documents: it was not broken off within the record", len(got))
	}
	if err := other.Commit(within(t), u, projections.Checkpoint{}, to, do); err != nil {
		t.Fatal(err)
	}
	got := dump(t, other, u)
	if want := fmt.Sprintf(`{"n":%d}`, events); got["all"] != want || len(got) != events+1 {
		t.Errorf("all is %s, of %d documents; want %s of %d", got["all"], len(got), want, events+1)
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
