package runner_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// A slow log takes as long to read as it takes, unless somebody sets a limit to that.
type slow struct {
	runner.Log
	limited chan bool
}

func (s slow) Scan(ctx context.Context, o persistence.ScanOptions, each func(persistence.Record) error) (uint64, error) {
	_, limited := ctx.Deadline()
	s.limited <- limited
	return s.Log.Scan(ctx, o, each)
}

// A reset to a time finds that in a log of any length.
func TestResetInALongLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := slow{w.log, make(chan bool, 1)}
	n := w.start("n1", func(c *runner.Config) { c.Log = log }, numbers(add))
	n.await(w.record("a", 1))
	since := time.Now()
	last := w.record("a", 2)
	n.await(last)
	n.must(n.register.ResetToTime(w.ctx(), "numbers", since, "me"))
	if <-log.limited {
		t.Error("there is a limit to how long it may take to read the log")
	}
	n.status("the reset", func(runner.Status) bool { return n.document(1, "a") == `{"All":[1,2,2]}` })
}

// A resetting sink is looked at when it has just been reset.
type resetting struct {
	*memory.Sink
	then func()
}

func (r *resetting) Commit(ctx context.Context, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	err := r.Sink.Commit(ctx, u, from, to, do)
	if err == nil && to.Resets > from.Resets {
		r.then()
	}
	return err
}

// Who sees that a projection was reset, and waits for it, waits for what is handled again.
func TestResetIsAwaited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := &resetting{Sink: memory.New()}
	w.sink = sink
	n := w.start("n1", nil, numbers(add))
	w.record("a", 1)
	last := w.record("a", 2)
	n.await(last)
	seen := make(chan error, 1)
	sink.then = func() {
		ctx, cancel := context.WithTimeout(w.t.Context(), 50*time.Millisecond)
		defer cancel()
		seen <- n.Await(ctx, "numbers", last)
	}
	n.must(n.register.Reset(w.ctx(), "numbers", holdfast.NewPosition(0, 1), "me"))
	if err := <-seen; err == nil || !strings.Contains(err.Error(), "is at 0-1, not at 0-2") {
		t.Errorf("waiting for what is to be handled again gives %v", err)
	}
	n.await(last)
	n.has("a", 1, 2, 2)
}
