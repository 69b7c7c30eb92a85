package sqlsink_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

// TestDeadlock: shards are handled side by side, and one that waits for another in a circle
// breaks its batch, which can be done again.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	c := kinds[1].at(t)
	s, p := open(t, c), rows("orders", counts, projections.Shards(2))
	first := prepare(t, s, p, 1)
	second := first
	second.Shard = 1
	var both sync.WaitGroup
	both.Add(2)
	do := func(one, two string, tries *int) func(b projections.Batch) error {
		return func(b projections.Batch) error {
			if err := add(b, one, 1); err != nil {
				return err
			}
			if *tries++; *tries == 1 {
				both.Done()
				both.Wait() // side by side: neither waits for the other's end
			}
			err := add(b, two, 1)
			if err != nil && b.Broken() == nil {
				t.Errorf("refused: %v", err)
			}
			return err
		}
	}
	broken := make(chan error, 100)
	var done sync.WaitGroup
	for _, w := range []struct {
		u        projections.Unit
		one, two string
	}{{first, "a", "b"}, {second, "b", "a"}} {
		done.Go(func() {
			tries := 0
			err := commit(t, s, w.u, do(w.one, w.two, &tries))
			for ; errors.Is(err, holdfast.ErrUnavailable); err = commit(t, s, w.u, do(w.one, w.two, &tries)) {
				broken <- err
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if len(broken) != 1 || !strings.Contains((<-broken).Error(), "40P01") {
		t.Errorf("%d more batches were broken, want one", len(broken))
	}
	if got := strings.Join(dump(t, s, first), " "); got != `counts/a: {"id":"a","n":2} counts/b: {"id":"b","n":2}` {
		t.Errorf("there are %s", got)
	}
}

// TestHang: the locks of a handler that hangs are taken from it, and its batch is broken.
func TestHang(t *testing.T) {
	t.Parallel()
	c := kinds[1].at(t)
	p := rows("orders", counts)
	other := open(t, c)
	u := prepare(t, other, p, 1)
	var idle string
	if err := other.Query(within(t), "orders", 1, func(b projections.Batch) error {
		_, err := b.Get(`SELECT current_setting('idle_in_transaction_session_timeout')`, nil, []any{&idle})
		return err
	}); err != nil || idle != "15s" {
		t.Errorf("a session may idle for %q, %v", idle, err)
	}
	c.URL += "&idle_in_transaction_session_timeout=200"
	s := open(t, c)
	hung := false
	err := hastily(t, s, other, u, func(b projections.Batch) error {
		if err := add(b, "a", 1); err != nil {
			return err // it is the machine that hangs, before the handler does
		}
		hung = true
		if err := commit(t, other, u, func(b projections.Batch) error { return add(b, "b", 1) }); err != nil {
			t.Errorf("another node: %v", err)
		}
		err := add(b, "c", 1)
		if err == nil || b.Broken() == nil {
			t.Errorf("after its end: %v, broken: %v", err, b.Broken())
		}
		return nil
	}, func() bool { return hung })
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	if err := hastily(t, s, other, u, func(b projections.Batch) error { return add(b, "b", 1) }, func() bool { return false }); err != nil {
		t.Errorf("the next one: %v", err)
	}
	if got := strings.Join(dump(t, other, u), " "); got != `counts/b: {"id":"b","n":2}` {
		t.Errorf("there are %s", got)
	}
}

// hastily commits with a sink that may idle for moments only, again when the machine was slower
// than that, until it is enough.
func hastily(t *testing.T, s, other *sqlsink.Sink, u projections.Unit, do func(projections.Batch) error, enough func() bool) error {
	t.Helper()
	ctx := within(t)
	for {
		from, err := other.Checkpoint(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		to := from
		to.Done++
		err = s.Commit(ctx, u, from, to, do)
		if !errors.Is(err, holdfast.ErrUnavailable) || enough() || ctx.Err() != nil {
			return err
		}
	}
}

// TestWaits: a batch waits for another one of its file no longer than its context says, and a
// statement ends with it.
func TestWaits(t *testing.T) {
	t.Parallel()
	c := kinds[0].at(t)
	s := open(t, c)
	u := prepare(t, s, rows("orders", counts), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := commit(t, s, u, func(projections.Batch) error {
		for _, waits := range []*sqlsink.Sink{s, open(t, c)} {
			err := waits.Commit(ctx, u, projections.Checkpoint{}, projections.Checkpoint{Done: 1}, func(projections.Batch) error {
				t.Error("it was begun")
				return nil
			})
			if !errors.Is(err, holdfast.ErrUnavailable) {
				t.Errorf("it returned %v", err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := s.Query(ctx, "orders", 1, func(b projections.Batch) error {
		_, err := b.Get(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n`, nil, []any{new(int)})
		return err
	})
	if !errors.Is(err, holdfast.ErrUnavailable) || ctx.Err() == nil {
		t.Errorf("a query without an end returned %v", err)
	}
}

// TestGuests: queries that hang keep nobody from the checkpoints.
func TestGuests(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, rows("orders", counts), 1)
		var hang, begun, ended sync.WaitGroup
		hang.Add(1)
		for range 8 {
			begun.Add(1)
			ended.Go(func() {
				if err := s.Query(within(t), "orders", 1, func(projections.Batch) error {
					begun.Done()
					hang.Wait()
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		begun.Wait()
		if _, err := s.Checkpoint(within(t), u); err != nil {
			t.Errorf("checkpoint: %v", err)
		}
		hang.Done()
		ended.Wait()
	})
}

// TestAbandoned: a statement that nobody waits for any more keeps no lock.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	c := kinds[1].at(t)
	s := open(t, c)
	u := prepare(t, s, rows("orders", counts), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := s.Commit(ctx, u, projections.Checkpoint{}, projections.Checkpoint{Done: 1}, func(b projections.Batch) error {
		_, err := b.Exec(`SELECT pg_sleep(600)`, nil)
		return err
	})
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("it returned %v", err)
	}
	if err := again(t, s, u, 1, func(b projections.Batch) error { return add(b, "a", 1) }); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
