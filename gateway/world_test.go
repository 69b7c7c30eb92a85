package gateway_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

const (
	bank    = messages.Context("bank")
	patient = 4 * time.Second
)

var dawn = time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account is a small account. Its balance is credited by a retired event too, a
// StringValue, which is read as a deposit of its length.
type account struct {
	owner   string
	balance int64
}

var accountType = holdfast.Define("account",
	holdfast.Decide(func(a account, c *bankpb.OpenAccount) (holdfast.Events, error) {
		if a.owner != "" {
			return nil, nil
		}
		return holdfast.Events{&bankpb.AccountOpened{Owner: c.Owner}}, nil
	}),
	holdfast.Decide(func(a account, c *bankpb.Deposit) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.Deposited{Amount: c.Amount}}, nil
	}),
	holdfast.Decide(func(a account, c *bankpb.Withdraw) (holdfast.Events, error) {
		if c.Amount > a.balance {
			return nil, holdfast.Reject("insufficient_funds", "the balance is %d", a.balance)
		}
		return holdfast.Events{&bankpb.Deposited{Amount: -c.Amount}}, nil
	}),
	holdfast.Decide(func(account, *bankpb.CloseAccount) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.AccountClosed{}}, nil
	}),
	// Many records as many events as it says.
	holdfast.Decide(func(_ account, c *wrapperspb.Int32Value) (holdfast.Events, error) {
		events := make(holdfast.Events, c.Value)
		for i := range events {
			events[i] = &bankpb.Deposited{Amount: int64(i)}
		}
		return events, nil
	}),
	holdfast.Evolve(func(a account, e *bankpb.AccountOpened) account { a.owner = e.Owner; return a }),
	holdfast.Evolve(func(a account, e *bankpb.Deposited) account {
		if e.Amount == poison {
			panic("an amount that nobody thought of")
		}
		a.balance += e.Amount
		return a
	}),
	holdfast.Evolve(func(a account, e *bankpb.AccountClosed) account { return a }),
	holdfast.Upcast[account](func(e *wrapperspb.StringValue) holdfast.Events {
		return holdfast.Events{&bankpb.Deposited{Amount: int64(len(e.Value))}}
	}),
	holdfast.Snapshot(
		func(a account) *bankpb.Account { return &bankpb.Account{Owner: a.owner, Balance: a.balance} },
		func(m *bankpb.Account) account { return account{owner: m.Owner, balance: m.Balance} },
	),
)

// poison is an amount that makes the fold panic.
const poison = -666

// plainType shows no state.
var plainType = holdfast.Define("plain",
	holdfast.Decide(func(struct{}, *bankpb.CloseAccount) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.AccountClosed{}}, nil
	}),
	holdfast.Evolve(func(s struct{}, _ *bankpb.AccountClosed) struct{} { return s }),
)

// ledger is a Sender and a Viewer on a memory store, one command of an aggregate at a
// time. A hook, when set, runs before each command and view and may fail it.
type ledger struct {
	store *memory.Store
	types map[string]holdfast.Definition

	mu    sync.Mutex
	hook  hook
	locks map[holdfast.Ref]*sync.Mutex
	sent  int
}

type hook func(ctx context.Context, ref holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error

var (
	_ holdfast.Sender = (*ledger)(nil)
	_ holdfast.Viewer = (*ledger)(nil)
)

func newLedger(types ...holdfast.Definition) *ledger {
	l := &ledger{store: memory.New(bank), types: map[string]holdfast.Definition{}, locks: map[holdfast.Ref]*sync.Mutex{}}
	for _, def := range types {
		l.types[def.Name()] = def
	}
	return l
}

func (l *ledger) lock(ref holdfast.Ref) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks[ref] == nil {
		l.locks[ref] = new(sync.Mutex)
	}
	return l.locks[ref]
}

func (l *ledger) setHook(h hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = h
}

