package bench

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

// With -args -alone, profiles are of Holdfast and nothing else: the raw sides are left out.
var alone = flag.Bool("alone", false, "leave the raw sides out of BenchmarkWorkloads")

// BenchmarkWorkloads runs what the command runs, a round an iteration:
//
//	go test ./bench -run '^$' -bench 'Workloads/many/relaxed' -benchtime 5x -cpuprofile cpu.out -args -alone
func BenchmarkWorkloads(b *testing.B) {
	for _, k := range kinds {
		for _, m := range modes {
			b.Run(k.name+"/"+m.name, func(b *testing.B) {
				if *alone {
					benchmarkAlone(b, m, k)
					return
				}
				results, err := runOne(b.Context(), benchmarked(b), m, k)
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range results {
					for _, x := range r.Ratios {
						b.ReportMetric(x.Median, x.Figure+"-ratio")
					}
					b.ReportMetric(r.Ours.Allocs, "allocs/cmd")
				}
			})
		}
	}
}

// benchmarked are the options of a benchmark. What its workload kills is this program, too.
func benchmarked(b *testing.B) options {
	return options{rounds: b.N, per: time.Second, dir: b.TempDir(), self: []string{os.Args[0], victimVerb}, told: func(string, ...any) {}}
}

// readied gives a workload that is ready on a stage of its own, which ends with the benchmark.
func readied(b *testing.B, m mode, k kind) (o options, s *stage, w workload, parts []part) {
	b.Helper()
	o, ctx := benchmarked(b), context.WithoutCancel(b.Context())
	s, err := newStage(ctx, m, o.dir, o.settingOf(k))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.close(); err != nil {
			b.Error(err)
		}
	})
	w = k.make(o)
	if parts, err = w.prepare(ctx, s); err != nil {
		b.Fatal(err)
	}
	return o, s, w, parts
}

func benchmarkAlone(b *testing.B, m mode, k kind) {
	_, _, _, parts := readied(b, m, k)
	for _, p := range parts {
		name := strings.ReplaceAll(p.of(k), " ", "-")
		for range b.N {
			sample, err := measured(b.Context(), p.ours, 3*time.Second)
			if err != nil {
				b.Fatal(err)
			}
			ops := float64(sample.Ops)
			b.ReportMetric(ops/sample.Took.Seconds(), "per-s:"+name)
			b.ReportMetric(float64(sample.Allocs)/ops, "allocs:"+name)
			b.ReportMetric(float64(sample.CPU.Microseconds())/ops, "us-cpu:"+name)
		}
	}
}
