package tests

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/persistence"
)

// BenchmarkActivationStorm has a new node activate 100,000 aggregates, each from its snapshot, for
// 64 callers who ask for their states. Beside it stand 64 callers who each get the last message of a subject.
func BenchmarkActivationStorm(b *testing.B) {
	const aggregates, callers = 100_000, 64
	ctx := context.Background()
	r := newRig(b, true, 1)
	r.open(b, aggregates)
	r.each(b, callers, aggregates, func(i int) error { return r.snapshot(ctx, i) })
	var rate, rawRate, ratio []float64
	for b.Loop() {
		begin := time.Now()
		r.each(b, callers, aggregates, func(i int) error {
			m, err := r.raw.Conn().Request(fmt.Sprintf("$JS.API.DIRECT.GET.BENCH_LOG_0.bench.log.0.%s.%s", account(i).Type, account(i).ID), nil, time.Minute)
			if err == nil && m.Header.Get("Status") != "" {
				err = fmt.Errorf("%s: the server answers %v", account(i), m.Header)
			}
			return err
		})
		raw := aggregates / time.Since(begin).Seconds()
		r.rejoin(b)
		begin = time.Now()
		r.each(b, callers, aggregates, func(i int) error {
			_, err := r.member.View(ctx, account(i))
			return err
		})
		ours := aggregates / time.Since(begin).Seconds()
		if n := r.member.Stats().Activations; n != aggregates {
			b.Fatalf("%d were activated, want %d", n, aggregates)
		}
		rate, rawRate, ratio = append(rate, ours), append(rawRate, raw), append(ratio, ours/raw)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rate), "activations/s")
	b.ReportMetric(median(rawRate), "raw/s")
	b.ReportMetric(median(ratio), "rate-ratio")
}

// snapshot keeps one of an account as it is.
func (r *rig) snapshot(ctx context.Context, i int) error {
	v, err := r.member.View(ctx, account(i))
	if err != nil {
		return err
	}
	state, err := proto.Marshal(v.State.(*bankpb.Account))
	if err != nil {
		return err
	}
	l, err := r.store.Load(ctx, account(i), "")
	if err != nil {
		return err
	}
	return r.store.SaveSnapshot(ctx, account(i), persistence.Snapshot{Head: l.Head, Fingerprint: bank.Account.Fingerprint(), State: state})
}

// rejoin puts a new member, which has nothing in memory, in the place of the only one.
func (r *rig) rejoin(tb testing.TB) {
	tb.Helper()
	if err := r.member.Stop(context.Background()); err != nil {
		tb.Fatal(err)
	}
	r.store.Close()
	r.members, r.store = nil, nil
	r.join(tb)
	r.member = r.members[0]
}
