package persistencetest

import (
	"cmp"
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
	t.Fatalf("the line does not come back: %v", last)
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
	inTime(t, func(try int) error {
		ref := holdfast.Ref{Type: "lostanswers", ID: fmt.Sprint("overtaken-", try)}
		h := addMany(t, f.Store, ref, persistence.Head{}, 3)
		f.Line.LoseAnswers()
		defer whole(t, f)
		answer := begin(f.Store, ref, h, change("mine", "1"))
		mine := awaitVersion(t, other, ref, h.Version+1)
		addMany(t, other, ref, mine, 50)
		got := answer(t)
		if got.err == nil {
			wantHead(t, got.head, mine)
		}
		return got.err
	})
}

// inTime has a test try until the store does not look for its commit before a busy server
// has that.
func inTime(t testing.TB, test func(try int) error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for try := 0; ; try++ {
		err := test(try)
		if err == nil {
			return
		}
		if !errors.Is(err, holdfast.ErrUncertain) || time.Now().After(deadline) {
			t.Fatalf("the %dth time: %v", try+1, err)
		}
	}
}

// An appended is the answer to an append.
type appended struct {
	head persistence.Head
	err  error
}

// begin appends, and gives what waits for the answer.
func begin(s persistence.Store, ref holdfast.Ref, after persistence.Head, changes ...*messages.Change) func(testing.TB) appended {
	answers := make(chan appended, 2)
	s.Append(ref, after, changes, func(h persistence.Head, err error) { answers <- appended{h, err} })
	return func(t testing.TB) appended {
		t.Helper()
		select {
		case a := <-answers:
			return a
		case <-time.After(patience):
			t.Fatalf("append to %s: no answer", ref)
			panic("unreachable")
		}
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
	inTime(t, func(try int) error {
		ref := holdfast.Ref{Type: "brokenline", ID: fmt.Sprint("a-", try)}
		h := addMany(t, f.Store, ref, persistence.Head{}, 2)
		f.Line.LoseAnswers()
		defer whole(t, f)
		answer := begin(f.Store, ref, h, change("mine", "1"))
		mine := awaitVersion(t, other, ref, h.Version+1)
		f.Line.Break()
		got := answer(t)
		wantHead(t, head(t, other, ref), mine)
		return got.err
	})
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
	refuse(t, other, holdfast.CodeConflict, ref, h, change("next", "1"))
	wantIDs(t, other, ref, "c-1", "c-2", "late")

	// Another one came first while it was on its way: that is no longer uncertain.
	inTime(t, func(try int) error {
		ref := holdfast.Ref{Type: "laterequests", ID: fmt.Sprint("beaten-", try)}
		h := addMany(t, f.Store, ref, persistence.Head{}, 2)
		f.Line.HoldRequests()
		defer f.Line.Release()
		answer := begin(f.Store, ref, h, change("late", "1"))
		addMany(t, other, ref, h, 40)
		got := answer(t)
		if errors.Is(got.err, holdfast.ErrConflict) {
			return nil
		}
		return cmp.Or(got.err, errors.New("an append that was beaten is recorded"))
	})
}
