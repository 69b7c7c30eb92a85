package timers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// TestTwoRunnersShare: each timer goes to one of them.
func TestTwoRunnersShare(t *testing.T) {
	s := startServers(t, 1)
	one, other := s.open(t, timers.Config{Workers: 4}), s.open(t, timers.Config{Workers: 4})
	var together atomic.Int64
	both := make(chan struct{})
	handle := func(ctx context.Context, _ timers.Timer) error {
		if together.Add(1) == 8 { // so each has four in hand
			close(both)
		}
		select {
		case <-both:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a, b := start(t, one, handle), start(t, other, handle)
	if err := one.SetAll(within(t, long), batch(100, "k", 0)); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, one, 0, 0)
	if len(a.came) < 4 || len(b.came) < 4 || len(a.came)+len(b.came) != 100 {
		t.Errorf("%d and %d timers", len(a.came), len(b.came))
	}
}

// TestRunnerDies: what it had in hand goes to the other when the server's patience is over.
func TestRunnerDies(t *testing.T) {
	t.Parallel()
	untilQuick(t, 1, runnerDies)
}

func runnerDies(t *testing.T, s *servers) error {
	t.Helper()
	cfg := timers.Config{Workers: 4}.Hurry(quick, hurry)
	nc := s.connect(t, 0)
	cfg.Conn = nc
	dying := s.open(t, cfg)
	released := make(chan struct{})
	release := func() { close(released) }
	a := start(t, dying, func(context.Context, timers.Timer) error {
		<-released
		return nil // nobody hears of it any more
	})
	set(t, dying, batch(4, "k", 0)...)
	for range 4 {
		a.next()
	}
	cfg.Conn = nil
	other := s.open(t, cfg)
	b := start(t, other, nil)
	release = sync.OnceFunc(release)
	defer release()
	if err := b.heard(2 * quick); err != nil { // they are in hand
		return err
	}
	nc.Close()
	died := time.Now()
	got := []arrival{b.next(), b.next(), b.next(), b.next()}
	if keys := strings.Join(keys(got), ", "); keys != "o-1 k-0, o-1 k-1, o-1 k-2, o-1 k-3" {
		t.Errorf("got %s", keys)
	}
	if late := got[3].when.Sub(died); late > 5*quick {
		return fmt.Errorf("the last came %s after the death", late)
	}
	release()
	if err := a.stop(); err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("Run on a closed connection: %v", err)
	}
	awaitStatus(t, other, 0, 0)
	return nil
}

// TestSlowHandle: what is in hand is not handed out a second time, however long that takes.
func TestSlowHandle(t *testing.T) {
	t.Parallel()
	untilQuick(t, 1, slowHandle)
}

func slowHandle(t *testing.T, s *servers) error {
	t.Helper()
	cfg := timers.Config{Workers: 2}.Hurry(quick/2, hurry)
	r := start(t, s.open(t, cfg), func(context.Context, timers.Timer) error {
		<-time.After(5 * quick / 2)
		return nil
	})
	other := s.open(t, cfg)
	b := start(t, other, nil)
	set(t, other, at("o-1", "k", 0))
	select {
	case <-r.came:
		if err := b.heard(3 * quick); err != nil {
			return err
		}
	case <-b.came: // it went to the other one
		r.quiet(quick)
	case <-time.After(long):
		t.Fatal("no timer comes")
	}
	awaitStatus(t, other, 0, 0)
	return nil
}

// TestHandleHasItsTime: its context ends, and the timer comes again.
func TestHandleHasItsTime(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{Timeout: 50 * time.Millisecond}.Hurry(long, hurry))
	var calls atomic.Int64
	r := start(t, all, func(ctx context.Context, _ timers.Timer) error {
		if calls.Add(1) == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	set(t, all, at("o-1", "k", 0))
	r.next()
	r.next()
	awaitStatus(t, all, 0, 0)
}

// TestRunGivesBack: a Run that ends tells its handles, waits for them, and another Run has
// their timers at once.
func TestRunGivesBack(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{Workers: 4}.Hurry(long, long))
	set(t, all, batch(10, "k", 0)...) // before it asks for them, once
	awaitStatus(t, all, 0, 10)
	var begun, returned atomic.Int64
	r := start(t, all, func(ctx context.Context, _ timers.Timer) error {
		begun.Add(1)
		<-ctx.Done()
		returned.Add(1)
		return context.Cause(ctx)
	})
	await(t, "four are in hand", func() bool { return begun.Load() == 4 })
	if err := r.stop(); err != nil || returned.Load() != 4 {
		t.Fatalf("Run: %v, when %d of 4 handles had returned", err, returned.Load())
	}
	next := start(t, all, nil)
	stopped := time.Now()
	got := map[string]bool{}
	for len(got) < 10 {
		got[next.next().Key] = true
	}
	if took := time.Since(stopped); took > long/2 {
		t.Errorf("it took %s", took)
	}
	awaitStatus(t, all, 0, 0)
}

