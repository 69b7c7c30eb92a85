package runner_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	store "github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

var (
	server   *natsd.Server
	contexts atomic.Int64
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // they wait more than they compute
	folder, err := os.MkdirTemp("", "runner")
	if err == nil {
		server, err = natsd.Start(context.Background(), natsd.Config{DataDir: folder, Context: "test", Logger: slog.New(slog.DiscardHandler), RelaxedSync: true})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	_ = os.RemoveAll(folder)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// deadline is how long anything may take on a machine that is busy.
const deadline = time.Minute

type counter struct{ n int64 }

// number is an aggregate type whose events are numbers.
var number = holdfast.Define("number",
	holdfast.Evolve(func(c counter, e *wrapperspb.Int64Value) counter { return counter{c.n + e.Value} }),
	holdfast.Evolve(func(c counter, e *wrapperspb.StringValue) counter { return c }),
	holdfast.Snapshot(
		func(c counter) *wrapperspb.Int64Value { return wrapperspb.Int64(c.n) },
		func(p *wrapperspb.Int64Value) counter { return counter{p.Value} }),
)

// A list is a document with all numbers that an aggregate has had, in the order in which they
// were handled.
type list struct{ All []int64 }

type docs = *projections.Docs[list]

func add(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
	return d.Change(at.Ref.ID, func(l list) list { return list{append(l.All, e.Value)} })
}

// numbers is a projection whose events are handled by f.
func numbers(f func(docs, *wrapperspb.Int64Value, projections.Event) error, parts ...projections.Part) *projections.Projection {
	return projections.Define("numbers", append(parts, projections.From(number), projections.On(f))...)
}

// A shared sink is one that all nodes have in common.
type shared struct{ *memory.Sink }

func (shared) Local() bool { return false }

// A world is a log in memory, a sink, and a register of its own.
type world struct {
	t       testing.TB
	context messages.Context
	log     *store.Store
	sink    projections.Sink

	mu    sync.Mutex
	heads map[string]persistence.Head
	last  uint64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{
		t: t, context: messages.Context(fmt.Sprintf("t%d", contexts.Add(1))), log: store.New("test"), sink: memory.New(),
		heads: map[string]persistence.Head{},
	}
}

// record records numbers of an aggregate, one commit.
func (w *world) record(id string, all ...int64) holdfast.Position {
	w.t.Helper()
	var events []holdfast.Event
	for _, n := range all {
		events = append(events, wrapperspb.Int64(n))
	}
	return w.append(id, events...)
}

func (w *world) append(id string, events ...holdfast.Event) holdfast.Position {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &messages.Change{CommandId: "c", Time: time.Now().UnixNano()}
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Events = append(c.Events, recorded)
	}
	w.log.Append(holdfast.Ref{Type: "number", ID: id}, w.heads[id], []*messages.Change{c}, func(h persistence.Head, err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.heads[id] = h
	})
	w.last++
	return w.heads[id].Position
}

// A node runs projections.
type node struct {
	*runner.Runner
	w        *world
	conn     *nats.Conn
	register *runner.Register
	stop     func()
}

func (w *world) start(name string, adapt func(*runner.Config), all ...*projections.Projection) *node {
	w.t.Helper()
	n, err := w.tryStart(name, adapt, all...)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) tryStart(name string, adapt func(*runner.Config), all ...*projections.Projection) (*node, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	defer cancel()
	conn, err := server.Connect(natsd.Node)
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", name)
	}
	register, err := runner.OpenRegister(ctx, runner.RegisterConfig{Context: w.context, Conn: conn, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	seats, err := follow.Open(ctx, follow.Config{Context: w.context, Conn: conn, Lease: time.Second, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	c := runner.Config{
		Projections: all, Log: w.log, Register: register, Seats: seats, Node: name, Alone: true, Logger: log, Grace: deadline,
		Sink: func(*projections.Projection) (projections.Sink, error) { return w.sink, nil },
	}
	if adapt != nil {
		adapt(&c)
	}
	r, err := runner.Start(ctx, c)
	if err != nil {
		register.Close()
		conn.Close()
		return nil, err
	}
	n := &node{Runner: r, w: w, conn: conn, register: register}
	n.stop = sync.OnceFunc(func() {
		r.Stop()
		r.Stop()
		register.Close()
		conn.Close()
	})
	w.t.Cleanup(n.stop)
	return n, nil
}

// ctx is for what has to happen soon.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	w.t.Cleanup(cancel)
	return ctx
}

func (n *node) await(at holdfast.Position) {
	n.w.t.Helper()
	if err := n.Await(n.w.ctx(), "numbers", at); err != nil {
		n.w.t.Fatal(err)
	}
}

// status waits until a projection stands as wanted.
func (n *node) status(what string, wanted func(runner.Status) bool) runner.Status {
	n.w.t.Helper()
	var last runner.Status
	n.w.until(what, func() bool {
		all, err := n.Statuses(n.w.ctx())
		for _, s := range all {
			if s.Name == "numbers" {
				last = s
			}
		}
		return err == nil && wanted(last)
	}, func() string { return fmt.Sprintf("%+v", last) })
	return last
}

func (n *node) is(s runner.State, reason string) runner.Status {
	n.w.t.Helper()
	return n.status(string(s)+" "+reason, func(x runner.Status) bool { return x.State == s && strings.Contains(x.Reason, reason) })
}

// until waits until something holds.
func (w *world) until(what string, holds func() bool, instead func() string) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			w.t.Fatalf("it does not come to this: %s; but: %s", what, instead())
		}
	}
}

// has says that a document has certain numbers.
func (n *node) has(id string, all ...int64) {
	n.w.t.Helper()
	body, _, err := n.Answer(n.w.ctx(), "numbers", id)
	want := fmt.Sprintf(`{"All":%s}`, strings.ReplaceAll(fmt.Sprint(all), " ", ","))
	if len(all) == 0 {
		want = ""
	}
	if err != nil || string(body) != want {
		n.w.t.Errorf("%s is %s, %v; want %s", id, body, err, want)
	}
}

var errNo = errors.New("no")

// tick is a moment, so that others have their turn.
func tick() <-chan time.Time { return time.After(time.Millisecond) }
