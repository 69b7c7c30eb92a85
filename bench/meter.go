package bench

import (
	"context"
	"runtime"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
)

// measured runs a turn, and notes what the process used meanwhile. What others have left on the
// heap is collected before.
func measured(ctx context.Context, t turn, d time.Duration) (report.Sample, error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used := processorTime()
	s, err := t(ctx, d)
	for err == nil && s.Ops == 0 && !ended(ctx) { // the machine stood still until its time was up
		s, err = t(ctx, d)
	}
	s.CPU = processorTime() - used
	runtime.ReadMemStats(&after)
	s.Allocs = after.Mallocs - before.Mallocs
	return s, err
}

// memory gives what is alive on the heap, and what the process has of the system.
func memory() (heap, all uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.Sys - m.HeapReleased
}
