package persistencetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// seal makes the body of the commit that follows h.
func seal(t testing.TB, h persistence.Head, changes ...*messages.Change) persistence.Commit {
	t.Helper()
	c, err := h.Seal("raw-"+fmt.Sprint(h.Version), changes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantCorrupt checks that the aggregate is refused by load and backwards, with the
// aggregate and the place in the message, and that backwards yields nothing but what is
// right.
func wantCorrupt(t testing.TB, s persistence.Store, ref holdfast.Ref, at holdfast.Position, right []persistence.Commit) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		var e *holdfast.Error
		if !errors.As(err, &e) || e.Code != holdfast.CodeCorrupt {
			t.Fatalf("%s: error is %v, want corrupt", ref, err)
		}
		if !strings.Contains(e.Message, ref.String()) || !at.IsZero() && !strings.Contains(e.Message, at.String()) {
			t.Fatalf("%s: %q does not name the aggregate and %s", ref, e.Message, at)
		}
	}
	var l persistence.Loaded
	check(patiently(func() (err error) {
		l, err = s.Load(t.Context(), ref, "")
		return err
	}))
	if len(l.Commits) > 0 || l.Snapshot != nil {
		t.Fatalf("%s: load gives %d commits beside the error", ref, len(l.Commits))
	}
	got, _, err := replay(t, s, ref, "", 0)
	check(err)
	for _, c := range got.commits {
		wantRight(t, "a replay", c, right)
	}
	check(patiently(func() error { return backwards(t, s, ref, right) }))
}

// backwards gives the error with which reading backwards ends, and checks that it yields
// nothing but what is right.
func backwards(t testing.TB, s persistence.Store, ref holdfast.Ref, right []persistence.Commit) (failed error) {
	t.Helper()
	for c, err := range s.Backwards(t.Context(), ref, 0) {
		if failed != nil {
			t.Fatalf("%s: backwards goes on after an error", ref)
		}
		if failed = err; failed != nil {
			continue
		}
		wantRight(t, "backwards", c, right)
	}
	return failed
}

// wantRight checks that what was read of a damaged log was appended to it.
func wantRight(t testing.TB, by string, c persistence.Commit, right []persistence.Commit) {
	t.Helper()
	if !slices.ContainsFunc(right, func(r persistence.Commit) bool { return c.Position == r.Position && bytes.Equal(c.Body, r.Body) }) {
		t.Fatalf("%s yields %v at %s, which was never appended", by, c.Commit, c.Position)
	}
}

// neighbour gives another aggregate in the same partition.
func neighbour(t testing.TB, l *Log, of holdfast.Ref) holdfast.Ref {
	t.Helper()
	if s, ok := l.Store.(interface{ Partitions() uint32 }); ok {
		return inPartition(t, l, partitionOf(t, l, of, s.Partitions()), s.Partitions(), of.Type+"-next")
	}
	return holdfast.Ref{Type: of.Type + "-next", ID: of.ID}
}

