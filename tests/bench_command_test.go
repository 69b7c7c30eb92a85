package tests

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// The benchmarks put holdfast.Sender beside raw publishes: same server (SyncAlways), in
// process, same size of message, same expectation header, in turns within one run. One
// iteration is one round of both; what counts is the ratio, of which the median is
// reported. After each round of ours, what was answered is found in the log.

// A rig is a server with our log and a raw stream beside it.
type rig struct {
	server  *natsd.Server
	member  *cluster.Member   // the first of them
	members []*cluster.Member // of one cluster, in this process
	store   *jetstream.Store  // the first one's
	raw     natsjs.JetStream
	size    int // of a commit's body
	seqs    []uint64
}

func newRig(tb testing.TB, relaxed bool, members int) *rig {
	tb.Helper()
	ctx := context.Background()
	server, err := natsd.Start(ctx, natsd.Config{DataDir: tb.TempDir(), Context: "bench", RelaxedSync: relaxed, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Stop)
	r := &rig{server: server, seqs: make([]uint64, 1000)}
	for range members {
		r.join(tb)
	}
	r.member = r.members[0]
	if r.raw, err = natsjs.New(r.dial(tb)); err != nil {
		tb.Fatal(err)
	}
	if _, err := r.raw.CreateStream(ctx, natsjs.StreamConfig{
		Name: "RAW", Subjects: []string{"raw.>"}, Storage: natsjs.FileStorage, AllowDirect: true, Duplicates: time.Second,
	}); err != nil {
		tb.Fatal(err)
	}
	return r
}

func (r *rig) dial(tb testing.TB) *nats.Conn {
	tb.Helper()
	nc, err := r.server.Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		tb.Fatal(err)
	}
	return nc
}

