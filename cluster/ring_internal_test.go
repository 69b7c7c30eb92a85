package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A ring has members that share a log in memory, and a register on a real server.
type ring struct {
	t      testing.TB
	server *natsd.Server
	store  *silent
}

const (
	longLease = 15 * time.Second // so long that a machine that stands still for some seconds does not lose it
	patience  = 2 * time.Minute
)

// briefly has a member lose its lease soon.
func briefly(c *Config) { c.Lease = LeastLease }

func startRing(t testing.TB) *ring {
	t.Helper()
	server, err := natsd.Start(context.Background(), natsd.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return &ring{t: t, server: server, store: &silent{Store: memory.New("test")}}
}

func (r *ring) config(change ...func(*Config)) Config {
	r.t.Helper()
	conn, err := r.server.Connect(natsd.Node)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	c := Config{
		Host: actors.Config{Context: "test", Store: r.store, Types: []holdfast.Definition{bank.Account}, Log: slog.New(slog.DiscardHandler)},
		Conn: conn, Lease: longLease,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func (r *ring) member(change ...func(*Config)) *Member {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := Start(ctx, r.config(change...))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.stop(m) })
	return m
}

func (r *ring) stop(m *Member) {
	r.t.Helper()
	r.store.set(false)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 { // bears repetition
		if err := m.Stop(ctx); err != nil {
			r.t.Error(err)
		}
	}
}

// eventually polls until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not come about that " + what)
		}
	}
}

func account(n int) holdfast.Ref { return holdfast.Ref{Type: "account", ID: fmt.Sprintf("a-%d", n)} }
