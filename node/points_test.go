package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas/runner"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// The environment of a process that runs a node and may kill itself: the folder with its
// orders, and how the node is configured.
const (
	dieOrders = "HOLDFAST_TEST_DIE"
	dieConfig = "HOLDFAST_TEST_CONFIG"
)

// runAndDie runs a node whose sagas pass points, before and after everything that they do.
func runAndDie(orders string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	var c node.Config
	fail(json.Unmarshal([]byte(os.Getenv(dieConfig)), &c))
	p := &points{folder: orders}
	c = withSagas(c)
	running, err := node.Start(context.Background(), c.Adapt(p.adapt))
	fail(err)
	fmt.Println(running.ClientURL())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test lets it go, or dies itself
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fail(running.Stop(ctx))
	os.Exit(0)
}

// order has the first process die that passes so many points from now on; 0 for none. Until
// the next order the points are counted.
func order(t *testing.T, folder string, round, at int) {
	t.Helper()
	name := filepath.Join(folder, "order")
	if err := os.WriteFile(name+".new", fmt.Appendf(nil, "%d %d", round, at), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// passed gives the most points that a process has passed in a round.
func passed(t *testing.T, folder string, round int) (most int) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(folder, fmt.Sprintf("%d.passed.*", round)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(text))
	}
	return most
}

// points counts what is passed, and dies at one of them.
type points struct {
	folder string

	mu     sync.Mutex
	round  int
	passed int
}

func (p *points) pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	round, at := 0, 0
	if text, err := os.ReadFile(filepath.Join(p.folder, "order")); err == nil {
		_, _ = fmt.Sscan(string(text), &round, &at)
	}
	if round != p.round {
		p.round, p.passed = round, 0
	}
	p.passed++
	name := filepath.Join(p.folder, fmt.Sprint(round))
	if tally, err := os.OpenFile(fmt.Sprintf("%s.passed.%d", name, os.Getpid()), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
		_, _ = tally.WriteString(".")
		_ = tally.Close()
	}
	if p.passed != at {
		return
	}
	if dead, err := os.OpenFile(name+".dead", os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = dead.Close()
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {} // until it is
	}
}

func (p *points) adapt(c *runner.Config) {
	c.Sender = pointSender{forgetful{c.Sender}, p}
	c.Timers = pointTimers{c.Timers, p}
	c.Log = pointLog{c.Log, p}
}

// withSagas has a node serve the shop and the bank.
func withSagas(c node.Config) node.Config {
	c.Log = slog.New(slog.DiscardHandler)
	c.Types, c.Sagas = domain.Types, domain.Sagas
	return c
}

// forgetful loses one answer in a hundred.
type forgetful struct{ holdfast.Sender }

func (f forgetful) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	r, err := f.Sender.Send(ctx, to, c, opts...)
	if rand.IntN(100) == 0 {
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeUncertain, "the answer got lost")
	}
	return r, err
}

type pointSender struct {
	holdfast.Sender
	points *points
}

func (s pointSender) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	s.points.pass()
	r, err := s.Sender.Send(ctx, to, c, opts...)
	s.points.pass()
	return r, err
}

type pointTimers struct {
	runner.Timers
	points *points
}

func (t pointTimers) Set(ctx context.Context, timer timers.Timer) error {
	t.points.pass()
	err := t.Timers.Set(ctx, timer)
	t.points.pass()
	return err
}

func (t pointTimers) Cancel(ctx context.Context, of holdfast.Ref, key string) error {
	t.points.pass()
	err := t.Timers.Cancel(ctx, of, key)
	t.points.pass()
	return err
}

func (t pointTimers) Run(ctx context.Context, handle timers.Handle) error {
	return t.Timers.Run(ctx, func(ctx context.Context, timer timers.Timer) error {
		t.points.pass()
		err := handle(ctx, timer)
		t.points.pass()
		return err
	})
}

// pointLog passes a point at each record of a saga, before anything is done of what it asks
// for.
type pointLog struct {
	runner.Log
	points *points
}

func (l pointLog) Follow(ctx context.Context, after holdfast.Position, each func(persistence.Record) error) error {
	return l.Log.Follow(ctx, after, func(r persistence.Record) error {
		l.points.pass()
		return each(r)
	})
}
