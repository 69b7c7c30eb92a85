package projectionstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

func testNothing(t *testing.T, s *stage) {
	ctx, cancel := within(t)
	defer cancel()
	u := s.unit()
	prepare(t, s.sink, s.p, 1) // a second time
	wantCheckpoint(t, s.sink, u, at(0))
	wantCounts(t, s.sink, u, map[string]int64{})
	keys, err := s.sink.ParkedKeys(ctx, u.Projection, 1, 10)
	if err != nil || len(keys) != 0 {
		t.Errorf("parked keys: %v, %v", keys, err)
	}
	parked, err := s.sink.Parked(ctx, u, "a", 10)
	if err != nil || len(parked) != 0 {
		t.Errorf("parked: %v, %v", parked, err)
	}
	outbox, err := s.sink.Outbox(ctx, u, 10)
	if err != nil || len(outbox) != 0 {
		t.Errorf("outbox: %v, %v", outbox, err)
	}
	if err := s.sink.Carried(ctx, u, "none"); err != nil {
		t.Errorf("carried what was not there: %v", err)
	}
	if s.form == projections.FormDocuments {
		if body, err := s.sink.Document(ctx, u.Projection, 1, "a"); body != nil || err != nil {
			t.Errorf("a document: %q, %v", body, err)
		}
	}
}

// testNotPrepared: of what has not been prepared, nothing is told.
func testNotPrepared(t *testing.T, s *stage) {
	ctx, cancel := within(t)
	defer cancel()
	u := s.unit()
	u.Generation = 9
	if at, err := s.sink.Checkpoint(ctx, u); err == nil {
		t.Errorf("the checkpoint of a generation that was not prepared is %+v", at)
	}
	if err := s.sink.Commit(ctx, u, at(0), at(1), func(projections.Batch) error { return nil }); err == nil {
		t.Error("a generation that was not prepared takes a batch")
	}
}

func testCommit(t *testing.T, s *stage) {
	u := s.unit()
	calls := 0
	commit(t, s.sink, u, 3, func(b projections.Batch) error {
		calls++
		if err := b.Broken(); err != nil {
			t.Errorf("the batch is broken: %v", err)
		}
		return errors.Join(s.add(b, "a", place(1), 1), s.add(b, "b", place(2), 10), s.add(b, "a", place(3), 1))
	})
	if calls != 1 {
		t.Errorf("do was called %d times", calls)
	}
	wantCheckpoint(t, s.sink, u, at(3))
	wantCounts(t, s.sink, u, map[string]int64{"a": 2, "b": 10})
	commit(t, s.sink, u, 7, func(b projections.Batch) error {
		// Two events of one record, and one of them in two parts.
		return errors.Join(
			s.add(b, "a", projections.Place{Sequence: 7}, 1), s.add(b, "a", projections.Place{Sequence: 7, Index: 1}, 1),
			s.add(b, "a", projections.Place{Sequence: 7, Index: 1, Part: 1}, 1),
		)
	})
	wantCheckpoint(t, s.sink, u, at(7))
	wantCounts(t, s.sink, u, map[string]int64{"a": 5, "b": 10})
}

// testCheckpointAlone: what does not concern the projection only moves the checkpoint.
func testCheckpointAlone(t *testing.T, s *stage) {
	u := s.unit()
	nothing := func(projections.Batch) error { return nil }
	for _, done := range []uint64{5, 6, 1 << 60} {
		commit(t, s.sink, u, done, nothing)
		wantCheckpoint(t, s.sink, u, at(done))
	}
	from := at(1 << 60)
	to := projections.Checkpoint{Done: from.Done + 1} // of no event that has a time
	if err := attempt(t, s.sink, u, from, to, nothing); err != nil {
		t.Fatal(err)
	}
	wantCheckpoint(t, s.sink, u, to)
}

func testStale(t *testing.T, s *stage) {
	u := s.unit()
	once := func(b projections.Batch) error { return s.add(b, "a", place(4), 1) }
	commit(t, s.sink, u, 4, once)
	for _, from := range []projections.Checkpoint{at(0), at(3), at(5), {Done: 4, Resets: 1}} {
		wantFenced(t, attempt(t, s.sink, u, from, at(9), func(b projections.Batch) error {
			return errors.Join(s.add(b, "a", place(9), 100), b.Later(effected("e")), b.Park(parked("k", 9)))
		}))
	}
	wantCheckpoint(t, s.sink, u, at(4))
	wantCounts(t, s.sink, u, map[string]int64{"a": 1})
	wantParked(t, s.sink, u, "k")
	wantOutbox(t, s.sink, u)
	from := at(4)
	from.Time = moment(99) // does not count
	if err := attempt(t, s.sink, u, from, at(5), once); err != nil {
		t.Fatalf("from the checkpoint: %v", err)
	}
}

