package persistencetest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

func testAppend(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "append", ID: "a-1"}
	var h persistence.Head // the zero Head will do as well
	for n := 1; n <= 40; n++ {
		before := h
		h = add(t, l.Store, ref, before, change(fmt.Sprintf("c-%d", n), "one", "two"))
		if h.Version != holdfast.Version(2*n) {
			t.Fatalf("version is %d after %d commits of two events", h.Version, n)
		}
		if n > 1 && !before.Position.Before(h.Position) {
			t.Fatalf("position %s came after %s", h.Position, before.Position)
		}
		if want := min(n-1, messages.MaxTrail+1); len(h.Before) != want {
			t.Fatalf("after %d commits the head knows of %d before the last, want %d", n, len(h.Before), want)
		}
		got := load(t, l.Store, ref, "")
		wantHead(t, got.Head, h)
		if len(got.Commits) != n || got.Snapshot != nil || got.Ignored != nil {
			t.Fatalf("loaded %d commits, snapshot %v, ignored %v; want %d commits", len(got.Commits), got.Snapshot, got.Ignored, n)
		}
	}
	first, err := persistence.NewHead(l.Context, ref)
	if err != nil {
		t.Fatal(err)
	}
	commits := all(t, l.Store, ref)
	end, err := first.FollowAll(commits)
	if err != nil {
		t.Fatalf("the chain does not hold: %v", err)
	}
	wantHead(t, end, h)
	ids := map[string]bool{}
	for i, c := range commits {
		ids[c.Id] = true
		want := change(fmt.Sprintf("c-%d", i+1), "one", "two")
		if len(c.Changes) != 1 || c.Changes[0].String() != want.String() {
			t.Fatalf("commit %d holds %v, want %v", i, c.Changes, want)
		}
	}
	if len(ids) != len(commits) {
		t.Fatalf("%d commits have %d ids", len(commits), len(ids))
	}
}

func testNothing(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "nothing", ID: "a-1"}
	want, err := persistence.NewHead(l.Context, ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, fingerprint := range []string{"", "f"} {
		got := load(t, l.Store, ref, fingerprint)
		wantHead(t, got.Head, want)
		if len(got.Commits) != 0 || got.Snapshot != nil || got.Ignored != nil {
			t.Fatalf("loaded %+v, want nothing", got)
		}
	}
	for c, err := range l.Store.Backwards(t.Context(), ref, 0) {
		t.Fatalf("backwards yields %v, %v", c, err)
	}
	h := add(t, l.Store, ref, want, change("c-1", "one"))
	wantHead(t, head(t, l.Store, ref), h)
}

func testEvents(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "events", ID: "a-1"}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	var h persistence.Head
	for _, c := range []struct {
		changes []*messages.Change
		version holdfast.Version
	}{
		{nil, 0},
		{[]*messages.Change{change("none")}, 0},
		{[]*messages.Change{change("one", "1")}, 1},
		{[]*messages.Change{change("none"), change("two", "1", "2"), change("none")}, 3},
		{[]*messages.Change{change("none")}, 3},
		{[]*messages.Change{change("many", many...)}, 1003},
		{[]*messages.Change{change("empty", "")}, 1004},
	} {
		h = add(t, l.Store, ref, h, c.changes...)
		if h.Version != c.version {
			t.Fatalf("version is %d, want %d", h.Version, c.version)
		}
		wantHead(t, head(t, l.Store, ref), h)
	}
	wantIDs(t, l.Store, ref, "none", "one", "none", "two", "none", "none", "many", "empty")
	commits := all(t, l.Store, ref)
	for i, e := range commits[5].Changes[0].Events {
		if string(e.Data) != many[i] {
			t.Fatalf("event %d of many is %q", i, e.Data)
		}
	}
}

func testStale(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "stale", ID: "a-1"}
	nothing, err := persistence.NewHead(l.Context, ref)
	if err != nil {
		t.Fatal(err)
	}
	one := add(t, l.Store, ref, nothing, change("c-1", "1"))
	two := add(t, l.Store, ref, one, change("c-2", "2"))
	for range 70 { // beyond what one trail tells
		two = add(t, l.Store, ref, two, change("c"))
	}
	for _, stale := range []persistence.Head{nothing, one} {
		for _, s := range append([]persistence.Store{l.Store}, l.Others...) {
			refuse(t, s, holdfast.CodeConflict, ref, stale, change("never", "x"))
		}
	}
	wantHead(t, head(t, l.Store, ref), two)
	ahead := two
	ahead.Position = holdfast.NewPosition(two.Position.Partition(), two.Position.Sequence()+1000)
	refuse(t, l.Store, holdfast.CodeConflict, ref, ahead, change("never", "x"))
	wantHead(t, head(t, l.Store, ref), two)
}

