package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent never answers an append, until it is let.
type silent struct {
	*memory.Store
	mu   sync.Mutex
	held []func()
	on   bool
}

func (s *silent) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := func() { s.Store.Append(ref, after, changes, done) }
	if s.on {
		s.held = append(s.held, run)
		return
	}
	run()
}

func (s *silent) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
	if !on {
		for _, run := range s.held {
			run()
		}
		s.held = nil
	}
}

func member(t *testing.T) (*Member, *silent) {
	t.Helper()
	store := &silent{Store: memory.New("test")}
	m, err := Start(context.Background(), Config{
		Host: actors.Config{Context: "test", Store: store, Types: []holdfast.Definition{bank.Account}, Log: slog.New(slog.DiscardHandler)},
		Now:  func() time.Time { return time.Unix(1000, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		store.set(false)
		for range 2 { // bears repetition
			if err := m.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return m, store
}

var ada = holdfast.Ref{Type: "account", ID: "ada"}

func TestSendAndView(t *testing.T) {
	m, store := member(t)
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
	if err != nil || v.Version != 1 || !v.Time.Equal(time.Unix(1000, 0)) || v.State.(*bankpb.Account).Owner != "Ada" {
		t.Errorf("view %+v: %v", v, err)
	}
}

func TestWhatSendRefuses(t *testing.T) {
	m, store := member(t)
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
	short, cancelShort := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancelShort()
	if err := send(short, ada, &bankpb.OpenAccount{Owner: "a"}); !errors.Is(err, holdfast.ErrUncertain) {
		t.Errorf("a command that was not answered in time: got %v, want uncertain", err)
	}
}

// A node that does not own an aggregate refuses: what it would answer may be old.
func TestOwnershipIsChecked(t *testing.T) {
	m, _ := member(t)
	m.placement.update(&view{self: m.system.ID, members: []string{"another"}})
	if _, err := m.View(context.Background(), ada); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestAfterStop(t *testing.T) {
	m, _ := member(t)
	if err := m.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Send(context.Background(), ada, &bankpb.OpenAccount{Owner: "a"}); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestStartThatFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := Config{Host: actors.Config{Context: "test", Store: memory.New("test"), Types: []holdfast.Definition{bank.Account}, Log: slog.New(slog.DiscardHandler)}}
	for name, listen := range map[string]string{
		"a port that is taken": taken.Addr().String(),
		"no port":              "127.0.0.1",
		"no number":            "127.0.0.1:http",
	} {
		config.Listen = listen
		if _, err := Start(context.Background(), config); err == nil {
			t.Errorf("%s: it started", name)
		}
	}
	config.Listen, config.Host.Types = "", []holdfast.Definition{bank.Account, bank.Account}
	if _, err := Start(context.Background(), config); err == nil {
		t.Error("two types of one name: it started")
	}
}

// A member that did not come to be leaves nothing behind: no goroutine, and no open port.
func TestStartThatIsBrokenOff(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 2 { // it may come to be before it is seen that the time is up
		m, err := Start(ctx, Config{
			Listen: address,
			Host:   actors.Config{Context: "test", Store: memory.New("test"), Types: []holdfast.Definition{bank.Account}, Log: slog.New(slog.DiscardHandler)},
		})
		if err == nil {
			if err := m.Stop(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Fatal("somebody still listens")
		}
	}
}

// Whoever reaches a member's port must not reach its actors.
func TestStrangersAreRefused(t *testing.T) {
	m, _ := member(t)
	conn, err := grpc.NewClient(m.system.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stranger := remote.NewRemotingClient(conn)
	if _, err := stranger.ListProcesses(context.Background(), &remote.ListProcessesRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a call: got %v, want that it is refused", err)
	}
	stream, err := stranger.Receive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stream: got %v, want that it is refused", err)
	}
}
