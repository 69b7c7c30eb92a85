package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/projections"
)

// A pace is how often commands are sent, and to how many accounts.
type pace struct {
	n        *node.Node
	rate     int
	accounts int
}

// send sends deposits until stop is closed, each in its time whatever becomes of the others, and
// gives how long they took. told, if not nil, hears of every receipt.
func (p pace) send(tb testing.TB, stop <-chan struct{}, told func(i int, r holdfast.Receipt)) (took []time.Duration) {
	tb.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	var all sync.WaitGroup
	var mu sync.Mutex
	for i, begin := 0, time.Now(); ; {
		select {
		case <-stop:
			all.Wait()
			return took
		case now := <-ticks.C:
			for ; i < int(now.Sub(begin).Seconds()*float64(p.rate)); i++ {
				all.Go(func() {
					sent := time.Now()
					r, err := p.n.Sender().Send(context.Background(), holdfast.Ref{Type: "account", ID: fmt.Sprintf("a-%d", i%p.accounts)}, &bankpb.Deposit{Amount: 1})
					d := time.Since(sent)
					if err != nil {
						tb.Error(err)
						return
					}
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
					if told != nil {
						told(i, r)
					}
				})
			}
		}
	}
}

// openAccounts has accounts opened that commands are sent to.
func openAccounts(tb testing.TB, n *node.Node, accounts int) {
	tb.Helper()
	for i := range accounts {
		if _, err := n.Sender().Send(context.Background(), holdfast.Ref{Type: "account", ID: fmt.Sprintf("a-%d", i)}, &bankpb.OpenAccount{Owner: "ada"}); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkLiveLag sends 1,000 commands a second, and asks for every tenth how long after its
// receipt a query sees it: of rows in SQLite and of documents in NATS KV, with feed and index.
func BenchmarkLiveLag(b *testing.B) {
	for name, p := range map[string]*projections.Projection{"SQLite": bank.Statement, "KV": bank.Balances} {
		b.Run(name, func(b *testing.B) {
			n, err := node.Start(b.Context(), node.Config{
				Data: b.TempDir(), Listen: "127.0.0.1:0", Types: []holdfast.Definition{bank.Account}, Projections: []*projections.Projection{p},
				Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			defer n.Stop(context.Background())
			openAccounts(b, n, 1000)
			nc := dial(b, n.ClientURL())
			for b.Loop() {
				var mu sync.Mutex
				var lags []time.Duration
				stop := make(chan struct{})
				time.AfterFunc(10*time.Second, func() { close(stop) })
				took := pace{n, 1000, 1000}.send(b, stop, func(i int, r holdfast.Receipt) {
					if i%10 > 0 {
						return
					}
					begin := time.Now()
					answer := mustAsk(b, nc, fmt.Sprintf("demo.view.%s.a-%d", p.Name(), i%1000), "", map[string]string{messages.HeaderAfter: r.Position.String()})
					if answer.Status != 0 {
						b.Errorf("%d: %s", answer.Status, answer.body)
					}
					mu.Lock()
					lags = append(lags, time.Since(begin))
					mu.Unlock()
				})
				b.ReportMetric(float64(len(took))/10, "commands/s")
				b.ReportMetric(percentile(lags, 0.5)/1000, "p50-lag-ms")
				b.ReportMetric(percentile(lags, 0.99)/1000, "p99-lag-ms")
			}
		})
	}
}

// operate asks a node as an operator does; user is who acts, and empty for one who looks.
func operate(tb testing.TB, nc *nats.Conn, subject, user string, into any) {
	tb.Helper()
	header := map[string]string{}
	if user != "" {
		header[messages.HeaderUser] = user
	}
	r := mustAsk(tb, nc, subject, "", header)
	if r.Status != 0 {
		tb.Fatalf("%s: %s", subject, r.body)
	}
	if err := json.Unmarshal(r.body, into); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkRebuild rebuilds a projection of a million events while commands are sent. Turn by
// turn, five times, it takes how long they are while nothing disturbs them and while a rebuild goes
// on, and then has one come to its end.
func BenchmarkRebuild(b *testing.B) {
	const events = 1_000_000
	folder := b.TempDir()
	fillFolder(b, folder, events)
	n, err := node.Start(b.Context(), node.Config{
		Data: folder, Listen: "127.0.0.1:0", Types: []holdfast.Definition{bank.Account}, Projections: []*projections.Projection{bank.Statement},
		NoIndex: true, Feed: node.Feed{Off: true}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Stop(context.Background())
	admin, err := natsd.ReadAdmin(folder)
	if err != nil {
		b.Fatal(err)
	}
	r := rebuilding{b, dial(b, admin.URL, nats.UserInfo(admin.User, admin.Password))}
	r.awaitLive(1)
	during := func(d time.Duration) []time.Duration {
		stop := make(chan struct{})
		time.AfterFunc(d, func() { close(stop) })
		return pace{n, 500, 1000}.send(b, stop, nil)
	}
	for b.Loop() {
		during(15 * time.Second) // in which the accounts are loaded
		var calm, busy []time.Duration
		for range 5 {
			calm = append(calm, during(15*time.Second)...)
			generation := r.begin()
			busy = append(busy, during(15*time.Second)...)
			r.drop(generation)
		}
		for _, p := range []float64{0.5, 0.9, 0.99} {
			before, meanwhile := percentile(calm, p)/1000, percentile(busy, p)/1000
			b.ReportMetric(before, fmt.Sprintf("p%g-calm-ms", 100*p))
			b.ReportMetric(meanwhile, fmt.Sprintf("p%g-busy-ms", 100*p))
			b.ReportMetric(meanwhile/before, fmt.Sprintf("×p%g", 100*p))
		}
		generation, begin, done := r.begin(), time.Now(), make(chan struct{})
		go func() {
			r.awaitLive(generation)
			close(done)
		}()
		all := pace{n, 500, 1000}.send(b, done, nil)
		b.ReportMetric(events/time.Since(begin).Seconds(), "events/s")
		b.ReportMetric(percentile(all, 0.99)/1000, "p99-whole-ms")
		r.drop(generation)
	}
}

// A rebuilding is an operator who rebuilds the projection statement.
type rebuilding struct {
	b  *testing.B
	nc *nats.Conn
}

func (r rebuilding) begin() (generation int) {
	var made struct{ Generation int }
	operate(r.b, r.nc, "demo.projections.rebuild.statement", "ada", &made)
	return made.Generation
}

// drop takes away what was built, and waits until nobody works on it.
func (r rebuilding) drop(generation int) {
	operate(r.b, r.nc, "demo.projections.drop.statement", "ada", &struct{}{})
	r.await(func(states map[int]string) bool { _, there := states[generation]; return !there })
}

func (r rebuilding) awaitLive(generation int) {
	r.await(func(states map[int]string) bool { return states[generation] == "live" })
}

func (r rebuilding) await(so func(states map[int]string) bool) {
	for {
		var a struct {
			Projection struct {
				Generations []struct {
					Generation int
					State      string
				}
			}
		}
		operate(r.b, r.nc, "demo.projections.show.statement", "", &a)
		states := map[int]string{}
		for _, g := range a.Projection.Generations {
			states[g.Generation] = g.State
		}
		if so(states) {
			return
		}
		<-time.After(200 * time.Millisecond)
	}
}