// testRace has many writers append after the same head: one of them commits, and all
// others hear that they will never have. A round in which the log could not be reached in
// time, so that somebody does not know, is followed by another one.
func testRace(t *testing.T, l *Log) {
	const rounds = 15
	ref := holdfast.Ref{Type: "race", ID: "a-1"}
	var h persistence.Head
	var want []string
	deadline := time.Now().Add(2 * patience)
	open := false // an append of the round before may still come
	for round, whole := 0, 0; whole < rounds; round++ {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d rounds have an end", whole, round)
		}
		won, known := race(t, l, ref, h, round)
		switch {
		case len(won) > 1, known && !open && len(won) == 0:
			t.Fatalf("round %d: %d writers won", round, len(won))
		case !known || open:
			want = nil
			for _, c := range all(t, l.Store, ref) {
				want = append(want, c.Changes[0].CommandId)
			}
			if len(won) == 1 && !slices.Contains(want, won[0].id) {
				t.Fatalf("round %d: %s won, and the log has %v", round, won[0].id, want)
			}
			h = head(t, l.Store, ref)
		default:
			whole++
			h = won[0].head
			want = append(want, won[0].id)
			wantHead(t, head(t, l.Store, ref), h)
		}
		open = !known
	}
	wantIDs(t, l.Store, ref, want...)
}

// A winner is who has committed.
type winner struct {
	id   string
	head persistence.Head
}

// race has writers append, and tells who has won, and whether all know what became of theirs.
func race(t *testing.T, l *Log, ref holdfast.Ref, h persistence.Head, round int) (won []winner, known bool) {
	const writers = 12
	type answer struct {
		winner
		err error
	}
	stores := append([]persistence.Store{l.Store}, l.Others...)
	answers := make(chan answer, writers)
	var start sync.WaitGroup
	start.Add(1)
	for w := range writers {
		go func() {
			start.Wait()
			id := fmt.Sprintf("r-%d-%d", round, w)
			stores[w%len(stores)].Append(ref, h, []*messages.Change{change(id, id)}, func(h persistence.Head, err error) {
				answers <- answer{winner{id, h}, err}
			})
		}()
	}
	start.Done()
	known = true
	for range writers {
		select {
		case a := <-answers:
			switch {
			case a.err == nil:
				won = append(won, a.winner)
			case late(a.err):
				known = false
			case !errors.Is(a.err, holdfast.ErrConflict):
				t.Errorf("a loser hears %v", a.err)
			}
		case <-time.After(patience):
			t.Fatal("a writer was not answered")
		}
	}
	return won, known
}

func testConcurrent(t *testing.T, l *Log) {
	const aggregates, commits = 60, 8
	stores := append([]persistence.Store{l.Store}, l.Others...)
	partitions := map[uint32]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range aggregates {
		all.Go(func() {
			ref := holdfast.Ref{Type: "concurrent", ID: fmt.Sprint(i)}
			h := addMany(errorOnly{t}, stores[i%len(stores)], ref, persistence.Head{}, commits)
			if got := load(errorOnly{t}, stores[(i+1)%len(stores)], ref, ""); !got.Head.Equal(h) || len(got.Commits) != commits {
				t.Errorf("%s: loaded %d commits up to %v; want %d up to %v", ref, len(got.Commits), got.Head, commits, h)
			}
			mu.Lock()
			defer mu.Unlock()
			partitions[h.Position.Partition()] = true
		})
	}
	all.Wait()
	if s, ok := l.Store.(interface{ Partitions() uint32 }); ok && uint32(len(partitions)) != s.Partitions() {
		t.Errorf("%d aggregates are in %d of %d partitions", aggregates, len(partitions), s.Partitions())
	}
}

// errorOnly lets a goroutine of a test fail it.
type errorOnly struct{ testing.TB }

func (e errorOnly) Fatal(args ...any) {
	e.Error(args...)
	runtime.Goexit()
}

func (e errorOnly) Fatalf(format string, args ...any) {
	e.Errorf(format, args...)
	runtime.Goexit()
}

