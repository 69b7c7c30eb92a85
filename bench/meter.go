package bench

import (
	"context"
	"math"
	"runtime"
	"strings"
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

// serverCode is where the names of the servers' functions begin.
const serverCode = "github.com/nats-io/nats-server/"

// held is what of the heap the servers have allocated, as the runtime's profile of it has seen
// that at the last two collections: it looks at one allocation in half a megabyte.
func held() uint64 {
	records := make([]runtime.MemProfileRecord, 1024)
	for {
		n, ok := runtime.MemProfile(records, false)
		if ok {
			records = records[:n]
			break
		}
		records = make([]runtime.MemProfileRecord, n+n/4)
	}
	sum := 0.0
	for i := range records {
		if r := &records[i]; r.InUseObjects() > 0 && ofServer(r.Stack()) {
			size := float64(r.InUseBytes()) / float64(r.InUseObjects())
			sum += float64(r.InUseBytes()) / (1 - math.Exp(-size/float64(runtime.MemProfileRate)))
		}
	}
	return uint64(sum)
}

// ofServer reports whether servers' code is on a stack.
func ofServer(stack []uintptr) bool {
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, serverCode) {
			return true
		}
		if !more {
			return false
		}
	}
}
