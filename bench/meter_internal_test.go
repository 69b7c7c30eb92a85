package bench

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
)

// TestMeasured: a turn in which nothing was done, since the machine stood still, says nothing.
func TestMeasured(t *testing.T) {
	t.Parallel()
	turns := 0
	s, err := measured(t.Context(), func(context.Context, time.Duration) (report.Sample, error) {
		turns++
		return report.Sample{Ops: turns / 3, Took: time.Second}, nil
	}, time.Second)
	if err != nil || s.Ops != 1 || turns != 3 {
		t.Errorf("got %+v after %d turns, %v", s, turns, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := measured(ctx, func(context.Context, time.Duration) (report.Sample, error) { return report.Sample{}, nil }, time.Second); err != nil || s.Ops != 0 {
		t.Errorf("when it is ended: got %+v, %v", s, err)
	}
}