func testIDs(t *testing.T, l *Log) {
	ids := []string{">", "*", ".", "a.b", "a.>", "a b", "ä", "$JS", "=", "=41", "A", strings.Repeat("x", messages.MaxID), strings.Repeat("\x00", messages.MaxID/3)}
	for b := range 256 {
		ids = append(ids, string([]byte{byte(b)}), string([]byte{'i', byte(b), 'd'}))
	}
	heads := map[string]persistence.Head{}
	for _, id := range ids {
		if _, ok := heads[id]; ok {
			continue
		}
		ref := holdfast.Ref{Type: "ids", ID: id}
		heads[id] = add(t, l.Store, ref, persistence.Head{}, change(fmt.Sprintf("%x", id), id))
	}
	for id, h := range heads {
		got := load(t, l.Store, holdfast.Ref{Type: "ids", ID: id}, "")
		wantHead(t, got.Head, h)
		if len(got.Commits) != 1 || string(got.Commits[0].Changes[0].Events[0].Data) != id {
			t.Fatalf("the id %q has the commits %v", id, got.Commits)
		}
	}
}

func testMalformed(t *testing.T, l *Log) {
	for _, ref := range []holdfast.Ref{
		{},
		{Type: "account"},
		{Type: "account", ID: strings.Repeat("x", messages.MaxID+1)},
		{Type: "account", ID: strings.Repeat(".", messages.MaxID/3+1)},
		{Type: "", ID: "a"},
		{Type: "a.b", ID: "a"},
		{Type: ">", ID: "a"},
		{Type: "Account", ID: "a"},
		{Type: "a b", ID: "a"},
	} {
		refuse(t, l.Store, holdfast.CodeMalformed, ref, persistence.Head{}, change("c", "1"))
		_, err := l.Store.Load(t.Context(), ref, "f")
		wantCode(t, err, holdfast.CodeMalformed)
		wantCode(t, l.Store.SaveSnapshot(t.Context(), ref, persistence.Snapshot{}), holdfast.CodeMalformed)
		n := 0
		for _, err := range l.Store.Backwards(t.Context(), ref, 0) {
			wantCode(t, err, holdfast.CodeMalformed)
			n++
		}
		if n != 1 {
			t.Fatalf("backwards of %q yields %d times", ref, n)
		}
	}
}

// sized gives changes of exactly that size, in so many events.
func sized(size, events int) []*messages.Change {
	text := make([]string, events)
	ch := change("sized", text...)
	for i, e := range ch.Events {
		e.Data = bytes.Repeat([]byte{byte(i)}, max(0, size/events-64))
	}
	for last := ch.Events[events-1]; ; {
		switch d := size - persistence.Size([]*messages.Change{ch}); {
		case d == 0:
			return []*messages.Change{ch}
		case d > 0:
			last.Data = append(last.Data, make([]byte, d)...)
		default: // a longer length took more digits
			last.Data = last.Data[:len(last.Data)+d-1]
			ch.User += "a"
		}
	}
}

func testSizes(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "sizes", ID: strings.Repeat("=", messages.MaxID/3)}
	limit := l.Store.Limit()
	var h persistence.Head
	for range messages.MaxTrail + 2 { // a full trail takes its place too
		h = add(t, l.Store, ref, h, change("c", "1"))
	}
	for _, c := range []struct{ size, events int }{{limit - 1, 1}, {limit, 1}, {limit, 500}} {
		changes := sized(c.size, c.events)
		h = add(t, l.Store, ref, h, changes...)
		got := load(t, l.Store, ref, "")
		wantHead(t, got.Head, h)
		last := got.Commits[len(got.Commits)-1]
		if len(last.Changes[0].Events) != c.events || persistence.Size(last.Changes) != c.size {
			t.Fatalf("a commit of %d bytes came back with %d", c.size, persistence.Size(last.Changes))
		}
	}
	for _, c := range []struct{ size, events int }{{limit + 1, 1}, {limit + 1, 500}, {2 * limit, 3}} {
		refuse(t, l.Store, holdfast.CodeTooLarge, ref, h, sized(c.size, c.events)...)
	}
	many := make([]*messages.Change, limit/20)
	for i := range many {
		many[i] = &messages.Change{CommandId: "c"}
	}
	for persistence.Size(many) > limit {
		many = many[1:]
	}
	h = add(t, l.Store, ref, h, many...)
	wantHead(t, head(t, l.Store, ref), h)
}

func testTime(t *testing.T, l *Log) {
	ref := holdfast.Ref{Type: "time", ID: "a-1"}
	var h persistence.Head
	var last int64
	for _, at := range []int64{1000, 3000, 2000, 0, 3000, 2999, 4000} {
		ch := change("c", "1")
		ch.Time = at
		h = add(t, l.Store, ref, h, ch)
		last = max(last, at)
		if h.Time.UnixNano() != last {
			t.Fatalf("time is %d after a change at %d, want %d", h.Time.UnixNano(), at, last)
		}
	}
	wantHead(t, head(t, l.Store, ref), h)
}
