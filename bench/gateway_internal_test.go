package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
)

// BenchmarkGatewayLimits tells of what the way of a client's command is made: beside publishes over TCP,
// and requests that are answered at once, stand the same commands from callers in the process.
//
//	go test ./bench -run '^$' -bench 'GatewayLimits/relaxed' -benchtime 5x
func BenchmarkGatewayLimits(b *testing.B) {
	found, _ := find([]string{"gateway"})
	for _, m := range modes[:2] {
		b.Run(m.name, func(b *testing.B) { benchmarkGateway(b, m, found[0]) })
	}
}

func benchmarkGateway(b *testing.B, m mode, k kind) {
	_, _, ready, parts := readied(b, m, k)
	w, ctx := ready.(*through), context.WithoutCancel(b.Context())
	for i, n := range w.callers {
		turns := []struct {
			name string
			turn turn
		}{
			{"publish", parts[i].raw[0]},
			{"publish-bare", parts[i].raw[1]},
			{"echo", w.echo(w.publishers[i], echoes)},
			{"echo-across", w.echo(w.clients[i], echoesAcross)},
			{"within", w.turn(n)},
			{"commands", parts[i].ours},
		}
		figures := make([][]report.Figures, len(turns))
		for range b.N {
			for j, t := range turns { // in turn, so that a busy minute is everybody's
				sample, err := measured(ctx, t.turn, 500*time.Millisecond)
				if err != nil {
					b.Fatal(err)
				}
				figures[j] = append(figures[j], sample.Figures())
			}
		}
		for j, t := range turns {
			of := func(figure func(report.Figures) float64) float64 {
				var all []float64
				for _, f := range figures[j] {
					all = append(all, figure(f))
				}
				return report.Median(all)
			}
			name := fmt.Sprintf("%s-%d", t.name, n)
			b.ReportMetric(of(func(f report.Figures) float64 { return f.P50 }), "us:"+name)
			b.ReportMetric(of(func(f report.Figures) float64 { return f.CPU }), "us-cpu:"+name)
			b.ReportMetric(of(func(f report.Figures) float64 { return f.Allocs }), "allocs:"+name)
		}
	}
}
