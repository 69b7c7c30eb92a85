package tests

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// BenchmarkIdleAggregates activates 100,000 aggregates with ten commits each, and reports
// what each costs in the heap while it is active, what it costs together with its log in the
// embedded server, and the memory of the whole process: at rest, and at its peak under the load
// that activated them.
func BenchmarkIdleAggregates(b *testing.B) {
	const aggregates, commits = 100_000, 10
	for b.Loop() {
		r := newRig(b, true, 1)
		r.open(b, 1) // connections and caches are there before the first measurement
		before := heap()
		r.open(b, aggregates)
		r.each(b, 512, aggregates*(commits-1), func(i int) error {
			_, err := r.member.Send(context.Background(), account(i%aggregates), &bankpb.Deposit{Amount: 1})
			return err
		})
		after := heap()
		if n := r.member.Stats().Active; n != aggregates {
			b.Fatalf("%d are active, want %d", n, aggregates)
		}
		b.ReportMetric(float64(after-before)/aggregates, "B/aggregate-and-log")
		debug.FreeOSMemory() // what is garbage is not needed
		b.ReportMetric(float64(memory(b, "VmRSS:"))/(1<<20), "MiB-resident")
		if err := r.member.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(after-heap())/aggregates, "B/aggregate")
		b.ReportMetric(float64(memory(b, "VmHWM:"))/(1<<20), "MiB-peak")
		b.ReportMetric(0, "ns/op")
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// memory reads what the system says of the process's memory, in bytes.
func memory(tb testing.TB, what string) uint64 {
	tb.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, what); ok {
			kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	tb.Fatalf("no %s in /proc/self/status", what)
	return 0
}
