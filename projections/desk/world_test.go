package desk_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence"
	store "github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/desk"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// patient is how long anything may take on a machine that is busy.
const patient = time.Minute

var dawn = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type balance struct {
	Owner   string `json:"owner"`
	Balance int64  `json:"balance"`
}

var balances = projections.Define("balances", projections.From(bank.Account),
	projections.On(func(d *projections.Docs[balance], e *bankpb.Deposited, at projections.Event) error {
		return d.Change(at.Ref.ID, func(b balance) balance { b.Balance += e.Amount; return b })
	}),
	projections.On(func(d *projections.Docs[balance], e *bankpb.AccountOpened, at projections.Event) error {
		return d.Change(at.Ref.ID, func(b balance) balance { b.Owner = e.Owner; return b })
	}))

// partitions of the log.
const partitions = 2

// A crew stands for those who run projections: how these stand is what the test says, and each
// time that it is asked the log has grown, unless there is a pause.
type crew struct {
	register *runner.Register
	*memory.Sink
	away error // why the sink cannot be reached

	mu       sync.Mutex
	at       map[uint64]*[partitions]uint64 // by generation
	standing map[uint64]runner.UnitStatus
	dumped   []string // where the generations were when they were
	fail     error    // of a dump
	idle     bool     // orders are not
	asked    int
	deaf     int           // how often it is asked until it has heard of a pause
	slow     time.Duration // how long a dump takes
	hold     chan struct{} // if not nil, a dump takes until it is closed
}

func (c *crew) where(name string) (*projections.Projection, projections.Sink, error) {
	if c.away != nil {
		return balances, nil, c.away
	}
	if name != balances.Name() {
		return nil, nil, holdfast.Errorf(holdfast.CodeUnknown, "this build has no projection %s", name)
	}
	return balances, c, nil
}

// Dump notes where the generation is.
func (c *crew) Dump(ctx context.Context, projection string, generation uint64, each func(table, key string, row []byte) error) error {
	s, _ := c.Statuses(ctx)
	c.mu.Lock()
	for _, g := range s[0].Generations {
		if g.Generation == generation {
			c.dumped = append(c.dumped, fmt.Sprint(g.State, g.Positions))
		}
	}
	fail, slow, hold := c.fail, time.After(c.slow), c.hold
	c.mu.Unlock()
	select {
	case <-slow:
	case <-ctx.Done():
		return ctx.Err()
	}
	if hold != nil {
		<-hold
	}
	if fail != nil {
		return fail
	}
	return c.Sink.Dump(ctx, projection, generation, each)
}

