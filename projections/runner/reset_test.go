package runner_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/persistence"
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
