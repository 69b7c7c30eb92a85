package timers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/leaktest"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// long is more than anything takes that is awaited.
const long = 3 * time.Minute

// quick is a patience for tests in which nodes die, and hurry a pause for those in which
// handles fail.
const quick, hurry = time.Second, 20 * time.Millisecond

// servers are one nats-server, or three that form a cluster.
type servers struct{ list []*natsd.Server }

func startServers(t testing.TB, n int) *servers {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	list, err := natsd.StartCluster(ctx, n, natsd.Config{DataDir: t.TempDir(), Context: "unused", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{list: list}
	t.Cleanup(s.stop)
	return s
}

func (s *servers) stop() {
	var all sync.WaitGroup
	for _, one := range s.list {
		all.Go(one.Stop)
	}
	all.Wait()
}

// restart stops all servers, lets between happen, and starts them again.
func (s *servers) restart(t testing.TB, between func()) {
	t.Helper()
	s.stop()
	between()
	var all sync.WaitGroup
	for i := range s.list {
		all.Go(func() { s.start(t, i) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (s *servers) start(t testing.TB, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	one, err := natsd.Start(ctx, s.list[i].Config())
	if err != nil {
		t.Error(err)
		return
	}
	s.list[i] = one
}

func (s *servers) connect(t testing.TB, i int) *nats.Conn {
	t.Helper()
	nc, err := s.list[i%len(s.list)].Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (s *servers) jetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.connect(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// open opens timers on the servers; of the config it fills in what is needed.
func (s *servers) open(t testing.TB, cfg timers.Config) *timers.Timers {
	t.Helper()
	all, err := s.tryOpen(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s *servers) tryOpen(t testing.TB, cfg timers.Config) (*timers.Timers, error) {
	t.Helper()
	if cfg.Context == "" {
		cfg.Context = "shop"
	}
	if cfg.Conn == nil {
		cfg.Conn = s.connect(t, 0)
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = len(s.list)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return timers.Open(within(t, long), cfg)
}

// within gives a context that ends after d, and with the test.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// at makes a timer that is due after a while, or is overdue.
func at(id, key string, after time.Duration) timers.Timer {
	return timers.Timer{For: holdfast.Ref{Type: "order", ID: id}, Key: key, At: time.Now().Add(after).UTC().Round(0)}
}

func set(t testing.TB, all *timers.Timers, list ...timers.Timer) {
	t.Helper()
	for _, one := range list {
		if err := all.Set(within(t, long), one); err != nil {
			t.Fatal(err)
		}
	}
}

// An arrival is a timer that was handed out.
type arrival struct {
	timers.Timer
	when time.Time
}

// A run is a Run that goes on in the background.
type run struct {
	t     testing.TB
	came  chan arrival
	ended chan struct{} // its error is known
	err   error
	stop  func() error
}

// start runs timers. If handle is nil every one is handled.
func start(t testing.TB, all *timers.Timers, handle timers.Handle) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{t: t, came: make(chan arrival, 1<<20), ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = all.Run(ctx, func(ctx context.Context, one timers.Timer) error {
			r.came <- arrival{one, time.Now()}
			if handle == nil {
				return nil
			}
			return handle(ctx, one)
		})
	}()
	r.stop = func() error {
		cancel()
		select {
		case <-r.ended:
		case <-time.After(long):
			return errors.New("Run does not end")
		}
		return r.err
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// next awaits a timer.
func (r *run) next() arrival {
	r.t.Helper()
	select {
	case a := <-r.came:
		return a
	case <-r.ended:
		r.t.Fatalf("Run has ended: %v", r.err)
	case <-time.After(long):
		r.t.Fatal("no timer comes")
	}
	panic("unreachable")
}

// quiet fails if a timer comes within d.
func (r *run) quiet(d time.Duration) {
	r.t.Helper()
	if err := r.heard(d); err != nil {
		r.t.Fatal(err)
	}
}

// heard gives an error if a timer comes within d.
func (r *run) heard(d time.Duration) error {
	select {
	case a := <-r.came:
		return fmt.Errorf("timer %s at %s came at %s", a.Timer, a.At, a.when)
	case <-time.After(d):
		return nil
	}
}

// await polls until what it is told is so.
func await(t testing.TB, what string, so func() bool) {
	t.Helper()
	deadline := time.After(long)
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("it does not come about that %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// awaitStatus waits until there are so many timers.
func awaitStatus(t testing.TB, all *timers.Timers, pending, due uint64) {
	t.Helper()
	await(t, fmt.Sprintf("%d timers are pending and %d due", pending, due), func() bool {
		s, err := all.Status(within(t, long))
		if err != nil {
			t.Fatal(err)
		}
		return s == timers.Status{Pending: pending, Due: due}
	})
}

// untilQuick tries again, with timers and a server of their own, what a machine that stands still
// for a moment may spoil: the server then takes a handle for dead, or what is to be in time is not.
func untilQuick(t *testing.T, n int, try func(t *testing.T, s *servers) error) {
	t.Helper()
	const tries = 10
	for range tries {
		s := startServers(t, n)
		err := try(t, s)
		if err == nil {
			return
		}
		t.Log(err)
		s.stop()
	}
	t.Fatalf("in %d tries it never is quick enough", tries)
}

// awaitSwept waits until there are so many messages in the stream.
func (s *servers) awaitSwept(t testing.TB, messages uint64) {
	t.Helper()
	js := s.jetStream(t)
	await(t, fmt.Sprintf("the stream has %d messages", messages), func() bool {
		stream, err := js.Stream(within(t, long), "SHOP_TIMERS")
		return err == nil && stream.CachedInfo().State.Msgs == messages
	})
}

// keys are those of timers, sorted.
func keys(list []arrival) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.For.ID+" "+a.Key)
	}
	slices.Sort(out)
	return out
}

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // they wait for elections more than they compute
	leaktest.Main(m)
}
