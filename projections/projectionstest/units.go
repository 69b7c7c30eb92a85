package projectionstest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/projections"
)

func effected(id string) projections.Effected {
	return projections.Effected{ID: id, Name: "mail", Payload: []byte("for " + id)}
}

func wantOutbox(t testing.TB, s projections.Sink, u projections.Unit, want ...string) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	got, err := s.Outbox(ctx, u, len(want)+10)
	if err != nil {
		t.Fatalf("outbox of %s: %v", u, err)
	}
	ids := []string{}
	for _, e := range got {
		ids = append(ids, e.ID)
		if w := effected(e.ID); e.Name != w.Name || string(e.Payload) != string(w.Payload) {
			t.Errorf("in the outbox is %+v, want %+v", e, w)
		}
	}
	if fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Fatalf("in the outbox of %s are %v, want %v", u, ids, want)
	}
}

func testOutbox(t *testing.T, s *stage) {
	u, other := s.unit(), s.unit()
	other.Partition = 1
	odd := "order/=C3=A9@1.2/mail \x00*>'"
	commit(t, s.sink, u, 1, func(b projections.Batch) error {
		return errors.Join(b.Later(effected("one")), b.Later(effected("two")), b.Later(effected("one")), b.Later(effected(odd)))
	})
	wantOutbox(t, s.sink, u, "one", "two", odd)
	commit(t, s.sink, other, 1, func(b projections.Batch) error { return b.Later(effected("one")) })
	wantOutbox(t, s.sink, u, "one", "two", odd)
	ctx, cancel := within(t)
	defer cancel()
	for range 2 {
		if err := s.sink.Carried(ctx, u, "one"); err != nil {
			t.Fatal(err)
		}
		wantOutbox(t, s.sink, u, "two", odd)
	}
	wantOutbox(t, s.sink, other, "one")
	for _, o := range s.others {
		wantOutbox(t, o, u, "two", odd)
	}
	if err := s.sink.Carried(ctx, u, odd); err != nil {
		t.Fatal(err)
	}
	commit(t, s.sink, u, 2, func(b projections.Batch) error { return b.Later(effected("two")) }) // is there already
	wantOutbox(t, s.sink, u, "two")
	wantCheckpoint(t, s.sink, u, at(2))
}

