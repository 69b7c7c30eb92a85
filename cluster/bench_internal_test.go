package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// BenchmarkCall asks for a state at home and over one hop, with one caller and with 64:
// what a hop costs, without a log.
func BenchmarkCall(b *testing.B) {
	r := startRing(b)
	one, two := r.member(), r.member()
	eventually(b, "both see two", func() bool { return sees(one, 2) && sees(two, 2) })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var home, away holdfast.Ref
	for n := 0; home.ID == "" || away.ID == ""; n++ {
		if one.current.Load().scene.Load().mine(account(n)) {
			home = account(n)
		} else {
			away = account(n)
		}
	}
	for _, ref := range []holdfast.Ref{home, away} {
		if _, err := one.Send(ctx, ref, &bankpb.OpenAccount{Owner: "Ada"}); err != nil {
			b.Fatal(err)
		}
	}
	for _, where := range []struct {
		name string
		ref  holdfast.Ref
	}{{"home", home}, {"hop", away}} {
		view := func(b *testing.B) {
			if _, err := one.View(context.Background(), where.ref); err != nil {
				b.Error(err)
			}
		}
		b.Run(where.name+"/one", func(b *testing.B) {
			for b.Loop() {
				view(b)
			}
		})
		b.Run(where.name+"/many", func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					view(b)
				}
			})
		})
	}
}