// join adds a member, with a store of its own on the log.
func (r *rig) join(tb testing.TB) {
	tb.Helper()
	ctx := context.Background()
	store, err := jetstream.Open(ctx, jetstream.Config{Context: "bench", Publish: r.dial(tb), Read: []*nats.Conn{r.dial(tb), r.dial(tb)}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(store.Close)
	member, err := cluster.Start(ctx, cluster.Config{
		Host: actors.Config{
			Context: "bench", Store: store, Types: []holdfast.Definition{bank.Account}, Log: slog.New(slog.DiscardHandler), MaxActive: 200_000,
		},
		Conn: r.dial(tb),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := member.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	if r.members = append(r.members, member); r.store == nil {
		r.store = store
	}
}

func account(i int) holdfast.Ref { return holdfast.Ref{Type: "account", ID: "a-" + strconv.Itoa(i)} }

// open opens accounts, and learns how large a commit is once its trail is full.
func (r *rig) open(tb testing.TB, accounts int) {
	tb.Helper()
	r.each(tb, 64, accounts, func(i int) error {
		_, err := r.member.Send(context.Background(), account(i), &bankpb.OpenAccount{Owner: "ada"})
		if holdfast.CodeOf(err) == holdfast.CodeRejected {
			return nil // it is open
		}
		return err
	})
	for range 40 {
		r.deposit(tb, 0)
	}
	for c, err := range r.store.Backwards(context.Background(), account(0), 0) {
		if err != nil {
			tb.Fatal(err)
		}
		r.size = len(c.Body)
		break
	}
}

func (r *rig) deposit(tb testing.TB, i int) {
	if _, err := r.member.Send(context.Background(), account(i), &bankpb.Deposit{Amount: 1}); err != nil {
		tb.Fatal(err)
	}
}

// publish is what a careful client does by hand: one message, fsynced, if the subject is
// where it was.
func (r *rig) publish(i int, payload []byte) error {
	ack, err := r.raw.Publish(context.Background(), "raw."+strconv.Itoa(i), payload, natsjs.WithExpectLastSequencePerSubject(r.seqs[i]))
	if err == nil {
		r.seqs[i] = ack.Sequence
	}
	return err
}

// each runs n operations in so many callers, each with operations of its own, and gives
// the time of each.
func (r *rig) each(tb testing.TB, callers, n int, op func(i int) error) []time.Duration {
	tb.Helper()
	times := make([]time.Duration, n)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n && errs[c] == nil; i += callers {
				begin := time.Now()
				errs[c] = op(i)
				times[i] = time.Since(begin)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
	return times
}

// total of all balances, from the durable state.
func (r *rig) total(tb testing.TB, accounts int) int64 {
	tb.Helper()
	var sum int64
	for i := range accounts {
		v, err := r.member.View(context.Background(), account(i))
		if err != nil {
			tb.Fatal(err)
		}
		sum += v.State.(*bankpb.Account).Balance
	}
	return sum
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func percentile(times []time.Duration, p float64) float64 {
	slices.Sort(times)
	return float64(times[min(len(times)-1, int(p*float64(len(times))))]) / 1e3
}

// compare runs rounds of both, in turns, and reports the medians.
func compare(b *testing.B, accounts, callers, rawCallers, ops int, at func(i int) int) {
	r := newRig(b, false, 1)
	r.open(b, accounts)
	payload := make([]byte, r.size)
	subjects := 1 // of each raw publisher
	if rawCallers > 1 {
		subjects = len(r.seqs) / rawCallers
	}
	var rate, rawRate, ratio, p50, p99, rawP50, rawP99, latency []float64
	want := r.total(b, accounts)
	for b.Loop() {
		begin := time.Now()
		rawTimes := r.each(b, rawCallers, ops, func(i int) error {
			return r.publish(i/rawCallers%subjects*rawCallers+i%rawCallers, payload)
		})
		raw := float64(ops) / time.Since(begin).Seconds()
		begin = time.Now()
		times := r.each(b, callers, ops, func(i int) error {
			_, err := r.member.Send(context.Background(), account(at(i)), &bankpb.Deposit{Amount: 1})
			return err
		})
		ours := float64(ops) / time.Since(begin).Seconds()
		rate, rawRate, ratio = append(rate, ours), append(rawRate, raw), append(ratio, ours/raw)
		p50, p99 = append(p50, percentile(times, 0.5)), append(p99, percentile(times, 0.99))
		rawP50, rawP99 = append(rawP50, percentile(rawTimes, 0.5)), append(rawP99, percentile(rawTimes, 0.99))
		latency = append(latency, p50[len(p50)-1]/rawP50[len(rawP50)-1])
		if want += int64(ops); r.total(b, accounts) != want {
			b.Fatalf("the balances add up to %d, want %d", r.total(b, accounts), want)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rate), "commands/s")
	b.ReportMetric(median(rawRate), "raw/s")
	b.ReportMetric(median(ratio), "rate-ratio")
	b.ReportMetric(median(latency), "p50-ratio")
	b.ReportMetric(median(p50), "p50-µs")
	b.ReportMetric(median(p99), "p99-µs")
	b.ReportMetric(median(rawP50), "raw-p50-µs")
	b.ReportMetric(median(rawP99), "raw-p99-µs")
}

// BenchmarkCommandOneCaller: one caller, one aggregate, beside one raw publisher.
func BenchmarkCommandOneCaller(b *testing.B) {
	compare(b, 1, 1, 1, 2000, func(int) int { return 0 })
}

// BenchmarkCommandHotAggregate: 64 callers of one aggregate, beside one raw publisher:
// group commit.
func BenchmarkCommandHotAggregate(b *testing.B) {
	compare(b, 1, 64, 1, 6400, func(int) int { return 0 })
}

// BenchmarkCommandManyAggregates: 64 callers of 1,000 aggregates, beside 64 raw
// publishers to 960 subjects, each with its own.
func BenchmarkCommandManyAggregates(b *testing.B) {
	compare(b, 1000, 64, 64, 6400, func(i int) int { return i * 7 % 1000 })
}

// BenchmarkCommandThreeNodes: 64 callers of 1,000 aggregates at three nodes, each in turn,
// so that two of three commands hop, beside 64 callers at one node on a log of its own. All
// nodes and both servers share this machine.
func BenchmarkCommandThreeNodes(b *testing.B) {
	const accounts, callers, ops = 1000, 64, 6400
	one, three := newRig(b, false, 1), newRig(b, false, 3)
	one.open(b, accounts)
	three.open(b, accounts)
	var rates, ratios, latencies []float64
	round := func(r *rig, want int64) (rate, p50 float64) {
		begin := time.Now()
		times := r.each(b, callers, ops, func(i int) error {
			_, err := r.members[i%len(r.members)].Send(context.Background(), account(i*7%accounts), &bankpb.Deposit{Amount: 1})
			return err
		})
		rate = ops / time.Since(begin).Seconds()
		if got := r.total(b, accounts); got != want {
			b.Fatalf("the balances add up to %d, want %d", got, want)
		}
		return rate, percentile(times, 0.5)
	}
	wantOne, wantThree := one.total(b, accounts), three.total(b, accounts)
	for b.Loop() {
		wantOne, wantThree = wantOne+ops, wantThree+ops
		rate, p50 := round(one, wantOne)
		rate3, p503 := round(three, wantThree)
		rates, ratios, latencies = append(rates, rate3), append(ratios, rate3/rate), append(latencies, p503/p50)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rates), "commands/s")
	b.ReportMetric(median(ratios), "rate-ratio")
	b.ReportMetric(median(latencies), "p50-ratio")
}
