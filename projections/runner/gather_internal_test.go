package runner

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// gatherWords makes a gatherer of records whose bodies are words: each letter is an event.
func gatherWords(at *progress) *gather {
	return newGather(at, time.Now, func(rec persistence.Record, items []projections.Item) []projections.Item {
		for range rec.Body {
			items = append(items, projections.Item{})
		}
		return items
	})
}

func give(t *testing.T, g *gather, seq uint64, word string) {
	t.Helper()
	if err := g.take(t.Context(), persistence.Record{Position: holdfast.NewPosition(0, seq), Body: []byte(word)}); err != nil {
		t.Fatal(err)
	}
}

// What concerns nobody is done at once, unless something before it is not done yet.
func TestWhatIsDone(t *testing.T) {
	t.Parallel()
	var at progress
	g := gatherWords(&at)
	want := func(done uint64) {
		t.Helper()
		if got := at.get(); got != done {
			t.Errorf("%d are done, want %d", got, done)
		}
	}
	give(t, g, 1, "")
	want(1)
	give(t, g, 2, "ab")
	give(t, g, 3, "")
	want(1)
	b := g.swap()
	if b.String() != " |1 to 3" {
		t.Errorf("there is %v", b)
	}
	give(t, g, 4, "")
	want(1) // 2 is under way
	at.set(b.done)
	g.finished(b, 10)
	want(4)
	g.stopAt(5)
	give(t, g, 5, "")
	give(t, g, 6, "")
	want(5)
	g.stopAt(0)
	give(t, g, 7, "")
	want(7)
}

// Events are gathered for a breath, or until there are enough; a mere move is given soon, but not
// more than once a second; and while there is no room nothing is taken.
func TestNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at progress
		g := gatherWords(&at)
		next := func(want string, wantFull bool, after time.Duration) {
			t.Helper()
			begun := time.Now()
			b, full := g.next(t.Context(), nil, nil)
			if took := time.Since(begun); b.String() != want || full != wantFull || took != after {
				t.Errorf("after %v there is %v, full: %v", took, b, full)
			}
			g.finished(b, 4)
		}
		give(t, g, 1, "")
		next("|0 to 1", false, moveSoon)
		give(t, g, 2, "ab")
		go func() {
			<-time.After(breath / 2)
			give(t, g, 3, "c")
		}()
		next("  |2 to 3", false, breath)
		give(t, g, 4, "abcd")
		next("   |1 to 4", true, 0)
		give(t, g, 5, "")
		next("|0 to 5", false, moveEvery) // since the last one
		g.pace(true)
		ctx, cancel := context.WithCancelCause(t.Context())
		taken := make(chan error, 1)
		go func() { taken <- g.take(ctx, persistence.Record{Position: holdfast.NewPosition(0, 6)}) }()
		synctest.Wait()
		if len(taken) > 0 {
			t.Error("something is taken meanwhile")
		}
		g.pace(false)
		if err := <-taken; err != nil {
			t.Error(err)
		}
		give(t, g, 7, "abcd")
		go func() { taken <- g.take(ctx, persistence.Record{Position: holdfast.NewPosition(0, 8)}) }()
		synctest.Wait()
		if len(taken) > 0 {
			t.Error("more is taken than there is room for")
		}
		cancel(errFound)
		if err := <-taken; !errors.Is(err, errFound) {
			t.Errorf("it ends with %v", err)
		}
		enough := make(chan struct{})
		close(enough)
		g.swap()
		if b, _ := g.next(t.Context(), nil, enough); b.done != 0 {
			t.Errorf("after enough there is %v", b)
		}
	})
}
