package tests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/kvsink"
	memorysink "github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

const (
	catchUpEvents     = 100_000
	catchUpAggregates = 1000
)

// The read models of the benchmark: one that does nothing, one of rows and one of documents.
var (
	idle = projections.Define("idle", projections.From(bank.Account),
		projections.On(func(*projections.Docs[bank.Balance], *bankpb.Deposited, projections.Event) error { return nil }))
	rows = projections.Define("rows", projections.From(bank.Account),
		projections.Tables(`CREATE TABLE balances (account TEXT PRIMARY KEY, balance BIGINT NOT NULL)`),
		projections.On(func(r *projections.Rows, e *bankpb.Deposited, at projections.Event) error {
			_, err := r.Exec(`INSERT INTO balances (account, balance) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance`, at.Ref.ID, e.Amount)
			return err
		}))
	documents = projections.Define("documents", projections.From(bank.Account),
		projections.On(func(d *projections.Docs[bank.Balance], e *bankpb.Deposited, at projections.Event) error {
			return d.Change(at.Ref.ID, func(b bank.Balance) bank.Balance {
				b.Balance += e.Amount
				return b
			})
		}))
)

// A readRig is a log with events, and what reads it.
type readRig struct {
	tb       testing.TB
	server   *natsd.Server
	store    *jetstream.Store
	register *runner.Register
	seats    *follow.Seats
	round    int
}

func (r *readRig) dial(role natsd.Role, options ...nats.Option) *nats.Conn {
	r.tb.Helper()
	nc, err := r.server.Connect(role, options...)
	if err != nil {
		r.tb.Fatal(err)
	}
	return nc
}

func newReadRig(tb testing.TB) *readRig {
	tb.Helper()
	ctx := context.Background()
	r := &readRig{tb: tb}
	var err error
	r.server, err = natsd.Start(ctx, natsd.Config{DataDir: tb.TempDir(), Context: "bench", RelaxedSync: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.server.Stop)
	log := slog.New(slog.DiscardHandler)
	r.store, err = jetstream.Open(ctx, jetstream.Config{Context: "bench", Publish: r.dial(natsd.Node, nats.ReconnectBufSize(-1)), Read: []*nats.Conn{r.dial(natsd.Node)}, Logger: log})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.store.Close)
	if r.register, err = runner.OpenRegister(ctx, runner.RegisterConfig{Context: "bench", Conn: r.dial(natsd.Node), Log: log}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.register.Close)
	if r.seats, err = follow.Open(ctx, follow.Config{Context: "bench", Conn: r.dial(natsd.Node), Node: "alone", Log: log}); err != nil {
		tb.Fatal(err)
	}
	r.fill()
	return r
}

// fill appends deposits, one an aggregate in turn.
func (r *readRig) fill() { fillLog(r.tb, r.store, catchUpEvents) }

