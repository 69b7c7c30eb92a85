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
	lease     = 5 * time.Second
	longLease = time.Minute // for what should not take one
	patience  = 2 * time.Minute
)

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t *testing.T) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(within(t), natsd.Config{DataDir: t.TempDir(), Context: "test", Logger: slog.New(slog.DiscardHandler)})
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

func startNode(t *testing.T, s *natsd.Server, name string, lease time.Duration) *node {
	t.Helper()
	conn, err := s.Connect(natsd.Node)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{
		t: t, conn: conn, ended: make(chan struct{}), begun: make(chan uint64, 10), failed: make(chan error), lost: make(chan struct{}, 10),
		firsts: make(chan struct{}, 10),
	}
	n.seats, err = follow.Open(within(t), follow.Config{Context: "test", Conn: conn, Node: name, Lease: lease, Log: slog.New(slog.DiscardHandler)})
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
	a := startNode(t, s, "a", longLease)
	wantBegun(t, a, 7)
	b := startNode(t, s, "b", longLease)
	a.done(12)
	select {
	case <-b.begun:
		t.Error("both hold the seat")
	case <-time.After(time.Second):
	}
	before := time.Now()
	a.stop()
	wantBegun(t, b, 12)
	if took := time.Since(before); took > longLease/2 {
		t.Errorf("a seat that was given up was taken after %v", took)
	}
	if len(b.firsts) > 0 {
		t.Error("it began as if nobody had been there before")
	}
	seats, err := b.seats.List(within(t))
	if err != nil || len(seats) != 1 || seats["log"].Node != "b" || seats["log"].Done != 12 {
		t.Errorf("the seats are %v, %v", seats, err)
	}
}

// A node that died and is back takes its seat at once.
func TestTheSeatOfAFormerRun(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a", longLease)
	wantBegun(t, a, 7)
	a.conn.Close()
	before := time.Now()
	again := startNode(t, s, "a", longLease)
	wantBegun(t, again, 7)
	if took := time.Since(before); took > longLease/2 {
		t.Errorf("its own seat was taken after %v", took)
	}
	a.cancel()
}

// The seat of one that is cut off is taken, and it knows by then.
func TestTheCutOffLosesTheSeat(t *testing.T) {
	t.Parallel()
	for range 5 {
		if cutOff(t) {
			return
		}
	}
	t.Error("the former holder does not know")
}

// cutOff reports whether one that is cut off knows that another has its seat by the time it
// has. When the machine stands still meanwhile, both come to know at the same time.
func cutOff(t *testing.T) bool {
	t.Helper()
	s := startServer(t)
	a := startNode(t, s, "a", lease)
	wantBegun(t, a, 7)
	a.done(9)
	for end := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		if all, err := a.seats.List(within(t)); err == nil && all["log"].Done == 9 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("how far it has come is not written")
		}
	}
	b := startNode(t, s, "b", lease)
	a.conn.Close()
	wantBegun(t, b, 9)
	defer a.stop()
	defer b.stop()
	return len(a.lost) > 0
}

// One that was only slow to write finds that another has the seat.
func TestTheReplacedStops(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a", lease)
	wantBegun(t, a, 7)
	if err := a.seats.TakeForTest(within(t), "log", "b"); err != nil {
		t.Fatal(err)
	}
	await(t, a.lost)
	wantBegun(t, a, 7) // which never signs
}

func TestFailedWorkIsBegunAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a := startNode(t, s, "a", lease)
	wantBegun(t, a, 7)
	a.done(8)
	a.failed <- errors.New("it fails")
	wantBegun(t, a, 8)
}
