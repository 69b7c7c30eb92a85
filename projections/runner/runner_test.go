package runner_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// What is in the log is handled, then what comes, and whoever waits for a position then sees
// it.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("a", 1, 2)
	n := w.start("n1", nil, numbers(add))
	n.await(w.record("a", 3))
	n.has("a", 1, 2, 3)
	n.is(runner.Live, "")
	for i := range int64(20) {
		n.await(w.record("b", i))
	}
	n.has("b", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
	n.has("c")
	_, positions, err := n.Answer(w.ctx(), "numbers", "b")
	if err != nil || len(positions) != 1 || positions[0] != holdfast.NewPosition(0, 22) {
		t.Errorf("the answer is of %v, %v", positions, err)
	}
	if _, _, err := n.Answer(w.ctx(), "numbers", "b", holdfast.NewPosition(0, 22), holdfast.NewPosition(0, 23)); holdfast.CodeOf(err) != holdfast.CodeBehind {
		t.Errorf("an answer of something later gives %v", err)
	}
	n.stop()
	last := w.record("a", 4)
	n = w.start("n1", nil, numbers(add))
	n.await(last)
	n.has("a", 1, 2, 3, 4)
}

func TestAwaitSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	n.await(w.record("a", 1))
	ctx, cancel := context.WithTimeout(w.ctx(), 50*time.Millisecond)
	defer cancel()
	err := n.Await(ctx, "numbers", holdfast.NewPosition(0, 9))
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), "is at 0-1, not at 0-9") {
		t.Errorf("waiting in vain gives %v", err)
	}
	if err := n.Await(ctx, "numbers", holdfast.NewPosition(7, 1)); holdfast.CodeOf(err) != holdfast.CodeMalformed {
		t.Errorf("another partition gives %v", err)
	}
	if err := n.Await(ctx, "others", holdfast.NewPosition(0, 1)); holdfast.CodeOf(err) != holdfast.CodeUnknown {
		t.Errorf("another projection gives %v", err)
	}
}

func TestTwoOfOneNameAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.tryStart("n1", nil, numbers(add), numbers(add))
	if err == nil || !strings.Contains(err.Error(), `two are called "numbers"`) {
		t.Errorf("two of one name give %v", err)
	}
}