func partitionOf(t testing.TB, l *Log, ref holdfast.Ref, partitions uint32) uint32 {
	t.Helper()
	sub, err := persistence.LogSubject(l.Context, ref, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return sub.Partition
}

// inPartition gives an aggregate that is in a partition.
func inPartition(t testing.TB, l *Log, partition, partitions uint32, typ string) holdfast.Ref {
	t.Helper()
	for i := range 10_000 {
		if ref := (holdfast.Ref{Type: typ, ID: fmt.Sprint(i)}); partitionOf(t, l, ref, partitions) == partition {
			return ref
		}
	}
	t.Fatalf("no aggregate found in partition %d of %d", partition, partitions)
	panic("unreachable")
}

// testGap has a commit that follows one that is not there.
func testGap(t *testing.T, l *Log) {
	for _, after := range []int{1, 5, 40} {
		ref := holdfast.Ref{Type: "gap", ID: fmt.Sprint(after)}
		h := addMany(t, l.Store, ref, persistence.Head{}, after)
		right := all(t, l.Store, ref)
		skipped := seal(t, h, change("skipped", "x"))
		skipped.Position = l.Put(t, neighbour(t, l, ref), skipped.Body)
		next := seal(t, skipped.Head(), change("next", "x"))
		at := l.Put(t, ref, next.Body)
		wantCorrupt(t, l.Store, ref, at, right)

		good := holdfast.Ref{Type: "gap", ID: fmt.Sprintf("good-%d", after)}
		wantGrows(t, l.Store, l.Store, good, persistence.Head{}, 2)
	}
}

// testLoop has a commit that follows itself, and one that follows a later one: reading
// must come to an end.
func testLoop(t *testing.T, l *Log) {
	for _, ahead := range []uint64{1, 1000} {
		ref := holdfast.Ref{Type: "loop", ID: fmt.Sprint(ahead)}
		h := addMany(t, l.Store, ref, persistence.Head{}, 3)
		right := all(t, l.Store, ref)
		h.Position = holdfast.NewPosition(h.Position.Partition(), h.Position.Sequence()+ahead)
		h.Before = nil // it knows of no other
		at := l.Put(t, ref, seal(t, h, change("loop", "x")).Body)
		if ahead == 1 && at != h.Position {
			t.Fatalf("it stands at %s, not at %s", at, h.Position)
		}
		wantCorrupt(t, l.Store, ref, at, right)
	}
}

// testAltered flips bytes of a commit, one at a time, all over it: the newest commit, and
// one that has another after it.
func testAltered(t *testing.T, l *Log) {
	var size int
	for n, i := 0, 0; i == 0 || i < size; n, i = n+1, i+7 {
		ref := holdfast.Ref{Type: "altered", ID: fmt.Sprint(n)}
		h := addMany(t, l.Store, ref, persistence.Head{}, 2)
		right := all(t, l.Store, ref)
		c := seal(t, h, change("c-3", "three"))
		size = len(c.Body)
		altered := bytes.Clone(c.Body)
		altered[i] ^= 1 << (n % 8)
		at := l.Put(t, ref, altered)
		wantCorrupt(t, l.Store, ref, at, right)
		if n%3 > 0 {
			continue
		}
		c.Position = at
		next := seal(t, c.Head(), change("c-4", "four"))
		after := l.Put(t, ref, next.Body)
		next.Position = after
		// The altered one cannot be told from one that the next does not fit to.
		wantCorrupt(t, l.Store, ref, holdfast.Position{}, append(right, next))
	}
	// At the end of a history that is longer than its last commit knows, and before it.
	ref := holdfast.Ref{Type: "altered", ID: "long"}
	h := addMany(t, l.Store, ref, persistence.Head{}, 100)
	right := all(t, l.Store, ref)
	c := seal(t, h, change("c-101", "altered"))
	altered := bytes.Replace(c.Body, []byte("altered"), []byte("ALTERED"), 1)
	c.Position = l.Put(t, ref, altered)
	wantCorrupt(t, l.Store, ref, c.Position, right)
	next := seal(t, c.Head(), change("c-102", "x"))
	next.Position = l.Put(t, ref, next.Body)
	wantCorrupt(t, l.Store, ref, holdfast.Position{}, append(right, next))
}

// testForeign puts a commit under another aggregate than that which it was made for.
func testForeign(t *testing.T, l *Log) {
	one, two := holdfast.Ref{Type: "foreign", ID: "one"}, holdfast.Ref{Type: "foreign", ID: "two"}
	add(t, l.Store, one, persistence.Head{}, change("c-1", "1"))
	first := all(t, l.Store, one)[0]
	at := l.Put(t, two, first.Body)
	wantCorrupt(t, l.Store, two, at, nil)
	if got := all(t, l.Store, one); len(got) != 1 {
		t.Fatalf("the aggregate it was made for has %d commits", len(got))
	}

	for _, body := range [][]byte{nil, []byte("x"), []byte(`{"not":"a commit"}`)} {
		ref := holdfast.Ref{Type: "foreign", ID: fmt.Sprintf("%x", body) + "."}
		wantCorrupt(t, l.Store, ref, l.Put(t, ref, body), nil)
	}
}
