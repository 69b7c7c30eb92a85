package actors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fixture is a host on a memory store whose appends can be held back.
type fixture struct {
	*actors.Host
	t     *testing.T
	store *heldStore
	log   *syncBuffer
	next  atomic.Int64
}

// heldStore holds appends back while held, and panics when told to.
type heldStore struct {
	*memory.Store
	mu      sync.Mutex
	held    bool
	waiting []func()
	panics  atomic.Bool
}

func (s *heldStore) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	if s.panics.Load() {
		panic("the store has a bug")
	}
	run := func() { s.Store.Append(ref, after, changes, done) }
	s.mu.Lock()
	if s.held {
		s.waiting = append(s.waiting, run)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	run()
}

func (s *heldStore) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
}

func (s *heldStore) release() {
	s.mu.Lock()
	waiting := s.waiting
	s.held, s.waiting = false, nil
	s.mu.Unlock()
	for _, run := range waiting {
		run()
	}
}

func (s *heldStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, change func(*actors.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, store: &heldStore{Store: memory.New("test")}, log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(f.log, nil))
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	c := actors.Config{Context: "test", System: system, Store: f.store, Types: []holdfast.Definition{ledgerType}, Log: log, Tick: make(chan time.Time)}
	if change != nil {
		change(&c)
	}
	host, err := actors.NewHost(c)
	if err != nil {
		t.Fatal(err)
	}
	f.Host = host
	host.Start()
	t.Cleanup(func() {
		f.store.release()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := host.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		system.Shutdown()
	})
	return f
}

// send delivers and gives the channel that hears the answer.
func (f *fixture) send(id string, c holdfast.Command) <-chan actors.Answer {
	answer := make(chan actors.Answer, 1)
	r := &actors.Request{Ref: holdfast.Ref{Type: "account", ID: id}, Command: c, Done: func(a actors.Answer) { answer <- a }}
	r.Meta = holdfast.Meta{ID: fmt.Sprintf("c-%d", f.next.Add(1)), At: time.Unix(1, 0)}
	f.Deliver(r)
	return answer
}

// await fails the test when the answer does not come: nobody may be left waiting.
func (f *fixture) await(answer <-chan actors.Answer) actors.Answer {
	f.t.Helper()
	select {
	case a := <-answer:
		return a
	case <-time.After(20 * time.Second):
		f.t.Error("no answer")
		return actors.Answer{Err: errors.New("no answer")}
	}
}

func (f *fixture) ask(id string, c holdfast.Command) actors.Answer {
	f.t.Helper()
	return f.await(f.send(id, c))
}

func (f *fixture) balance(id string) int64 {
	f.t.Helper()
	a := f.ask(id, nil)
	if a.Err != nil {
		f.t.Fatalf("get %s: %v", id, a.Err)
	}
	return a.View.State.(*bankpb.Account).Balance
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it never came true", what)
		}
		<-time.After(time.Millisecond)
	}
}

func deposit(n int64) holdfast.Command { return &bankpb.Deposit{Amount: n} }
