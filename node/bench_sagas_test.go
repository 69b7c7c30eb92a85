package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/runner"
)

// three is the data of a saga that gives to three of many accounts.
type three struct{ id string }

func (three) begun(id string, _ *bankpb.OpenAccount) three { return three{id: id} }

func (t three) give() (string, *bankpb.Deposit) {
	return fmt.Sprintf("a-%d", rand.IntN(1000)), &bankpb.Deposit{Amount: 1}
}

func (t three) answer() (string, *bankpb.Deposit) { return "first-" + t.id, &bankpb.Deposit{Amount: 1} }

var (
	givesThree = sagas.Define("gives-three",
		sagas.Begin(three.begun),
		sagas.Retryable("one", sagas.Do("account", three.give)),
		sagas.Retryable("two", sagas.Do("account", three.give)),
		sagas.Retryable("three", sagas.Do("account", three.give)),
	)
	answers = sagas.Define("answers",
		sagas.Begin(three.begun),
		sagas.BeginOn("account", func(_ *bankpb.AccountOpened, from sagas.Source) (string, *bankpb.OpenAccount) {
			if !strings.HasPrefix(from.Ref.ID, "o-") {
				return "", nil
			}
			return from.Ref.ID, &bankpb.OpenAccount{}
		}),
		sagas.Retryable("one", sagas.Do("account", three.answer)),
	)
)

// A watcher notes when sagas send to accounts, and when they have come to their end.
type watcher struct {
	holdfast.Sender
	first  sync.Map // of an account, when it was sent to
	status func(holdfast.Ref, holdfast.Receipt)
}

func (w *watcher) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	if strings.HasPrefix(to.ID, "first-") {
		w.first.LoadOrStore(to.ID, time.Now())
	}
	r, err := w.Sender.Send(ctx, to, c, opts...)
	if err == nil {
		w.status(to, r)
	}
	return r, err
}

func startBench(b *testing.B) (*node.Node, *watcher, natsjs.JetStream) {
	b.Helper()
	w := &watcher{status: func(holdfast.Ref, holdfast.Receipt) {}}
	c := node.Config{Types: []holdfast.Definition{bank.Account}, Sagas: []*sagas.Saga{givesThree, answers}, Data: b.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	n, err := node.Start(b.Context(), c.Adapt(func(r *runner.Config) { w.Sender, r.Sender = r.Sender, w }))
	if err != nil {
		b.Fatal(err)
	}
	admin, err := natsd.ReadAdmin(c.Data)
	if err != nil {
		b.Fatal(err)
	}
	nc, err := natsd.Dial(n.ClientURL(), nats.UserInfo(admin.User, admin.Password))
	if err != nil {
		b.Fatal(err)
	}
	js, err := natsjs.New(nc)
	if err == nil {
		_, err = js.CreateStream(b.Context(), natsjs.StreamConfig{Name: "RAW", Subjects: []string{"raw.>"}, Storage: natsjs.FileStorage})
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		nc.Close()
		if err := n.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	for i := range 1000 {
		if _, err := n.Sender().Send(b.Context(), account(i), &bankpb.OpenAccount{Owner: "ada"}); err != nil {
			b.Fatal(err)
		}
	}
	return n, w, js
}

func account(i int) holdfast.Ref { return holdfast.Ref{Type: "account", ID: fmt.Sprintf("a-%d", i)} }

// burst is for how long each side runs in a round.
const burst = 3 * time.Second

// BenchmarkSagas has many sagas of three steps run beside the bare commands that they send:
// how many of these there are a second, of those.
func BenchmarkSagas(b *testing.B) {
	n, w, _ := startBench(b)
	var ended atomic.Int64
	w.status = func(to holdfast.Ref, r holdfast.Receipt) {
		if to.Type == "gives-three" && slices.Contains(r.Events, "holdfast.v1.SagaEnded") {
			ended.Add(1)
		}
	}
	var ratios, rates []float64
	serial := 0
	for b.Loop() {
		bare := float64(drive(b, 64, func(int) { sendTo(b, n, account(rand.IntN(1000)), &bankpb.Deposit{Amount: 1}) })) / burst.Seconds()
		before, begun := ended.Load(), atomic.Int64{}
		serial++
		drive(b, 64, func(i int) {
			for begun.Load()-(ended.Load()-before) > 2000 {
				<-time.After(time.Millisecond)
			}
			begun.Add(1)
			sendTo(b, n, holdfast.Ref{Type: "gives-three", ID: fmt.Sprintf("g-%d-%d", serial, i)}, &bankpb.OpenAccount{})
		})
		rate := float64(ended.Load()-before) / burst.Seconds()
		for ended.Load()-before < begun.Load() {
			<-time.After(time.Millisecond)
		}
		ratios, rates = append(ratios, 3*rate/bare), append(rates, rate)
	}
	slices.Sort(ratios)
	slices.Sort(rates)
	b.ReportMetric(ratios[len(ratios)/2], "×bare")
	b.ReportMetric(rates[len(rates)/2], "sagas/s")
}

func sendTo(b *testing.B, n *node.Node, to holdfast.Ref, c holdfast.Command) {
	if _, err := n.Sender().Send(b.Context(), to, c); err != nil {
		b.Error(err)
	}
}

// drive calls f from so many callers for a burst, and gives how often.
func drive(b *testing.B, callers int, f func(i int)) int64 {
	var i atomic.Int64
	end := time.Now().Add(burst)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for time.Now().Before(end) && !b.Failed() {
				f(int(i.Add(1)))
			}
		})
	}
	all.Wait()
	return i.Load()
}

// BenchmarkSagaLatency is from an event to the first command of the saga that it begins, one
// at a time, beside a raw publish.
func BenchmarkSagaLatency(b *testing.B) {
	n, w, js := startBench(b)
	var raw, ours []time.Duration
	for i := 0; b.Loop(); i++ {
		before := time.Now()
		if _, err := js.Publish(b.Context(), "raw.x", make([]byte, 300)); err != nil {
			b.Fatal(err)
		}
		raw = append(raw, time.Since(before))
		id := fmt.Sprintf("o-%d", i)
		sendTo(b, n, holdfast.Ref{Type: "account", ID: id}, &bankpb.OpenAccount{Owner: "ada"})
		happened := time.Now()
		for {
			if at, ok := w.first.Load("first-" + id); ok {
				ours = append(ours, at.(time.Time).Sub(happened))
				break
			}
			<-time.After(50 * time.Microsecond)
		}
	}
	slices.Sort(raw)
	slices.Sort(ours)
	p := func(d []time.Duration, percent int) float64 { return float64(d[len(d)*percent/100].Microseconds()) }
	b.ReportMetric(p(ours, 50)/p(raw, 50), "×raw-p50")
	b.ReportMetric(p(ours, 99)/p(raw, 99), "×raw-p99")
	b.ReportMetric(p(ours, 50), "p50-µs")
	b.ReportMetric(p(ours, 99), "p99-µs")
}
