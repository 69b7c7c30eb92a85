package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// silent never answers an append, until it is let.
type silent struct {
	*memory.Store
	mu   sync.Mutex
	held []heldAppend
	on   bool
}

func (s *silent) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := func() { s.Store.Append(ref, after, changes, done) }
	if s.on {
		s.held = append(s.held, heldAppend{ref, run})
		return
	}
	run()
}

func (s *silent) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
	if !on {
		for _, h := range s.held {
			h.run()
		}
		s.held = nil
	}
}

// let has the appends of one aggregate answered, and no other.
func (s *silent) let(ref holdfast.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = slices.DeleteFunc(s.held, func(h heldAppend) bool {
		if h.ref == ref {
			h.run()
		}
		return h.ref == ref
	})
}

type heldAppend struct {
	ref holdfast.Ref
	run func()
}

// holds counts what waits.
func (s *silent) holds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held)
}

func alone(t *testing.T) (*Member, *silent) {
	t.Helper()
	r := startRing(t)
	return r.member(), r.store
}

var ada = holdfast.Ref{Type: "account", ID: "ada"}

func TestSendAndView(t *testing.T) {
	m, store := alone(t)
	ctx := context.Background()
	first, err := m.Send(ctx, ada, &bankpb.OpenAccount{Owner: "Ada"}, holdfast.WithID("one"), holdfast.WithUser("grace"), holdfast.ExpectVersion(0))
	if err != nil || first.Version != 1 || first.Duplicate || len(first.Events) != 1 {
		t.Fatalf("receipt %+v: %v", first, err)
	}
	for c, err := range store.Backwards(ctx, ada, 0) {
		if err != nil || c.Changes[0].CorrelationId != "one" {
			t.Errorf("a story begins with its first command's id, got %q: %v", c.Changes[0].CorrelationId, err)
		}
	}
	again, err := m.Send(ctx, ada, &bankpb.OpenAccount{Owner: "Ada"}, holdfast.WithID("one"), holdfast.ExpectVersion(0))
	if err != nil || !again.Duplicate || again.Position != first.Position {
		t.Errorf("the repetition: %+v: %v", again, err)
	}
	var no *holdfast.Rejection
	if _, err := m.Send(ctx, ada, &bankpb.Withdraw{Amount: 1}); !errors.As(err, &no) || no.Reason != "insufficient_funds" {
		t.Errorf("got %v, want a rejection", err)
	}
	v, err := m.View(ctx, ada)
	if err != nil || v.Version != 1 || time.Since(v.Time) > time.Minute || v.State.(*bankpb.Account).Owner != "Ada" {
		t.Errorf("view %+v: %v", v, err)
	}
}

func TestWhatSendRefuses(t *testing.T) {
	m, store := alone(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	send := func(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) error {
		_, err := m.Send(ctx, to, c, opts...)
		return err
	}
	ctx := context.Background()
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"nil command":       {send(ctx, ada, nil), holdfast.ErrMalformed},
		"typed nil command": {send(ctx, ada, (*bankpb.Deposit)(nil)), holdfast.ErrMalformed},
		"bad id":            {send(ctx, ada, &bankpb.Deposit{Amount: 1}, holdfast.WithID("a b")), holdfast.ErrMalformed},
		"bad user":          {send(ctx, ada, &bankpb.Deposit{Amount: 1}, holdfast.WithUser("\xff")), holdfast.ErrMalformed},
		"bad correlation":   {send(ctx, ada, &bankpb.Deposit{Amount: 1}, holdfast.WithMeta(holdfast.Meta{CorrelationID: "\xff"})), holdfast.ErrMalformed},
		"bad causation":     {send(ctx, ada, &bankpb.Deposit{Amount: 1}, holdfast.WithMeta(holdfast.Meta{CausationID: "a b"})), holdfast.ErrMalformed},
		"bad trace":         {send(ctx, ada, &bankpb.Deposit{Amount: 1}, holdfast.WithMeta(holdfast.Meta{Trace: "x"})), holdfast.ErrMalformed},
		"bad time":          {send(ctx, ada, &bankpb.Deposit{Amount: 1}, holdfast.WithMeta(holdfast.Meta{At: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)})), holdfast.ErrMalformed},
		"unknown type":      {send(ctx, holdfast.Ref{Type: "x", ID: "y"}, &bankpb.Deposit{Amount: 1}), holdfast.ErrUnknown},
		"unknown command":   {send(ctx, ada, &bankpb.Deposited{Amount: 1}), holdfast.ErrUnknown},
		"empty id":          {send(ctx, holdfast.Ref{Type: "account"}, &bankpb.Deposit{Amount: 1}), holdfast.ErrMalformed},
		"conflict":          {send(ctx, ada, &bankpb.OpenAccount{Owner: "a"}, holdfast.ExpectVersion(7)), holdfast.ErrConflict},
		"no time at all":    {send(gone, ada, &bankpb.OpenAccount{Owner: "a"}), holdfast.ErrUnavailable},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	if _, err := m.View(ctx, ada); !errors.Is(err, holdfast.ErrUnknown) {
		t.Errorf("something was appended: %v", err)
	}
	store.set(true)
	short, timeIsUp := context.WithCancel(ctx)
	answered := make(chan error, 1)
	go func() { answered <- send(short, ada, &bankpb.OpenAccount{Owner: "a"}) }()
	eventually(t, "it waits for the log", func() bool { return store.holds() == 1 })
	timeIsUp()
	if err := <-answered; !errors.Is(err, holdfast.ErrUncertain) {
		t.Errorf("a command that was not answered in time: got %v, want uncertain", err)
	}
}

func TestAfterStop(t *testing.T) {
	m, _ := alone(t)
	if err := m.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Send(context.Background(), ada, &bankpb.OpenAccount{Owner: "a"}); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}
