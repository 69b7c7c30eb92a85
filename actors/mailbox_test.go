package actors

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence/memory"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Whoever looked an activation up just before it stopped posts to it just after: that
// must reach the next activation.
func TestWhatIsPostedToAStoppedActivationIsAnswered(t *testing.T) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	defer system.Shutdown()
	def := holdfast.Define("thing", holdfast.Evolve(func(s struct{}, _ *emptypb.Empty) struct{} { return s }))
	host, err := NewHost(Config{Context: "test", System: system, Store: memory.New("test"), Types: []holdfast.Definition{def}, Tick: make(chan time.Time)})
	if err != nil {
		t.Fatal(err)
	}
	host.Start()
	defer host.Stop(context.Background())
	ref := holdfast.Ref{Type: "thing", ID: "a"}
	stale, err := host.activation(ref)
	if err != nil {
		t.Fatal(err)
	}
	stale.tell(passivate{})
	if err := host.registry.waitEmpty(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 3 { // before and after the actor's process is gone
		answered := make(chan Answer, 1)
		stale.tell(&Request{Ref: ref, Done: func(a Answer) { answered <- a }})
		select {
		case a := <-answered:
			if holdfast.CodeOf(a.Err) != holdfast.CodeUnknown {
				t.Errorf("got %v, want that nothing has happened to it", a.Err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the request was lost")
		}
	}
}
