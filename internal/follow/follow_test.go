package follow_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lease    = 5 * time.Second // so long that a busy machine does not lose it
	patience = 40 * time.Second
)

func startServer(t *testing.T) *natsd.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := natsd.Start(ctx, natsd.Config{DataDir: t.TempDir(), Context: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// A node holds the seat "log" when it can.
type node struct {
	t      *testing.T
	conn   *nats.Conn
	seats  *follow.Seats
	cancel context.CancelFunc
	ended  chan struct{}
	begun  chan uint64   // where a run of its work begins
	failed chan error    // has the work end so
	lost   chan struct{} // the work's context has ended
	firsts chan struct{} // it was asked for the first time

	mu   sync.Mutex
	note func(uint64)
}

func startNode(t *testing.T, s *natsd.Server, name string) *node {
	t.Helper()
	conn, err := s.Connect(natsd.Node)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, conn: conn, ended: make(chan struct{}), begun: make(chan uint64, 10), failed: make(chan error), lost: make(chan struct{}, 10),
		firsts: make(chan struct{}, 10),
	}
	n.seats, err = follow.Open(t.Context(), follow.Config{Context: "test", Conn: conn, Node: name, Lease: lease, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	first := func(context.Context) (uint64, error) {
		n.firsts <- struct{}{}
		return 7, nil
	}
	go func() {
		defer close(n.ended)
		n.seats.Hold(ctx, "log", first, n.work)
	}()
	t.Cleanup(n.stop)
	return n
}

func (n *node) work(ctx context.Context, done uint64, note func(uint64)) error {
	n.mu.Lock()
	n.note = note
	n.mu.Unlock()
	n.begun <- done
	select {
	case err := <-n.failed:
		return err
	case <-ctx.Done():
		n.lost <- struct{}{}
		return context.Cause(ctx)
	}
}

func (n *node) done(seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note(seq)
}

func (n *node) stop() {
	n.cancel()
	<-n.ended
	n.conn.Close()
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing happens")
		panic("unreachable")
	}
}

func wantBegun(t *testing.T, n *node, want uint64) {
	t.Helper()
	if got := await(t, n.begun); got != want {
		t.Errorf("it begins after %d, want %d", got, want)
	}
}

func TestOneHoldsTheSeat(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a")
	wantBegun(t, a, 7)
	b := startNode(t, s, "b")
	a.done(12)
	select {
	case <-b.begun:
		t.Error("both hold the seat")
	case <-time.After(time.Second):
	}
	before := time.Now()
	a.stop()
	wantBegun(t, b, 12)
	if took := time.Since(before); took > lease {
		t.Errorf("a seat that was given up was taken after %v", took)
	}
	if len(b.firsts) > 0 {
		t.Error("it began as if nobody had been there before")
	}
	seats, err := b.seats.List(t.Context())
	if err != nil || len(seats) != 1 || seats["log"].Node != "b" || seats["log"].Done != 12 {
		t.Errorf("the seats are %v, %v", seats, err)
	}
}

// A node that died and is back takes its seat at once.
func TestTheSeatOfAFormerRun(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a")
	wantBegun(t, a, 7)
	a.conn.Close()
	before := time.Now()
	again := startNode(t, s, "a")
	wantBegun(t, again, 7)
	if took := time.Since(before); took > lease {
		t.Errorf("its own seat was taken after %v", took)
	}
	a.cancel()
}

// The seat of one that is cut off is taken, and it knows by then.
func TestTheCutOffLosesTheSeat(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a")
	wantBegun(t, a, 7)
	a.done(9)
	b := startNode(t, s, "b")
	seats := func() uint64 {
		all, err := b.seats.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all["log"].Done
	}
	for end := time.Now().Add(patience); seats() != 9; {
		if time.Now().After(end) {
			t.Fatal("how far it has come is not written")
		}
	}
	a.conn.Close()
	wantBegun(t, b, 9)
	if len(a.lost) == 0 {
		t.Error("the former holder does not know")
	}
	a.cancel()
}

// One that was only slow to write finds that another has the seat.
func TestTheReplacedStops(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a")
	wantBegun(t, a, 7)
	if err := a.seats.TakeForTest(t.Context(), "log", "b"); err != nil {
		t.Fatal(err)
	}
	await(t, a.lost)
	wantBegun(t, a, 7) // which never signs
}

func TestFailedWorkIsBegunAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a")
	wantBegun(t, a, 7)
	a.done(8)
	a.failed <- errors.New("it fails")
	wantBegun(t, a, 8)
}