func (l *ledger) runHook(ctx context.Context, ref holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error {
	l.mu.Lock()
	h := l.hook
	l.mu.Unlock()
	if h == nil {
		return nil
	}
	return h(ctx, ref, c, d)
}

// calls is how many commands have reached the ledger.
func (l *ledger) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

func (l *ledger) load(ctx context.Context, ref holdfast.Ref) (any, persistence.Loaded, error) {
	def := l.types[ref.Type]
	loaded, err := l.store.Load(ctx, ref, "")
	state := def.Zero()
	for _, c := range loaded.Commits {
		for _, ch := range c.Changes {
			if err == nil {
				state, err = persistence.Fold(def, state, ch.Events)
			}
		}
	}
	return state, loaded, err
}

func (l *ledger) Send(ctx context.Context, ref holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	d := holdfast.NewDelivery(opts...)
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	if err := l.runHook(ctx, ref, c, d); err != nil {
		return holdfast.Receipt{}, err
	}
	lock := l.lock(ref)
	lock.Lock()
	defer lock.Unlock()
	state, loaded, err := l.load(ctx, ref)
	if err != nil {
		return holdfast.Receipt{}, err
	}
	if first, ok := answered(loaded, d.Meta.ID); ok {
		return first, nil
	}
	if d.Expected != nil && *d.Expected != loaded.Head.Version {
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeConflict, "%s is at version %d, not at %d", ref, loaded.Head.Version, *d.Expected)
	}
	events, err := l.types[ref.Type].Decide(state, c, d.Meta)
	if err != nil {
		return holdfast.Receipt{}, err
	}
	return l.append(ref, loaded.Head, change(c, d.Meta, events...))
}

func (l *ledger) append(ref holdfast.Ref, after persistence.Head, changes ...*messages.Change) (r holdfast.Receipt, err error) {
	for _, ch := range changes {
		for _, e := range ch.Events {
			r.Events = append(r.Events, e.Type)
		}
	}
	l.store.Append(ref, after, changes, func(h persistence.Head, appendErr error) {
		r.Version, r.Position, err = h.Version, h.Position, appendErr
	})
	return r, err
}

func answered(l persistence.Loaded, id string) (holdfast.Receipt, bool) {
	for _, c := range l.Commits {
		r := holdfast.Receipt{Version: holdfast.Version(c.LastVersion), Position: c.Position, Duplicate: true}
		for _, ch := range c.Changes {
			for _, e := range ch.Events {
				r.Events = append(r.Events, e.Type)
			}
			if ch.CommandId == id {
				return r, true
			}
		}
	}
	return holdfast.Receipt{}, false
}

func change(c holdfast.Command, m holdfast.Meta, events ...holdfast.Event) *messages.Change {
	ch := &messages.Change{
		CommandId: m.ID, Command: string(proto.MessageName(c)), CorrelationId: m.CorrelationID,
		CausationId: m.CausationID, User: m.User, Trace: m.Trace, Time: m.At.UnixNano(),
	}
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			panic(err)
		}
		ch.Events = append(ch.Events, recorded)
	}
	return ch
}

func (l *ledger) View(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
	if err := l.runHook(ctx, ref, nil, holdfast.Delivery{}); err != nil {
		return holdfast.View{}, err
	}
	state, loaded, err := l.load(ctx, ref)
	if err != nil {
		return holdfast.View{}, err
	}
	saved := l.types[ref.Type].Save(state)
	if loaded.Head.Version == 0 || saved == nil {
		return holdfast.View{}, holdfast.Errorf(holdfast.CodeUnknown, "%s: nothing has happened to it yet", ref)
	}
	return holdfast.View{Ref: ref, Version: loaded.Head.Version, Position: loaded.Head.Position, Time: loaded.Head.Time, State: saved}, nil
}

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
		Sender: w.ledger, Viewer: w.ledger, Reader: w.ledger.store,
		Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(w.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// connect is a client's way in: over TCP, without credentials.
func (w *world) connect(t *testing.T, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(w.server.ClientURL(), opts...)
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

// eventually polls until try gives no error.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patient)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal(err)
		}
	}
}

// check compares what came with what was wanted.
func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

var errNotYet = errors.New("it has not happened yet")
