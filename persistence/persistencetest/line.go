package persistencetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// whole breaks the line and returns when appends pass over a new one.
func whole(t testing.TB, f *Faulty) {
	t.Helper()
	f.Line.Break()
	ref := holdfast.Ref{Type: "line", ID: "probe"}
	deadline := time.Now().Add(patience)
	var last error
	for time.Now().Before(deadline) {
		var h persistence.Loaded
		if h, last = f.Store.Load(context.WithoutCancel(t.Context()), ref, ""); last != nil {
			continue
		}
		if _, last = attempt(t, f.Store, ref, h.Head, change("probe", "x")); last == nil {
			return
		}
	}
	t.Fatal("the line does not come back")
}

// faulty gives the store with the line that fails, and one without.
func faulty(t *testing.T, l *Log) (*Faulty, persistence.Store) {
	whole(t, l.Faulty)
	t.Cleanup(func() { whole(t, l.Faulty) })
	return l.Faulty, l.Others[0]
}

// testLostAnswers: the log has the commit, but nobody says so. It is found there.
func testLostAnswers(t *testing.T, l *Log) {
	f, other := faulty(t, l)
	for _, before := range []int{0, 1, 40} {
		ref := holdfast.Ref{Type: "lostanswers", ID: fmt.Sprint(before)}
		h := addMany(t, f.Store, ref, persistence.Head{}, before)
		f.Line.LoseAnswers()
		got := add(t, f.Store, ref, h, change("mine", "1"))
		wantHead(t, head(t, other, ref), got)
		if got.Version != h.Version+1 {
			t.Fatalf("version is %d after %d", got.Version, h.Version)
		}
		whole(t, f)
		wantGrows(t, f.Store, other, ref, got, 1)
	}

	// Others have gone on from it meanwhile.
	ref := holdfast.Ref{Type: "lostanswers", ID: "overtaken"}
	h := addMany(t, f.Store, ref, persistence.Head{}, 3)
	f.Line.LoseAnswers()
	answers := make(chan persistence.Head, 2)
	f.Store.Append(ref, h, []*messages.Change{change("mine", "1")}, func(h persistence.Head, err error) {
		if err != nil {
			t.Errorf("overtaken append: %v", err)
		}
		answers <- h
	})
	mine := awaitVersion(t, other, ref, h.Version+1)
	addMany(t, other, ref, mine, 50)
	select {
	case got := <-answers:
		wantHead(t, got, mine)
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}

// awaitVersion returns when the log has come to a version.
func awaitVersion(t testing.TB, s persistence.Store, ref holdfast.Ref, v holdfast.Version) persistence.Head {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if h := head(t, s, ref); h.Version >= v {
			return h
		}
	}
	t.Fatalf("%s does not come to version %d", ref, v)
	panic("unreachable")
}

// testBrokenLine: the line breaks while answers are on their way. That is noticed at
// once.
func testBrokenLine(t *testing.T, l *Log) {
	f, other := faulty(t, l)
	ref := holdfast.Ref{Type: "brokenline", ID: "a-1"}
	h := addMany(t, f.Store, ref, persistence.Head{}, 2)
	f.Line.LoseAnswers()
	answers := make(chan error, 2)
	f.Store.Append(ref, h, []*messages.Change{change("mine", "1")}, func(_ persistence.Head, err error) { answers <- err })
	mine := awaitVersion(t, other, ref, h.Version+1)
	f.Line.Break()
	select {
	case err := <-answers:
		if err != nil {
			t.Fatalf("an append that is in the log: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
	wantHead(t, head(t, other, ref), mine)
}

// testLostRequests: the log never hears of the commit. That cannot be told from one that
// is late, so it is uncertain, and the aggregate's next commit settles it.
func testLostRequests(t *testing.T, l *Log) {
	f, other := faulty(t, l)
	for _, before := range []int{0, 2} {
		ref := holdfast.Ref{Type: "lostrequests", ID: fmt.Sprint(before)}
		h := addMany(t, f.Store, ref, persistence.Head{}, before)
		f.Line.LoseRequests()
		_, err := attempt(t, f.Store, ref, h, change("lost", "1"))
		wantCode(t, err, holdfast.CodeUncertain)
		whole(t, f)
		got := head(t, other, ref)
		if got.Version != h.Version {
			t.Fatalf("version is %d, want %d", got.Version, h.Version)
		}
		wantGrows(t, f.Store, other, ref, got, 1)
	}
}

// testLateRequests: a commit arrives after its writer has given up on it.
func testLateRequests(t *testing.T, l *Log) {
	f, other := faulty(t, l)
	late := func(id string, meanwhile func(holdfast.Ref, persistence.Head)) (holdfast.Ref, persistence.Head) {
		ref := holdfast.Ref{Type: "laterequests", ID: id}
		h := addMany(t, f.Store, ref, persistence.Head{}, 2)
		f.Line.HoldRequests()
		_, err := attempt(t, f.Store, ref, h, change("late", "1"))
		wantCode(t, err, holdfast.CodeUncertain)
		meanwhile(ref, h)
		f.Line.Release()
		return ref, h
	}

	// Settled by the next one: it can no longer be recorded.
	ref, _ := late("settled", func(ref holdfast.Ref, h persistence.Head) {
		add(t, other, ref, h, change("next", "1"))
	})
	add(t, f.Store, neighbour(t, l, ref), persistence.Head{}, change("m", "1")) // comes after it on the line
	wantIDs(t, other, ref, "c-1", "c-2", "next")

	// Not settled: it is recorded after all, and the next one is a conflict.
	ref, h := late("recorded", func(holdfast.Ref, persistence.Head) {})
	awaitVersion(t, other, ref, h.Version+1)
	_, err := attempt(t, other, ref, h, change("next", "1"))
	wantCode(t, err, holdfast.CodeConflict)
	wantIDs(t, other, ref, "c-1", "c-2", "late")

	// Another one came first while it was on its way: that is no longer uncertain.
	ref = holdfast.Ref{Type: "laterequests", ID: "beaten"}
	h = addMany(t, f.Store, ref, persistence.Head{}, 2)
	f.Line.HoldRequests()
	answers := make(chan error, 2)
	f.Store.Append(ref, h, []*messages.Change{change("late", "1")}, func(_ persistence.Head, err error) { answers <- err })
	addMany(t, other, ref, h, 40)
	select {
	case err := <-answers:
		if !errors.Is(err, holdfast.ErrConflict) {
			t.Fatalf("an append that was beaten: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
	f.Line.Release()
}
