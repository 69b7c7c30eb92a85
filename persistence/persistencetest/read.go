package persistencetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

func testContext(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "context", ID: "a-1"}
	h := addMany(t, l.Store, ref, persistence.Head{}, 40)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v, want one that is unavailable and canceled", what, err)
		}
	}
	_, err := l.Store.Load(ended, ref, "f")
	check("load", err)
	check("save snapshot", l.Store.SaveSnapshot(ended, ref, snapshot(h, "f")))
	for _, err := range l.Store.Backwards(ended, ref, 0) {
		check("backwards", err)
	}
	if s, ok := l.Store.(persistence.Scanner); ok {
		_, err := s.Scan(ended, persistence.ScanOptions{}, func(persistence.Record) error { return nil })
		check("scan", err)
		_, err = s.Describe(ended)
		check("describe", err)
	}
	wantHead(t, head(t, l.Store, ref), h)
}

// testMany loads a long history without a snapshot, and with one at every distance that
// could make a difference.
func testMany(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "many", ID: "a-1"}
	var h persistence.Head
	heads := make([]persistence.Head, 0, l.Many)
	for range l.Many {
		h = addMany(t, l.Store, ref, h, 1)
		heads = append(heads, h)
	}
	want := all(t, l.Store, ref)
	if len(want) != l.Many {
		t.Fatalf("loaded %d commits, want %d", len(want), l.Many)
	}
	wantHead(t, head(t, l.Store, ref), h)
	for _, distance := range []int{0, 1, 2, 32, 33, 34, 35, 66, 67, 68, 255, 256, 257, l.Many - 1} {
		at := heads[len(heads)-1-distance]
		save(t, l.Store, ref, snapshot(at, "f"))
		got := loadUntil(t, l.Store, ref, h, isOf(at))
		if got.Snapshot == nil || got.Ignored != nil {
			t.Fatalf("the snapshot %d commits ago is not used: %v", distance, got.Ignored)
		}
		wantHead(t, got.Snapshot.Head, at)
		wantSame(t, got.Commits, want[len(want)-distance:])
	}
}

// testBackwards reads from every version of a history whose commits hold none, one and
// several events.
func testBackwards(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "backwards", ID: "a-1"}
	var h persistence.Head
	for n := range 150 {
		var events []string
		for i := range []int{1, 0, 3, 1, 1}[n%5] {
			events = append(events, fmt.Sprintf("%d-%d", n, i))
		}
		h = add(t, l.Store, ref, h, change(fmt.Sprint(n), events...))
	}
	commits := all(t, l.Store, ref)
	for at := holdfast.Version(0); at <= h.Version+2; at++ {
		end := len(commits)
		if at > 0 {
			for commits[end-1].FirstVersion > uint64(at) {
				end--
			}
		}
		want := slices.Clone(commits[:end])
		slices.Reverse(want)
		// All of it for some, the first few for all.
		most := 3
		if at%41 == 0 {
			most = len(want)
		}
		var got []persistence.Commit
		err := patiently(func() error {
			got = nil
			for c, err := range l.Store.Backwards(t.Context(), ref, at) {
				if err != nil {
					return err
				}
				if got = append(got, c); len(got) == most && most < len(want) {
					break
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("backwards from version %d: %v", at, err)
		}
		if most > len(want) {
			most = len(want)
		}
		wantSame(t, got, want[:most])
		if first := want[0]; at > 0 && at <= h.Version && first.LastVersion >= uint64(at) && first.FirstVersion > uint64(at) {
			t.Fatalf("from version %d it starts at %d", at, first.FirstVersion)
		}
	}
}

func testReopen(t *testing.T, l *Log) {
	refs := []holdfast.Ref{{Type: "reopen", ID: "a-1"}, {Type: "reopen", ID: "a-2"}, {Type: "reopen", ID: "a-3"}}
	want := map[holdfast.Ref]persistence.Loaded{}
	heads := make([]persistence.Head, len(refs))
	for range messages.MaxTrail + 3 {
		for i, ref := range refs {
			heads[i] = addMany(t, l.Store, ref, heads[i], 1)
		}
	}
	for _, ref := range refs {
		want[ref] = load(t, l.Store, ref, "")
	}
	l.Store = l.Reopen(t)
	for i, ref := range refs {
		got := load(t, l.Store, ref, "")
		wantSame(t, got.Commits, want[ref].Commits)
		wantHead(t, got.Head, heads[i])
		refuse(t, l.Store, holdfast.CodeConflict, ref, persistence.Head{}, change("never", "x"))
		wantHead(t, head(t, l.Store, ref), heads[i])
		heads[i] = addMany(t, l.Store, ref, heads[i], 1)
		wantHead(t, head(t, l.Store, ref), heads[i])
	}
}