// testTwoWriters has two nodes take turns, each of which learns where the other has come to
// by being fenced.
func testTwoWriters(t *testing.T, s *stage) {
	u, one, other := s.unit(), s.sink, s.others[0]
	prepare(t, other, s.p, 1)
	for n := uint64(1); n <= 6; n++ {
		commit(t, one, u, n, func(b projections.Batch) error { return s.add(b, "a", place(n), 1) })
		wantFenced(t, attempt(t, other, u, at(n-1), at(n+5), func(b projections.Batch) error {
			return errors.Join(s.add(b, "a", place(n), 1), s.add(b, "b", place(n), 1))
		}))
		wantCheckpoint(t, other, u, at(n))
		wantCounts(t, other, u, map[string]int64{"a": int64(n)})
		one, other = other, one
	}
}

func testRace(t *testing.T, s *stage) {
	const rounds, writers = 8, 4
	u := s.unit()
	sinks := append([]projections.Sink{s.sink}, s.others...)
	for _, o := range s.others {
		prepare(t, o, s.p, 1)
	}
	for n := uint64(1); n <= rounds; n++ {
		var won atomic.Int64
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				ctx, cancel := within(t)
				defer cancel()
				// What they change is not the same: it is the checkpoint that only one can move.
				key := fmt.Sprintf("a-%d", w)
				err := sinks[w%len(sinks)].Commit(ctx, u, at(n-1), at(n), func(b projections.Batch) error { return s.add(b, key, place(n), 1) })
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, projections.ErrFenced) && !errors.Is(err, holdfast.ErrUnavailable):
					t.Errorf("a loser hears %v", err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d writers won", n, won.Load())
		}
		wantCheckpoint(t, s.sink, u, at(n))
		total := int64(0)
		for _, counted := range counts(t, s.sink, u) {
			total += counted
		}
		if total != int64(n) {
			t.Fatalf("round %d: %d events have been counted", n, total)
		}
	}
}

func testAllOrNothing(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 2, func(b projections.Batch) error {
		return errors.Join(s.add(b, "a", place(1), 1), b.Park(parked("k", 2)), b.Later(effected("first")))
	})
	refused := errors.New("refused")
	for range 3 {
		err := attempt(t, s.sink, u, at(2), at(5), func(b projections.Batch) error {
			return errors.Join(
				s.add(b, "a", place(3), 1), s.add(b, "b", place(3), 1), b.Unpark(parked("k", 2), ""), b.Park(parked("k", 4)),
				b.Later(effected("second")), refused,
			)
		})
		if !errors.Is(err, refused) {
			t.Fatalf("it returned %v, want what do returned", err)
		}
	}
	wantCheckpoint(t, s.sink, u, at(2))
	wantCounts(t, s.sink, u, map[string]int64{"a": 1})
	wantParked(t, s.sink, u, "k", parked("k", 2))
	wantOutbox(t, s.sink, u, "first")
	commit(t, s.sink, u, 5, func(b projections.Batch) error { return s.add(b, "a", place(3), 1) })
	wantCounts(t, s.sink, u, map[string]int64{"a": 2})
}

// testLostAnswer: whoever has not heard that a batch was committed, and does it again, is
// fenced.
func testLostAnswer(t *testing.T, s *stage) {
	u := s.unit()
	do := func(b projections.Batch) error {
		return errors.Join(s.add(b, "a", place(1), 1), b.Park(parked("k", 2)), b.Later(effected("e")))
	}
	commit(t, s.sink, u, 2, do)
	wantFenced(t, attempt(t, s.sink, u, at(0), at(2), do))
	wantCheckpoint(t, s.sink, u, at(2))
	wantCounts(t, s.sink, u, map[string]int64{"a": 1})
	wantParked(t, s.sink, u, "k", parked("k", 2))
	wantOutbox(t, s.sink, u, "e")
}