// TestRunLeavesNothing: no goroutine is left of a Run, though its request for timers was
// refused several times while it ended.
func TestRunLeavesNothing(t *testing.T) {
	s := startServers(t, 1)
	nc := s.connect(t, 0)
	lost := make(chan slog.Record, 100)
	all := s.open(t, timers.Config{Logger: slog.New(records(lost))})
	requests := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.SHOP_TIMERS.due", requests); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	r := start(t, all, nil)
	request := <-requests
	for range 50 {
		m := &nats.Msg{Subject: request.Reply, Header: nats.Header{"Status": {"409"}, "Description": {"Leadership Change"}}}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	<-lost
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

// records is a log that hands out what is logged.
type records chan slog.Record

func (r records) Enabled(context.Context, slog.Level) bool { return true }

func (r records) Handle(_ context.Context, record slog.Record) error {
	r <- record
	return nil
}

func (r records) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r records) WithGroup(string) slog.Handler { return r }

// TestRunHandlesWhatItHas: a handle that returns nil when Run ends has handled its timer.
func TestRunHandlesWhatItHas(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	r := start(t, all, func(ctx context.Context, _ timers.Timer) error {
		<-ctx.Done()
		return nil
	})
	set(t, all, at("o-1", "k", 0))
	r.next()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	awaitStatus(t, all, 0, 0)
}

func TestRunEndsWithoutAStream(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{}.Hurry(quick, hurry))
	r := start(t, all, nil)
	set(t, all, at("o-1", "k", 0))
	r.next()
	if err := s.jetStream(t).DeleteStream(within(t, long), "SHOP_TIMERS"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.ended:
	case <-time.After(long):
		t.Fatal("Run goes on")
	}
	if !errors.Is(r.err, holdfast.ErrUnavailable) || !strings.Contains(r.err.Error(), "stream SHOP_TIMERS is missing") {
		t.Errorf("got %v", r.err)
	}
}

// TestRunMakesItsConsumer: it may be deleted at any time, and nothing is lost, though what
// was just handled may come again.
func TestRunMakesItsConsumer(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{}.Hurry(quick, hurry))
	r := start(t, all, nil)
	js := s.jetStream(t)
	for i := range 3 {
		if err := js.DeleteConsumer(within(t, long), "SHOP_TIMERS", "due"); err != nil {
			t.Fatal(err)
		}
		want := at("o-1", fmt.Sprint("k", i), 0)
		set(t, all, want)
		for a := r.next(); a.Timer != want; a = r.next() {
		}
	}
	awaitStatus(t, all, 0, 0)
}

// TestRunRefusesAWeakerConsumer: it has become one since Open.
func TestRunRefusesAWeakerConsumer(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{})
	js, ctx := s.jetStream(t), within(t, long)
	due, err := js.Consumer(ctx, "SHOP_TIMERS", "due")
	if err != nil {
		t.Fatal(err)
	}
	weaker := due.CachedInfo().Config
	weaker.MaxDeliver = 3
	if _, err := js.UpdateConsumer(ctx, "SHOP_TIMERS", weaker); err != nil {
		t.Fatal(err)
	}
	err = all.Run(ctx, nil)
	if _, ok := errors.AsType[*timers.SettingError](err); !ok || !strings.Contains(err.Error(), "its consumer due has the setting max_deliver of 3") {
		t.Errorf("got %v", err)
	}
}

// TestRunEndsOnAWeakerConsumer: it hands out a part only, and the rest must not be swept.
func TestRunEndsOnAWeakerConsumer(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{}.Hurry(quick, hurry))
	js, ctx := s.jetStream(t), within(t, long)
	due, err := js.Consumer(ctx, "SHOP_TIMERS", "due")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, all, nil)
	set(t, all, at("o-1", "before", 0))
	r.next()
	s.awaitSwept(t, 0)
	weaker := due.CachedInfo().Config
	weaker.FilterSubject = "shop.due.order.>"
	if _, err := js.UpdateConsumer(ctx, "SHOP_TIMERS", weaker); err != nil {
		t.Fatal(err)
	}
	other := at("p-1", "left", 0)
	other.For.Type = "payment"
	set(t, all, other, at("o-1", "after", 0))
	select {
	case <-r.ended:
	case <-time.After(long):
		t.Fatal("Run goes on")
	}
	if _, ok := errors.AsType[*timers.SettingError](r.err); !ok || !strings.Contains(r.err.Error(), "its consumer due has the setting filter_subject of shop.due.order.>") {
		t.Errorf("got %v", r.err)
	}
	if _, err := js.UpdateConsumer(ctx, "SHOP_TIMERS", due.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, "SHOP_TIMERS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.GetLastMsgForSubject(ctx, "shop.due.payment.p-1.left"); err != nil {
		t.Errorf("what was not handed out: %v", err)
	}
}

// TestRunAfterAReconnect: the connection breaks while nothing is in hand, and while
// something is.
func TestRunAfterAReconnect(t *testing.T) {
	t.Parallel()
	s := startServers(t, 1)
	cfg := timers.Config{}.Hurry(quick, hurry)
	cfg.Conn = s.connect(t, 0)
	all := s.open(t, cfg)
	handled := make(chan struct{})
	r := start(t, all, func(context.Context, timers.Timer) error {
		<-handled
		return nil
	})
	for i := range 3 {
		set(t, all, at("o-1", fmt.Sprint("k", i), 0))
		r.next()
		if err := cfg.Conn.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	close(handled)
	awaitStatus(t, all, 0, 0)
}
