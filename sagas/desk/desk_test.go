package desk_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

var errNotYet = errors.New("it has not happened yet")

// A sender stands before another one.
type sender func(context.Context, holdfast.Ref, holdfast.Command, ...holdfast.SendOption) (holdfast.Receipt, error)

func (s sender) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	return s(ctx, to, c, opts...)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for want, change := range map[string]func(*desk.Config){
		`Context: context "Shop"`:         func(c *desk.Config) { c.Context = "Shop" },
		"Conn is nil":                     func(c *desk.Config) { c.Conn = nil },
		"Book or List is nil":             func(c *desk.Config) { c.List = nil },
		"Sender, Viewer or Reader is nil": func(c *desk.Config) { c.Viewer = nil },
		"Timeout is negative":             func(c *desk.Config) { c.Timeout = -1 },
		"connection closed": func(c *desk.Config) {
			c.Conn = w.node()
			c.Conn.Close()
		},
	} {
		c := w.config
		change(&c)
		if _, err := desk.Start(c); err == nil || !strings.HasPrefix(err.Error(), "start desk: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	closed := w.node()
	closed.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := desk.Open(ctx, desk.ListConfig{Context: "shop", Conn: closed}); err == nil || !strings.Contains(err.Error(), "open the list of sagas: open bucket SHOP_SAGAS") {
		t.Errorf("got %v", err)
	}
	if _, err := desk.Open(within(t), desk.ListConfig{Context: "shop", Conn: w.node()}); err != nil {
		t.Errorf("it is opened once only: %v", err)
	}
}

// What an action comes to is told as of every command.
func TestErrorsOfActions(t *testing.T) {
	t.Parallel()
	var answer error
	w := setup(t, func(c *desk.Config) {
		c.Sender = sender(func(context.Context, holdfast.Ref, holdfast.Command, ...holdfast.SendOption) (holdfast.Receipt, error) {
			if answer == nil {
				panic("ouch")
			}
			return holdfast.Receipt{}, answer
		})
	})
	for _, tt := range []struct {
		err          error
		status, code string
		sentence     string
	}{
		{holdfast.Errorf(holdfast.CodeUnavailable, "nobody is there"), "503", "unavailable", "nobody is there"},
		{holdfast.Errorf(holdfast.CodeOverloaded, "too many"), "429", "overloaded", "too many"},
		{holdfast.Errorf(holdfast.CodeCorrupt, "a gap"), "500", "corrupt", "a gap"},
		{holdfast.Errorf(holdfast.CodeUncertain, "no ack"), "504", "uncertain", "send it again with the header Nats-Msg-Id: new-"},
		{errors.New("a bug"), "500", "internal", "its reference in the node's log"},
		{nil, "500", "internal", "its reference in the node's log"},
	} {
		answer = tt.err
		w.refused(tt.status, tt.code, tt.sentence, "resume.checkout.o-1", `{`+why+`}`, "Holdfast-User", "grace")
	}
}

// When the list does not answer, or the log, that is said, and not taken for an empty one.
func TestWithoutJetStream(t *testing.T) {
	t.Parallel()
	lost := make(chan *nats.Conn, 1)
	w := setup(t, func(c *desk.Config) { c.Timeout = time.Second })
	conn := w.node()
	list, err := desk.Open(within(t), desk.ListConfig{Context: "shop", Conn: conn})
	w.must(err)
	w.must(w.desk.Stop(within(t)))
	w.config.List = list
	w.desk = w.start(w.config)
	lost <- conn
	(<-lost).Close()
	w.refused("503", "unavailable", "the list of sagas cannot be read", "list", "")
	if err := list.Add(within(t), checkout("o-1"), dawn); err == nil {
		t.Error("what could not be written is no error")
	}
	if err := list.Remove(within(t), checkout("o-1")); err == nil {
		t.Error("what could not be taken off is no error")
	}
}

// Stop answers what is under way, and bears repetition. Another service on the connection
// neither waits for the desk nor keeps it waiting.
func TestStop(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 1), make(chan struct{})
	w := setup(t, func(c *desk.Config) {
		next := c.Viewer
		c.Viewer = viewer(func(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
			begun <- struct{}{}
			<-end
			return next.View(ctx, ref)
		})
	})
	w.send("checkout/o-1", order(), "ada")
	g, err := gateway.Start(gateway.Config{
		Context: "shop", Conn: w.config.Conn, Types: []holdfast.Definition{shop.Order}, Sender: w.member, Viewer: w.member, Reader: w.store,
	})
	w.must(err)
	answer := make(chan string, 1)
	go func() { answer <- w.answered("show.checkout.o-1", "") }()
	<-begun
	w.must(g.Stop(within(t))) // with the desk still there
	stopped := make(chan error, 2)
	for range 2 {
		go func() { stopped <- w.desk.Stop(within(t)) }()
	}
	eventually(t, func() error { // nobody listens any more
		if _, err := w.operator.Request("shop.sagas.list", nil, patient); !errors.Is(err, nats.ErrNoResponders) {
			return errNotYet
		}
		return nil
	})
	close(end)
	for range 2 {
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	if got := <-answer; !strings.Contains(got, `"status":"running"`) {
		t.Errorf("the answer is %s", got)
	}
	w.must(w.desk.Stop(within(t)))
}

// A request that does not end is broken off when the desk may wait no longer.
func TestStopInHaste(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	w := setup(t, func(c *desk.Config) {
		c.Viewer = viewer(func(ctx context.Context, _ holdfast.Ref) (holdfast.View, error) {
			close(begun)
			<-ctx.Done()
			return holdfast.View{}, ctx.Err()
		})
	})
	w.begin("o-1")
	answer := make(chan *nats.Msg, 1)
	go func() { answer <- w.ask("show.checkout.o-1", "") }()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.desk.Stop(ctx); err == nil || !strings.Contains(err.Error(), "1 requests were still under way") {
		t.Errorf("got %v", err)
	}
	<-answer
}

// Two desks share the requests.
func TestManyDesks(t *testing.T) {
	t.Parallel()
	w := setup(t)
	c := w.config
	c.Conn = w.connect(natsd.Gateway)
	other := w.start(c)
	const n = 20
	sub, err := w.operator.SubscribeSync(nats.NewInbox())
	w.must(err)
	for range n {
		w.must(w.operator.PublishRequest("shop.sagas.list", sub.Subject, nil))
	}
	w.must(w.operator.Flush())
	for _, d := range []*desk.Desk{w.desk, other} {
		w.must(d.Stop(within(t)))
	}
	w.must(w.operator.Flush())
	if got, _, err := sub.Pending(); err != nil || got != n {
		t.Errorf("%d requests have %d answers: %v", n, got, err)
	}
}

// A desk whose connection has been closed has nothing to wait for.
func TestStopWithoutAConnection(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.config.Conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	w.must(w.desk.Stop(ctx))
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
}