func (c *crew) Statuses(ctx context.Context) ([]runner.Status, error) {
	records, err := c.register.Records(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	var out []runner.Status
	for _, rec := range records {
		s := runner.Status{Name: rec.Name, Form: "documents", Shown: true, Record: rec}
		for _, n := range slices.Sorted(maps.Keys(rec.Generations)) {
			s.Generations = append(s.Generations, c.stand(rec, n))
			if n == rec.Serving {
				s.State = s.Generations[len(s.Generations)-1].State
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func (c *crew) stand(rec runner.Record, n uint64) runner.GenerationStatus {
	u := c.standing[n]
	u.State = cmp.Or(u.State, runner.Live)
	if c.at[n] == nil {
		c.at[n] = &[partitions]uint64{n, n}
	}
	g := runner.GenerationStatus{Generation: n, Role: "serving", Revision: rec.Generations[n].Revision, Reason: u.Reason, Behind: u.Behind, Left: u.Left}
	if n == rec.Building {
		g.Role = "building"
	}
	for p := range uint32(partitions) {
		unit := u
		unit.Generation, unit.Partition, unit.Node = n, p, "n1"
		if unit.Orders = rec.Count; c.idle {
			unit.Orders = 0
		}
		c.move(rec, &unit, &c.at[n][p])
		unit.Position = holdfast.NewPosition(p, c.at[n][p]).String()
		g.Units, g.Positions, g.State = append(g.Units, unit), append(g.Positions, unit.Position), unit.State
	}
	return g
}

// move has a unit go on by a commit, unless it is to stop where it is.
func (c *crew) move(rec runner.Record, u *runner.UnitStatus, at *uint64) {
	if rec.Paused == nil {
		*at++
		return
	}
	if c.deaf > 0 {
		c.deaf--
		return
	}
	for _, text := range rec.Paused.At {
		if p, err := holdfast.ParsePosition(text); err == nil && p.Partition() == u.Partition && p.Sequence() > *at {
			*at++
			return
		}
	}
	u.State = runner.Paused
}

// A world is a desk on a real server, with an operator before it.
type world struct {
	t        *testing.T
	server   *natsd.Server
	crew     *crew
	register *runner.Register
	desk     *desk.Desk
	operator *nats.Conn
	log      *store.Store
}

// seen is the crew as the desk sees it.
type seen struct{ *crew }

func (s seen) Sink(name string) (*projections.Projection, projections.Sink, error) {
	return s.where(name)
}

func setup(t *testing.T, change ...func(*desk.Config)) *world {
	t.Helper()
	server, err := natsd.Start(within(t), natsd.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: "bank", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	w := &world{t: t, server: server, operator: connect(t, server, natsd.Node), log: store.New("bank")}
	w.register, err = runner.OpenRegister(within(t), runner.RegisterConfig{
		Context: "bank", Conn: connect(t, server, natsd.Node), Replicas: 1, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return dawn },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.register.Close)
	w.crew = &crew{register: w.register, Sink: memory.New(), at: map[uint64]*[partitions]uint64{}, standing: map[uint64]runner.UnitStatus{}}
	for generation := range uint64(2) {
		if err := w.crew.Prepare(t.Context(), balances, generation+1); err != nil {
			t.Fatal(err)
		}
	}
	w.record(runner.Record{
		Name: "balances", Serving: 1, Last: 1, Newest: runner.Generation{Shards: 1}, Generations: map[uint64]runner.Generation{1: {Shards: 1}},
	})
	cfg := desk.Config{
		Context: "bank", Conn: connect(t, server, natsd.Gateway), Register: w.register, Runner: seen{w.crew}, Node: "n1",
		Describe: func(context.Context) ([]persistence.Partition, error) {
			return []persistence.Partition{{Number: 0, Last: 50}, {Number: 1, Last: 50}}, nil
		},
		Timeout: patient, Now: func() time.Time { return dawn }, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	// A test may give requests less time than a machine that is busy needs to start.
	w.until(func() bool { w.desk, err = desk.Start(cfg); return !errors.Is(err, nats.ErrTimeout) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.desk.Stop(within(t)); err != nil {
			t.Error(err)
		}
	})
	return w
}

// record writes what the nodes have agreed on.
func (w *world) record(rec runner.Record) {
	w.t.Helper()
	js, err := jetstream.New(w.operator)
	if err != nil {
		w.t.Fatal(err)
	}
	kv, err := js.KeyValue(within(w.t), "BANK_PROJECTIONS")
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := json.Marshal(rec)
	if err != nil {
		w.t.Fatal(err)
	}
	revision, err := kv.Put(within(w.t), "project."+rec.Name, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.register.Record(w.t.Context(), rec.Name); revision == 1 && err != nil {
		w.until(func() bool { _, err := w.register.Record(w.t.Context(), rec.Name); return err == nil })
	}
}

func (w *world) until(holds func() bool) {
	w.t.Helper()
	poll, end := time.NewTicker(time.Millisecond), time.After(patient)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-end:
			w.t.Fatal("it has not come to that")
		}
	}
}

// ask sends a request as an operator, and gives the answer or "status sentence".
func (w *world) ask(verb, body string, headers ...string) string {
	w.t.Helper()
	m := &nats.Msg{Subject: "bank.projections." + verb, Data: []byte(body), Header: nats.Header{"Holdfast-User": {"ada"}}}
	if verb == "list" || strings.HasPrefix(verb, "show") || strings.HasPrefix(verb, "parked") {
		m.Header = nats.Header{}
	}
	for i := 0; i < len(headers); i += 2 {
		if m.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			m.Header.Del(headers[i])
		}
	}
	reply, err := w.operator.RequestMsg(m, patient)
	if err != nil {
		w.t.Fatalf("%s: %v", verb, err)
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return code + " " + reply.Header.Get("Nats-Service-Error")
	}
	return string(reply.Data)
}

// now is what the nodes have agreed on.
func (w *world) now() runner.Record {
	w.t.Helper()
	rec, err := w.register.Record(w.t.Context(), "balances")
	if err != nil {
		w.t.Fatal(err)
	}
	return rec
}

// client connects somebody without credentials, which a server that is busy may break off.
func (w *world) client(opts ...nats.Option) (nc *nats.Conn) {
	w.t.Helper()
	w.until(func() (connected bool) {
		var err error
		nc, err = nats.Connect(w.server.ClientURL(), append(opts, nats.Timeout(patient))...)
		return err == nil
	})
	w.t.Cleanup(nc.Close)
	return nc
}

func connect(t *testing.T, server *natsd.Server, role natsd.Role) *nats.Conn {
	t.Helper()
	nc, err := server.Connect(role)
	if err != nil {
		t.Fatal(err)
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