func testOutboxOrder(t *testing.T, s *stage) {
	u := s.unit()
	var want []string
	for batch := range uint64(3) {
		commit(t, s.sink, u, batch+1, func(b projections.Batch) error {
			for i := range 12 {
				id := fmt.Sprintf("%d", 100-len(want)+i%2)
				want = append(want, fmt.Sprint(id, "-", len(want)))
				if err := b.Later(effected(want[len(want)-1])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wantOutbox(t, s.sink, u, want...)
	ctx, cancel := within(t)
	defer cancel()
	got, err := s.sink.Outbox(ctx, u, 5)
	if err != nil || len(got) != 5 || got[4].ID != want[4] {
		t.Errorf("the first five are %v, %v", got, err)
	}
}

// testUnits: partitions, shards and generations each have a checkpoint of their own, and one
// generation knows nothing of another.
func testUnits(t *testing.T, s *stage) {
	prepare(t, s.sink, s.p, 2)
	var units []projections.Unit
	for generation := uint64(1); generation <= 2; generation++ {
		for partition := range uint32(2) {
			for shard := range 2 {
				u := s.unit()
				u.Generation, u.Partition, u.Shard = generation, partition, shard
				units = append(units, u)
			}
		}
	}
	for i, u := range units {
		for _, later := range units[i:] {
			wantCheckpoint(t, s.sink, later, at(0))
		}
		n := uint64(10 + i)
		commit(t, s.sink, u, n, func(b projections.Batch) error { return s.add(b, "a", place(n), int64(n)) })
	}
	for i, u := range units {
		wantCheckpoint(t, s.sink, u, at(uint64(10+i)))
	}
	wantCounts(t, s.sink, units[0], map[string]int64{"a": 10 + 11 + 12 + 13})
	wantCounts(t, s.sink, units[4], map[string]int64{"a": 14 + 15 + 16 + 17})
}

// testShared: what several units change at the same time has the effect of all of them.
func testShared(t *testing.T, s *stage) { s.hammer(t, []projections.Sink{s.sink}) }

func testSharedByNodes(t *testing.T, s *stage) {
	for _, o := range s.others {
		prepare(t, o, s.p, 1)
	}
	s.hammer(t, append([]projections.Sink{s.sink}, s.others...))
}

func (s *stage) hammer(t *testing.T, sinks []projections.Sink) {
	const units, batches = 4, 15
	var all sync.WaitGroup
	for i := range units {
		all.Go(func() {
			u := s.unit()
			u.Partition, u.Shard = uint32(i%2), i/2
			for n := uint64(1); n <= batches; n++ {
				err := s.again(t, sinks[i%len(sinks)], u, 2*n, func(b projections.Batch) error {
					keys := []string{"first", fmt.Sprintf("own-%d", i), "last"}
					if i%2 == 1 {
						keys[0], keys[2] = keys[2], keys[0]
					}
					for _, key := range keys {
						if err := errors.Join(s.add(b, key, place(2*n-1), 1), s.add(b, key, place(2*n), 1)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("%s: %v", u, err)
					return
				}
			}
		})
	}
	all.Wait()
	want := map[string]int64{"first": 2 * units * batches, "last": 2 * units * batches}
	for i := range units {
		want[fmt.Sprintf("own-%d", i)] = 2 * batches
	}
	for _, sink := range sinks {
		wantCounts(t, sink, s.unit(), want)
	}
}

func testGenerations(t *testing.T, s *stage) {
	one, two := s.unit(), s.unit()
	two.Generation = 2
	commit(t, s.sink, one, 1, func(b projections.Batch) error {
		return errors.Join(s.add(b, "a", place(1), 1), b.Park(parked("k", 1)), b.Later(effected("e")))
	})
	prepare(t, s.sink, s.p, 2)
	wantCheckpoint(t, s.sink, two, at(0))
	wantCounts(t, s.sink, two, map[string]int64{})
	wantParked(t, s.sink, two, "k")
	wantKeys(t, s.sink, two, 10)
	wantOutbox(t, s.sink, two)
	commit(t, s.sink, two, 1, func(b projections.Batch) error { return s.add(b, "b", place(1), 1) })
	wantCounts(t, s.sink, one, map[string]int64{"a": 1})
	// A name that ends like that of a generation is another projection's all the same.
	other := define(s.p.Name()+"_1", s.form)
	prepare(t, s.sink, other, 1)
	wantCounts(t, s.sink, projections.Unit{Projection: other.Name(), Generation: 1}, map[string]int64{})
}

// testServe: each generation can be made the one that is read, again and again; the sink itself
// gives them all.
func testServe(t *testing.T, s *stage) {
	ctx, cancel := within(t)
	defer cancel()
	prepare(t, s.sink, s.p, 2)
	for _, generation := range []uint64{1, 1, 2, 1, 2} {
		if err := s.sink.Serve(ctx, s.p, generation); err != nil {
			t.Fatalf("serve generation %d: %v", generation, err)
		}
		u := s.unit()
		u.Generation = generation
		n := checkpoint(t, s.sink, u).Done + 1
		commit(t, s.sink, u, n, func(b projections.Batch) error { return s.add(b, "a", place(n), 1) })
		wantCounts(t, s.sink, u, map[string]int64{"a": int64(n)})
	}
	if err := s.sink.Drop(ctx, s.p.Name(), 1); err != nil {
		t.Errorf("drop the generation that served: %v", err)
	}
}

func testDrop(t *testing.T, s *stage) {
	ctx, cancel := within(t)
	defer cancel()
	prepare(t, s.sink, s.p, 2)
	one, two := s.unit(), s.unit()
	two.Generation = 2
	for _, u := range []projections.Unit{one, two} {
		commit(t, s.sink, u, 1, func(b projections.Batch) error {
			return errors.Join(s.add(b, "a", place(1), 1), b.Park(parked("k", 1)), b.Later(effected("e")))
		})
	}
	for range 2 {
		if err := s.sink.Drop(ctx, s.p.Name(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if at, err := s.sink.Checkpoint(ctx, one); err == nil {
		t.Errorf("what was dropped is at %+v", at)
	}
	wantCounts(t, s.sink, two, map[string]int64{"a": 1})
	wantCheckpoint(t, s.sink, two, at(1))
	wantParked(t, s.sink, two, "k", parked("k", 1))
	wantOutbox(t, s.sink, two, "e")
	prepare(t, s.sink, s.p, 1)
	wantCheckpoint(t, s.sink, one, at(0))
	wantCounts(t, s.sink, one, map[string]int64{})
	wantKeys(t, s.sink, one, 10)
	wantOutbox(t, s.sink, one)
	commit(t, s.sink, one, 1, func(b projections.Batch) error { return s.add(b, "a", place(1), 5) })
	wantCounts(t, s.sink, one, map[string]int64{"a": 5})
}

func testReopen(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 2, func(b projections.Batch) error {
		return errors.Join(s.add(b, "a", place(1), 1), b.Park(parked("k", 2)), b.Later(effected("e")))
	})
	s.place.Sink = s.reopen(t)
	s.sink = s.place.Sink
	prepare(t, s.sink, s.p, 1)
	wantCheckpoint(t, s.sink, u, at(2))
	wantCounts(t, s.sink, u, map[string]int64{"a": 1})
	wantParked(t, s.sink, u, "k", parked("k", 2))
	wantOutbox(t, s.sink, u, "e")
	wantFenced(t, attempt(t, s.sink, u, at(0), at(2), func(projections.Batch) error { return nil }))
	commit(t, s.sink, u, 3, func(b projections.Batch) error { return s.add(b, "a", place(3), 1) })
	wantCounts(t, s.sink, u, map[string]int64{"a": 2})
}
