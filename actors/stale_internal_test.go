package actors

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// idleHost is a host of things to which nothing happens.
func idleHost(t *testing.T) (*Host, holdfast.Ref) {
	t.Helper()
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	def := holdfast.Define("thing", holdfast.Evolve(func(s struct{}, _ *emptypb.Empty) struct{} { return s }))
	host, err := NewHost(Config{Context: "test", System: system, Store: memory.New("test"), Types: []holdfast.Definition{def}, Tick: make(chan time.Time)})
	if err != nil {
		t.Fatal(err)
	}
	host.Start()
	t.Cleanup(func() {
		if err := host.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		system.Shutdown()
	})
	return host, holdfast.Ref{Type: "thing", ID: "a"}
}

// stopped gives an activation that has stopped.
func stopped(t *testing.T, host *Host, ref holdfast.Ref) *aggregate {
	t.Helper()
	a, err := host.activation(ref)
	if err != nil {
		t.Fatal(err)
	}
	a.tell(passivate{})
	if err := host.registry.waitEmpty(context.Background()); err != nil {
		t.Fatal(err)
	}
	return a
}

func await(t *testing.T, answered <-chan Answer) Answer {
	t.Helper()
	select {
	case a := <-answered:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("the request was lost")
		return Answer{}
	}
}

// Whoever looked an activation up just before it stopped posts to it just after: that
// must reach the next activation.
func TestWhatIsPostedToAStoppedActivationIsAnswered(t *testing.T) {
	host, ref := idleHost(t)
	stale := stopped(t, host, ref)
	for range 3 { // before and after the actor's process is gone
		answered := make(chan Answer, 1)
		stale.tell(&Request{Ref: ref, Done: func(a Answer) { answered <- a }})
		if a := await(t, answered); holdfast.CodeOf(a.Err) != holdfast.CodeUnknown {
			t.Errorf("got %v, want that nothing has happened to it", a.Err)
		}
	}
}

// So must what the log said of an id that a stopped activation had asked for.
func TestWhatWasFoundForAStoppedActivationIsAnswered(t *testing.T) {
	host, ref := idleHost(t)
	stale := stopped(t, host, ref)
	answered := make(chan Answer, 1)
	stale.tell(&found{request: &Request{Ref: ref, Done: func(a Answer) { answered <- a }}})
	if a := await(t, answered); holdfast.CodeOf(a.Err) != holdfast.CodeUnknown {
		t.Errorf("got %v, want that nothing has happened to it", a.Err)
	}
}

// A stopped activation that is removed late leaves the next one alone.
func TestRemovingAStoppedActivationLeavesTheNext(t *testing.T) {
	host, ref := idleHost(t)
	stale := stopped(t, host, ref)
	next, err := host.activation(ref)
	if err != nil {
		t.Fatal(err)
	}
	host.remove(stale)
	if host.registry.find(ref) != next {
		t.Error("the next activation was removed")
	}
}

func TestARequestIsNotPassedOnForEver(t *testing.T) {
	host, ref := idleHost(t)
	answered := make(chan Answer, 1)
	host.pass(&Request{Ref: ref, passed: maxPassed, Done: func(a Answer) { answered <- a }})
	if a := await(t, answered); !errors.Is(a.Err, holdfast.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", a.Err)
	}
}

// An id beyond the window is not found, even when the log still has it.
func TestFindStopsAtTheWindow(t *testing.T) {
	store := memory.New("test")
	ref := holdfast.Ref{Type: "thing", ID: "a"}
	head, err := persistence.NewHead("test", ref)
	if err != nil {
		t.Fatal(err)
	}
	for i := range Window + 1 {
		change := &messages.Change{CommandId: strconv.Itoa(i), Command: "google.protobuf.Empty", Time: 1}
		store.Append(ref, head, []*messages.Change{change}, func(h persistence.Head, err error) {
			if err != nil {
				t.Fatal(err)
			}
			head = h
		})
	}
	for id, there := range map[string]bool{"0": false, "1": true, "1024": true} {
		r := &Request{Ref: ref, Command: &emptypb.Empty{}}
		r.Meta.ID = id
		first, err := find(context.Background(), store, Find{r, head}, Window)
		if err != nil || (first != nil) != there {
			t.Errorf("id %s: found %v, want %v: %v", id, first != nil, there, err)
		}
	}
}

// Stop tells every activation to end: none may come after it has looked.
func TestNothingIsActivatedWhileStopping(t *testing.T) {
	host, ref := idleHost(t)
	def := host.types[ref.Type]
	_, err := host.registry.add(ref, func() (*aggregate, error) {
		host.closing.Store(true) // a Stop begins after activation has seen none
		return host.spawn(def, ref)
	})
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}
