package runner_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// What several nodes write at the same time is all kept.
func TestRegisterKeepsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := numbers(add)
	a, b := w.start("n1", nil, p), w.start("n2", nil, p)
	a.is(runner.Live, "")
	var all sync.WaitGroup
	var mu sync.Mutex
	numbers := map[uint64]bool{}
	for _, n := range []*node{a, b} {
		all.Go(func() {
			for range 20 {
				number, err := n.register.Order(w.ctx(), "numbers", runner.Order{Act: runner.Retry, By: "me"})
				mu.Lock()
				if numbers[number] || err != nil {
					t.Errorf("the order %d is given twice, or not: %v", number, err)
				}
				numbers[number] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, n := range []*node{a, b} {
		n.status("all orders are known", func(s runner.Status) bool { return len(s.Record.Orders) == 40 && s.Record.Count == 40 })
	}
}

// Without an answer the register says so when ctx ends.
func TestRegisterUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn := connect(t)
	r, err := runner.OpenRegister(w.ctx(), runner.RegisterConfig{Context: w.context, Conn: conn, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Record(w.ctx(), "numbers"); holdfast.CodeOf(err) != holdfast.CodeUnknown {
		t.Errorf("of a projection that there is not it says %v", err)
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(w.ctx(), 100*time.Millisecond)
	defer cancel()
	if err := r.Resume(ctx, "numbers"); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Errorf("without a server it says %v", err)
	}
	if _, err := runner.OpenRegister(ctx, runner.RegisterConfig{Context: w.context, Conn: conn, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("it is opened without a server")
	}
}