// testResets: a reset is a commit like any other, after which events have their effect anew.
func testResets(t *testing.T, s *stage) {
	u := s.unit()
	nothing := func(projections.Batch) error { return nil }
	count := func(n uint64) func(projections.Batch) error {
		return func(b projections.Batch) error { return s.add(b, "a", place(n), 1) }
	}
	commit(t, s.sink, u, 10, count(8))
	back := at(3)
	back.Resets = 1
	if err := attempt(t, s.sink, u, at(10), back, nothing); err != nil {
		t.Fatalf("reset: %v", err)
	}
	wantCheckpoint(t, s.sink, u, back)
	wantFenced(t, attempt(t, s.sink, u, at(10), at(11), count(11)))
	wantFenced(t, attempt(t, s.sink, u, at(3), at(11), count(11)))
	commit(t, s.sink, u, 9, count(8))
	wantCounts(t, s.sink, u, map[string]int64{"a": 2})
	ahead := at(20)
	ahead.Resets = 2
	if err := attempt(t, s.sink, u, checkpoint(t, s.sink, u), ahead, nothing); err != nil {
		t.Fatalf("reset: %v", err)
	}
	commit(t, s.sink, u, 21, count(21))
	wantCounts(t, s.sink, u, map[string]int64{"a": 3})
}

// testMany commits more at once than fits into any one message, statement or batch.
func testMany(t *testing.T, s *stage) {
	const events = 2500
	u := s.unit()
	want := map[string]int64{}
	do := func(shift uint64) func(projections.Batch) error {
		return func(b projections.Batch) error {
			for n := range uint64(events) {
				// The last third of the events are of one record.
				p := projections.Place{Sequence: shift + n}
				if n > 2*events/3 {
					p = projections.Place{Sequence: shift + 2*events/3 + 1, Index: int(n)}
				}
				key := fmt.Sprintf("k-%d", n%2000)
				if err := s.add(b, key, p, 1); err != nil {
					return err
				}
				want[key]++
			}
			return nil
		}
	}
	commit(t, s.sink, u, events, do(1))
	wantCheckpoint(t, s.sink, u, at(events))
	wantCounts(t, s.sink, u, want)
	commit(t, s.sink, u, 2*events, do(1+events))
	wantCounts(t, s.sink, u, want)
}

// testEnded: with a context that has ended nothing happens.
func testEnded(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 1, func(b projections.Batch) error { return s.add(b, "a", place(1), 1) })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.sink.Commit(ended, u, at(1), at(2), func(b projections.Batch) error { return s.add(b, "a", place(2), 1) })
	wholly(t, s, u, err, at(1), at(2), map[string]int64{"a": 1}, map[string]int64{"a": 2})
	if _, err := s.sink.Checkpoint(ended, u); err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("checkpoint: %v", err)
	}
	if _, err := s.sink.Outbox(ended, u, 1); err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("outbox: %v", err)
	}
	if _, err := s.sink.ParkedKeys(ended, u.Projection, 1, 1); err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("parked keys: %v", err)
	}
}

func testEndsWithin(t *testing.T, s *stage) {
	u := s.unit()
	for n := range uint64(4) {
		ctx, cancel := within(t)
		before := counts(t, s.sink, u)
		err := s.sink.Commit(ctx, u, at(n), at(n+1), func(b projections.Batch) error {
			if n == 0 {
				cancel()
			}
			err := s.add(b, "a", place(n+1), 1)
			if n == 1 {
				cancel()
			}
			err = errors.Join(err, s.add(b, "b", place(n+1), 1))
			if n == 2 {
				cancel()
			}
			if err != nil && b.Broken() == nil {
				t.Errorf("a change fails with %v, and the batch is not broken", err)
			}
			return err
		})
		cancel()
		after := map[string]int64{"a": before["a"] + 1, "b": before["b"] + 1}
		if wholly(t, s, u, err, at(n), at(n+1), before, after) {
			continue
		}
		commit(t, s.sink, u, n+1, func(b projections.Batch) error {
			return errors.Join(s.add(b, "a", place(n+1), 1), s.add(b, "b", place(n+1), 1))
		})
		wantCounts(t, s.sink, u, after)
	}
}

// wholly finds that a commit has happened as a whole or not at all, and reports which; of one
// that returned nil, that it has.
func wholly(t *testing.T, s *stage, u projections.Unit, err error, from, to projections.Checkpoint, before, after map[string]int64) bool {
	t.Helper()
	if err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Fatalf("it returned %v, want ErrUnavailable", err)
	}
	if err == nil || checkpoint(t, s.sink, u).Done == to.Done {
		wantCheckpoint(t, s.sink, u, to)
		wantCounts(t, s.sink, u, after)
		return true
	}
	wantCheckpoint(t, s.sink, u, from)
	wantCounts(t, s.sink, u, before)
	return false
}
