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

// operate asks a node as an operator does.
func operate(tb testing.TB, nc *nats.Conn, subject string, into any) {
	tb.Helper()
	r := mustAsk(tb, nc, subject, "", map[string]string{messages.HeaderUser: "ada"})
	if r.Status != 0 {
		tb.Fatalf("%s: %s", subject, r.body)
	}
	if err := json.Unmarshal(r.body, into); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkRebuild rebuilds a projection of a million events while commands are sent, and puts
// their 99th percentile beside that of commands that nothing disturbs.
func BenchmarkRebuild(b *testing.B) {
	folder := b.TempDir()
	fillFolder(b, folder, 1_000_000)
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
	nc := dial(b, admin.URL, nats.UserInfo(admin.User, admin.Password))
	awaitLive := func(generation int) {
		for {
			var a struct {
				Projection struct {
					Generations []struct {
						Generation int
						State      string
					}
				}
			}
			operate(b, nc, "demo.projections.show.statement", &a)
			for _, g := range a.Projection.Generations {
				if g.Generation == generation && g.State == "live" {
					return
				}
			}
			<-time.After(200 * time.Millisecond)
		}
	}
	awaitLive(1)
	for b.Loop() {
		p := pace{n, 500, 1000}
		stop := make(chan struct{})
		time.AfterFunc(20*time.Second, func() { close(stop) })
		calm := p.send(b, stop, nil)
		var made struct{ Generation int }
		operate(b, nc, "demo.projections.rebuild.statement", &made)
		begin, done := time.Now(), make(chan struct{})
		go func() {
			awaitLive(made.Generation)
			close(done)
		}()
		busy := p.send(b, done, nil)
		took := time.Since(begin)
		operate(b, nc, "demo.projections.drop.statement", &struct{}{})
		b.ReportMetric(1_000_000/took.Seconds(), "events/s")
		b.ReportMetric(percentile(calm, 0.99)/1000, "p99-calm-ms")
		b.ReportMetric(percentile(busy, 0.99)/1000, "p99-busy-ms")
		b.ReportMetric(percentile(busy, 0.99)/percentile(calm, 0.99), "×p99")
	}
}
