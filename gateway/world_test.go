package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/internal/polltest"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	bank    = messages.Context("bank")
	patient = 2 * time.Minute
)

var dawn = time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is one that stands still until it is set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// world is a gateway on a real server, with a client at the other side.
type world struct {
	server  *natsd.Server
	gateway *gateway.Gateway
	ledger  *ledger
	clock   *clock
	journal *journal
	client  *nats.Conn
}

func setup(t *testing.T, change ...func(*gateway.Config)) *world {
	t.Helper()
	return setupOn(t, natsd.Config{}, change...)
}

func setupOn(t *testing.T, nc natsd.Config, change ...func(*gateway.Config)) *world {
	t.Helper()
	nc.DataDir, nc.Listen, nc.Context, nc.Logger = t.TempDir(), "127.0.0.1:0", string(bank), slog.New(slog.DiscardHandler)
	server, err := natsd.Start(within(t), nc)
	if err != nil {
		t.Fatalf("start server: %v", err)
	}
	t.Cleanup(server.Stop)
	w := &world{server: server, ledger: newLedger(accountType, plainType), clock: &clock{now: dawn}, journal: new(journal)}
	conn, err := server.Connect(natsd.Gateway, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatalf("connect gateway: %v", err)
	}
	t.Cleanup(conn.Close)
	cfg := w.config(conn)
	for _, f := range change {
		f(&cfg)
	}
	if w.gateway, err = gateway.Start(cfg); err != nil {
		t.Fatalf("start gateway: %v", err)
	}
	t.Cleanup(func() {
		if err := w.gateway.Stop(within(t)); err != nil {
			t.Errorf("stop gateway: %v", err)
		}
	})
	w.client = w.connect(t)
	return w
}

func (w *world) config(conn *nats.Conn) gateway.Config {
	return gateway.Config{
		Context: bank, Conn: conn, Types: []holdfast.Definition{accountType, plainType},
		Sender: w.ledger, Viewer: w.ledger, Reader: w.ledger.store, Timeout: patient, // the machine may stand still
		Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(w.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// connect is a client's way in: over TCP, without credentials.
func (w *world) connect(t *testing.T, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := natsd.Dial(w.server.ClientURL(), append([]nats.Option{nats.Timeout(patient)}, opts...)...)
	if err != nil {
		t.Fatalf("connect client: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// node is a connection into the account where the log is.
func (w *world) node(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := w.server.Connect(natsd.Node)
	if err != nil {
		t.Fatalf("connect node: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// within is a context for what must end soon. It outlives the test's own, for cleanups.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	t.Cleanup(cancel)
	return ctx
}

// ask sends a request; headers are names and values in turn.
func (w *world) ask(t *testing.T, subject, body string, headers ...string) *nats.Msg {
	t.Helper()
	reply, err := w.client.RequestMsg(message(subject, body, headers...), patient)
	if err != nil {
		t.Fatalf("request %s: %v", subject, err)
	}
	return reply
}

func message(subject, body string, headers ...string) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header[headers[i]] = append(m.Header[headers[i]], headers[i+1])
	}
	return m
}

// accepted sends a request that must go well.
func (w *world) accepted(t *testing.T, subject, body string, headers ...string) *nats.Msg {
	t.Helper()
	reply := w.ask(t, subject, body, headers...)
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		t.Fatalf("request %s %s: %s %s", subject, body, code, reply.Header.Get("Nats-Service-Error"))
	}
	return reply
}

// record puts a commit into an aggregate's log.
func (w *world) record(t *testing.T, ref holdfast.Ref, changes ...*messages.Change) {
	t.Helper()
	loaded, err := w.ledger.store.Load(t.Context(), ref, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ledger.append(ref, loaded.Head, changes...); err != nil {
		t.Fatal(err)
	}
}

// version is at which an aggregate is.
func (w *world) version(t *testing.T, id string) holdfast.Version {
	t.Helper()
	loaded, err := w.ledger.store.Load(t.Context(), holdfast.Ref{Type: "account", ID: id}, "")
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Head.Version
}

func timeout(d time.Duration) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Timeout = d }
}

// underWay waits until so many requests are under way: one is until a moment after its answer.
func (w *world) underWay(t *testing.T, want int) {
	t.Helper()
	eventually(t, func() error {
		if n := w.gateway.InFlight(); n != want {
			return fmt.Errorf("%d requests are under way, want %d", n, want)
		}
		return nil
	})
}

// eventually polls until try gives no error.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	polltest.Until(t, patient, try)
}

// check compares what came with what was wanted.
func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

var errNotYet = errors.New("it has not happened yet")
