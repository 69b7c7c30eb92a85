package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	store "github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
)

// A heap keeps what units tell.
type heap struct {
	jetstream.KeyValue
	mu  sync.Mutex
	all []string
}

func (h *heap) Put(_ context.Context, _ string, body []byte) (uint64, error) {
	var s UnitStatus
	if err := json.Unmarshal(body, &s); err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, fmt.Sprintf("%s %s", s.State, s.Reason))
	return uint64(len(h.all)), nil
}

// told gives what was told since it was asked last.
func (h *heap) told() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.all = nil }()
	return strings.Join(h.all, ", ")
}

// What a unit does is told at once when it changes, once, and not when somebody looks. That it
// says much does not have it hang any sooner.
func TestToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &heap{}
		log := slog.New(slog.DiscardHandler)
		r := &Runner{config: Config{Now: time.Now, Register: &Register{config: RegisterConfig{Now: time.Now}, kv: h, units: map[string]heard{}}, Logger: log}}
		p := projections.Define("x", projections.Every(func(*projections.Docs[int], projections.Event) error { return nil }))
		x := newRunning(r, p)
		x.sink = memory.New()
		u := x.enter(projections.Unit{Projection: "x", Generation: 1})
		u.ready.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		go u.report(ctx)
		begun := time.Now()
		tells := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := h.told(); got != want || !time.Now().Equal(begun) {
				t.Errorf("%s: it tells %q after %v, want %q", what, got, time.Since(begun), want)
			}
		}
		tells("it begins", "live ")
		pause := &Pause{Reason: "why", By: "me", Since: begun}
		g := newGather(&u.progress, time.Now, u.reads())
		u.stands(pause, g)
		tells("it is paused", "paused why (by me)")
		u.stands(pause, g)
		tells("it is still", "")
		u.stands(nil, g)
		tells("it goes on", "live ")
		u.tell(Blocked, "no", "")
		tells("it is blocked", "blocked no")
		u.tell(Blocked, "no", "")
		tells("it is still", "")
		u.keep()
		tells("it is mended", "live ")
		u.keep()
		tells("it is well", "")
		u.told.ordered(1)
		tells("an order is carried out", "live ")
		u.told.work(nil, true)
		for n := range uint64(3 * hangs) {
			u.told.ordered(n + 2)
			synctest.Wait()
		}
		if got := h.told(); strings.Contains(got, "blocked") {
			t.Errorf("it is said to hang at once: %s", got)
		}
		u.told.work(nil, false)
		cancel()
		synctest.Wait()
	})
}

// newTelling gives a unit that tells a heap how it stands.
func newTelling(t *testing.T) (*unit, *heap) {
	t.Helper()
	h := &heap{}
	r := &Runner{config: Config{Now: time.Now, Register: &Register{config: RegisterConfig{Now: time.Now}, kv: h, units: map[string]heard{}}, Logger: slog.New(slog.DiscardHandler)}}
	x := newRunning(r, projections.Define("x", projections.Every(func(*projections.Docs[int], projections.Event) error { return nil })))
	x.sink = memory.New()
	return x.enter(projections.Unit{Projection: "x", Generation: 1}), h
}

// A handler that hangs is told of within two seconds, with the event.
func TestHangIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u, h := newTelling(t)
		u.ready.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		go u.report(ctx)
		synctest.Wait()
		h.told()
		u.told.work([]projections.Item{{Event: projections.Event{ID: "a@1", Name: "Counted"}}}, true)
		<-time.After(2 * time.Second)
		synctest.Wait()
		if got := h.told(); !strings.HasPrefix(got, "blocked the handler of Counted has been at event a@1 for 1s") {
			t.Errorf("after two seconds it tells %q", got)
		}
		cancel()
		synctest.Wait()
	})
}

// One that is paused is told of where it is so, whatever was seen of it before.
func TestPausedWhereItIs(t *testing.T) {
	t.Parallel()
	u, _ := newTelling(t)
	for n := range uint64(200) {
		u.told.set("", "", "", time.Time{})
		u.told.mu.Lock()
		seen := make(chan UnitStatus)
		go func() { seen <- u.status(time.Now(), &watch{}, &meter{}) }()
		for range n { // it has come to look at how things stand, now and then
			runtime.Gosched()
		}
		u.progress.set(n + 1)
		u.told.state = Paused
		u.told.mu.Unlock()
		if s := <-seen; s.State != Paused || s.Position != u.position(n+1).String() {
			t.Fatalf("it is %s at %s, want %s", s.State, s.Position, u.position(n+1))
		}
	}
}

// A parting sink is looked at before it says what is parked.
type parting struct {
	*memory.Sink
	before func()
}

func (p parting) ParkedKeys(ctx context.Context, projection string, generation uint64, limit int) ([]projections.ParkedKey, error) {
	p.before()
	return p.Sink.ParkedKeys(ctx, projection, generation, limit)
}

// One of which it is not known what is parked is not live.
func TestNotLiveBeforeItIsRead(t *testing.T) {
	t.Parallel()
	u, _ := newTelling(t)
	u.runner.config.Log = store.New("test")
	sink := memory.New()
	if err := sink.Prepare(t.Context(), u.p, 1); err != nil {
		t.Fatal(err)
	}
	state := func() State { return u.status(time.Now(), &watch{}, &meter{}).State }
	u.sink = parting{sink, func() {
		if s := state(); s != CatchingUp {
			t.Errorf("before it is known what is parked it is %s", s)
		}
	}}
	if err := u.survey(t.Context()); err != nil || state() != Live {
		t.Errorf("it is %s then, %v", state(), err)
	}
}
