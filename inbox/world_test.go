package inbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/inbox"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/internal/polltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patient = 2 * time.Minute
	// taking is how long the door and the desk have for a request: the machine may stand still.
	taking = 30 * time.Second
)

// A chair is a seat that whoever comes holds.
type chair struct{}

func (chair) Hold(ctx context.Context, _ string, _ func(context.Context) (uint64, error), work follow.Work) {
	for ctx.Err() == nil {
		_ = work(ctx, 0, func(uint64) {})
	}
}

// world is an inbox on a real server, with a client at one side and a clerk at the other.
type world struct {
	t      *testing.T
	server *natsd.Server
	core   *nats.Conn
	inbox  *inbox.Inbox
	clerk  *clerk
	client jetstream.JetStream
	// attempt is how long a client waits for one answer.
	attempt time.Duration
}

func setup(t *testing.T, change ...func(*inbox.Config)) *world {
	t.Helper()
	return setupIn(t, t.TempDir(), newClerk(), change...)
}

func setupIn(t *testing.T, dir string, k *clerk, change ...func(*inbox.Config)) *world {
	t.Helper()
	server, err := natsd.Start(within(t), natsd.Config{DataDir: dir, Context: "bank", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	w := &world{t: t, server: server, clerk: k, attempt: patient}
	w.core = w.connect(natsd.Node)
	c := inbox.Config{
		Context: "bank", Core: w.core, Public: w.connect(natsd.Node), Types: []holdfast.Definition{bank.Account}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	if w.inbox, err = inbox.Open(within(t), c); err != nil {
		t.Fatal(err)
	}
	if w.client, err = jetstream.New(w.connect(natsd.Node)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connect(role natsd.Role) *nats.Conn {
	w.t.Helper()
	nc, err := w.server.Connect(role, nats.IgnoreDiscoveredServers())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

// within is a context for what must end soon. It outlives the test's own, for cleanups.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	t.Cleanup(cancel)
	return ctx
}

// serve opens the door.
func (w *world) serve(change ...func(*inbox.DoorConfig)) *inbox.Door {
	w.t.Helper()
	c := inbox.DoorConfig{Conn: w.connect(natsd.Gateway), Timeout: taking}
	for _, f := range change {
		f(&c)
	}
	door, err := w.inbox.Serve(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := door.Stop(within(w.t)); err != nil {
			w.t.Errorf("stop door: %v", err)
		}
	})
	return door
}

// run executes what waits.
func (w *world) run(change ...func(*inbox.RunnerConfig)) *inbox.Runner {
	w.t.Helper()
	c := inbox.RunnerConfig{Sender: w.clerk, Seats: chair{}}
	for _, f := range change {
		f(&c)
	}
	r, err := w.inbox.Run(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Stop)
	return r
}

// leave leaves a command in the inbox, as clients do: any NATS client's publish.
func (w *world) leave(subject, id, body string) (*jetstream.PubAck, error) {
	m := &nats.Msg{Subject: "bank.inbox." + subject, Data: []byte(body), Header: nats.Header{"Nats-Msg-Id": {id}}}
	ctx, cancel := context.WithTimeout(context.Background(), w.attempt)
	defer cancel()
	return w.client.PublishMsg(ctx, m)
}

// left is a command that must be accepted.
func (w *world) left(subject, id, body string) *jetstream.PubAck {
	w.t.Helper()
	ack, err := w.leave(subject, id, body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", subject, id, err)
	}
	return ack
}

// told is what the last outcome of a command says.
type told struct {
	Status    string
	Ref       string `json:"ref"`
	Version   uint64 `json:"version"`
	Duplicate bool   `json:"duplicate"`
	Error     struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

var errNotYet = errors.New("it has not happened yet")

// outcomes gives all outcomes under an encoded command id.
func (w *world) outcomes(id string) (all []told) {
	w.t.Helper()
	w.eventually(func() (err error) {
		all, err = w.readOutcomes(id)
		return err
	})
	return all
}

func (w *world) readOutcomes(id string) (all []told, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), w.attempt)
	defer cancel()
	s, err := w.client.Stream(ctx, "BANK_OUTCOMES")
	for seq := uint64(1); err == nil; {
		m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject("bank.outcome."+id))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		o := told{Status: m.Header.Get("Nats-Service-Error-Code")}
		if err := json.Unmarshal(m.Data, &o); err != nil {
			return nil, fmt.Errorf("outcome %s: %w", m.Data, err)
		}
		all = append(all, o)
		seq = m.Sequence + 1
	}
	return nil, err
}

// outcome awaits the outcome of a command.
func (w *world) outcome(id string) told {
	w.t.Helper()
	var o told
	w.eventually(func() error {
		all := w.outcomes(id)
		if len(all) == 0 {
			return fmt.Errorf("%s has no outcome: %w", id, errNotYet)
		}
		o = all[0]
		return nil
	})
	return o
}

// empty awaits that nothing waits any more.
func (w *world) empty() {
	w.t.Helper()
	w.eventually(func() error {
		if n := w.waiting(); n > 0 {
			return fmt.Errorf("%d commands wait: %w", n, errNotYet)
		}
		return nil
	})
}

func (w *world) waiting() uint64 {
	w.t.Helper()
	s, err := w.client.Stream(within(w.t), "BANK_INBOX")
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// parked awaits that so many aggregates have a parked command.
func (w *world) parked(n int) []inbox.Parked {
	w.t.Helper()
	var list []inbox.Parked
	w.eventually(func() (err error) {
		if list, _, err = w.inbox.Parked(within(w.t), inbox.Filter{}, inbox.Page{}); err == nil && len(list) != n {
			err = fmt.Errorf("parked are %v: %w", list, errNotYet)
		}
		return err
	})
	return list
}

// eventually polls until try gives no error.
func (w *world) eventually(try func() error) {
	w.t.Helper()
	polltest.Until(w.t, patient, try)
}

func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func message(subject, id, body string) *nats.Msg {
	return &nats.Msg{Subject: "bank.inbox." + subject, Data: []byte(body), Header: nats.Header{"Nats-Msg-Id": {id}}}
}