// fillFolder begins a log with events in a folder.
func fillFolder(tb testing.TB, folder string, events int) {
	tb.Helper()
	server, err := natsd.Start(tb.Context(), natsd.Config{DataDir: folder, Context: "demo", RelaxedSync: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	defer server.Stop()
	nc, err := server.Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		tb.Fatal(err)
	}
	store, err := jetstream.Open(tb.Context(), jetstream.Config{Context: "demo", Publish: nc, Read: []*nats.Conn{nc}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	defer store.Close()
	fillLog(tb, store, events)
}

func fillLog(tb testing.TB, store *jetstream.Store, events int) {
	tb.Helper()
	type ended struct {
		aggregate int
		head      persistence.Head
		err       error
	}
	done := make(chan ended, catchUpAggregates)
	heads, left := make([]persistence.Head, catchUpAggregates), make([]int, catchUpAggregates)
	e, err := persistence.EncodeEvent(&bankpb.Deposited{Amount: 1})
	if err != nil {
		tb.Fatal(err)
	}
	opened, err := persistence.EncodeEvent(&bankpb.AccountOpened{Owner: "ada"})
	if err != nil {
		tb.Fatal(err)
	}
	send := func(i int) {
		left[i]--
		id := fmt.Sprintf("a-%d", i)
		change := &messages.Change{CommandId: fmt.Sprintf("%s-%d", id, left[i]), Command: "bank.v1.Deposit", Time: 1, Events: []*messages.Event{e}}
		if heads[i].Version == 0 {
			change.Events[0] = opened
		}
		store.Append(holdfast.Ref{Type: "account", ID: id}, heads[i], []*messages.Change{change}, func(h persistence.Head, err error) { done <- ended{i, h, err} })
	}
	for i := range left {
		left[i] = events / catchUpAggregates
		send(i)
	}
	for range events {
		d := <-done
		if d.err != nil {
			tb.Fatal(d.err)
		}
		heads[d.aggregate] = d.head
		if left[d.aggregate] > 0 {
			send(d.aggregate)
		}
	}
}

// raw reads the log with an ordered consumer of nats.go, and decodes what it gets.
func (r *readRig) raw() time.Duration {
	r.tb.Helper()
	nc := r.dial(natsd.Node)
	defer nc.Close()
	js, err := natsjs.New(nc)
	if err != nil {
		r.tb.Fatal(err)
	}
	c, err := js.OrderedConsumer(r.tb.Context(), "BENCH_LOG_0", natsjs.OrderedConsumerConfig{})
	if err != nil {
		r.tb.Fatal(err)
	}
	begin, n := time.Now(), 0
	all := make(chan error, 1)
	consuming, err := c.Consume(func(m natsjs.Msg) {
		commit, err := messages.OpenCommit(m.Data())
		if err == nil {
			_, err = persistence.DecodeEvent(bank.Account, commit.Changes[0].Events[0])
		}
		if n++; err != nil || n == catchUpEvents {
			all <- err
		}
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	defer consuming.Stop()
	if err := <-all; err != nil {
		r.tb.Fatal(err)
	}
	return time.Since(begin)
}

// catchUp has a projection catch up from nothing.
func (r *readRig) catchUp(p *projections.Projection, sink projections.Sink) time.Duration {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(r.tb.Context(), 5*time.Minute)
	defer cancel()
	begin := time.Now()
	run, err := runner.Start(ctx, runner.Config{
		Projections: []*projections.Projection{p}, Log: r.store, Register: r.register, Seats: r.seats,
		Sink: func(*projections.Projection) (projections.Sink, error) { return sink, nil },
		Node: fmt.Sprint("n", r.round), Alone: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	defer run.Stop()
	if err := run.Await(ctx, p.Name(), holdfast.NewPosition(0, catchUpEvents)); err != nil {
		r.tb.Fatal(err)
	}
	return time.Since(begin)
}

// BenchmarkCatchUp puts projections that catch up beside a consumer that only decodes, in turns.
func BenchmarkCatchUp(b *testing.B) {
	r := newReadRig(b)
	log := messages.NewLogName(r.store.Created())
	for name, c := range map[string]struct {
		p    *projections.Projection
		sink func(int) (projections.Sink, error)
	}{
		"nothing":   {idle, func(int) (projections.Sink, error) { return memorysink.New(), nil }},
		"rows":      {rows, func(n int) (projections.Sink, error) { return inSQLite(b, log, n) }},
		"documents": {documents, func(n int) (projections.Sink, error) { return inSQLite(b, log, n) }},
		"KV": {documents, func(n int) (projections.Sink, error) {
			return kvsink.New(kvsink.Config{Conn: r.dial(natsd.Publisher), Context: messages.Context(fmt.Sprint("bench", n)), Log: log})
		}},
	} {
		b.Run(name, func(b *testing.B) {
			var ratios []float64
			for b.Loop() {
				r.round++
				sink, err := c.sink(r.round)
				if err != nil {
					b.Fatal(err)
				}
				raw := r.raw()
				ours := r.catchUp(c.p, sink)
				ratios = append(ratios, raw.Seconds()/ours.Seconds())
				b.ReportMetric(catchUpEvents/raw.Seconds(), "raw-events/s")
				b.ReportMetric(catchUpEvents/ours.Seconds(), "events/s")
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "×raw")
		})
	}
}

func inSQLite(tb testing.TB, log messages.LogName, n int) (projections.Sink, error) {
	s, err := sqlsink.Open(sqlsink.Config{Context: "bench", Log: log, Folder: filepath.Join(tb.TempDir(), fmt.Sprint(n))})
	if err != nil {
		return nil, errors.Join(err)
	}
	tb.Cleanup(s.Close)
	return s, nil
}
