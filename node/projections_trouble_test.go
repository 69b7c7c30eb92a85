package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/pgtest"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/projections"
)

// A tally is what a document of the projections below has.
type tally struct{ Sum int64 }

// counting is a projection that adds up deposits, unless before says no.
func counting(name string, before func(*bankpb.Deposited) error, parts ...projections.Part) *projections.Projection {
	return projections.Define(name, append(parts, projections.From(bank.Account),
		projections.On(func(d *projections.Docs[tally], e *bankpb.Deposited, at projections.Event) error {
			if err := before(e); err != nil {
				return err
			}
			return d.Change(at.Ref.ID, func(s tally) tally { return tally{s.Sum + e.Amount} })
		}))...)
}

// trouble has projections of which each has its own with a deposit of 13, until it is over.
type trouble struct {
	over  chan struct{}
	wrong atomic.Bool
}

func (x *trouble) projections() []*projections.Projection {
	x.wrong.Store(true)
	unlucky := func(e *bankpb.Deposited) bool { return e.Amount == 13 && x.wrong.Load() }
	hang := func(e *bankpb.Deposited) error {
		if unlucky(e) {
			<-x.over
		}
		return nil
	}
	fail := func(e *bankpb.Deposited) error {
		if unlucky(e) {
			return errors.New("nobody takes 13")
		}
		return nil
	}
	throw := func(e *bankpb.Deposited) error {
		if unlucky(e) {
			panic("13!")
		}
		return nil
	}
	none := func(*bankpb.Deposited) error { return nil }
	return []*projections.Projection{
		counting("hangs", hang), counting("hangs_in_kv", hang, projections.InKV()),
		counting("fails", fail), counting("fails_in_kv", fail, projections.InKV()),
		counting("throws", throw), counting("throws_in_kv", throw, projections.InKV()),
		counting("fine", none), counting("fine_in_kv", none, projections.InKV()),
	}
}

// A standing is how operators hear that a projection stands.
type standing struct {
	State, Reason, Event string
	Generations          []struct{ Parked int }
}

func standingOf(t *testing.T, data, name string) (s standing) {
	t.Helper()
	out, errs, code := run("projections", "show", name, "--json", "--data", data)
	var a struct{ Projection *standing }
	a.Projection = &s
	if code != cli.ExitOK || json.Unmarshal([]byte(out), &a) != nil {
		t.Fatalf("show %s: exit code %d\n%s%s", name, code, out, errs)
	}
	return s
}

// told waits until operators hear of a projection what they should.
func told(t *testing.T, data, name string, right func(standing) bool) {
	t.Helper()
	awaitTold(t, data, name, right, new(time.Duration))
}

// awaitTold adds to took how long that is, on a machine on which no look takes longer than most
// do: one that stands still tells nothing to anybody.
func awaitTold(t *testing.T, data, name string, right func(standing) bool, took *time.Duration) standing {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		begun := time.Now()
		s := standingOf(t, data, name)
		if len(s.Generations) > 0 && right(s) { // else it has not begun
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%s stands so: %+v", name, s)
		}
		<-time.After(10 * time.Millisecond)
		*took += min(time.Since(begun), 100*time.Millisecond)
	}
}

// soon is by when a trouble is told, on a machine that has other things to do as well.
const soon = 2*time.Second + 3*time.Second

// toldSoon waits for that, and checks how long it took since the trouble began, with what has
// been waited before.
func toldSoon(t *testing.T, took *time.Duration, data, name string, right func(standing) bool) {
	t.Helper()
	s := awaitTold(t, data, name, right, took)
	t.Logf("%s after %v: %+v", name, took.Round(time.Millisecond), s)
	if *took > soon {
		t.Errorf("%s is told after %v", name, *took)
	}
}

func live(s standing) bool { return s.State == "live" && s.Generations[0].Parked == 0 }

// A oneAccount is a node with one account, and a client who asks for what its projections show.
type oneAccount struct {
	t    *testing.T
	node *node.Node
	nc   *nats.Conn

	projections []*projections.Projection
}

func (a *oneAccount) deposit(amount int64) holdfast.Position {
	a.t.Helper()
	return sent(a.t, a.node, ada, &bankpb.Deposit{Amount: amount}, holdfast.Meta{}).Position
}

// shows checks what a projection shows once it has a position.
func (a *oneAccount) shows(name string, at holdfast.Position, sum int64) {
	a.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		got := asked(a.t, a.nc, "demo.view."+name+".ada", "", "Holdfast-After", at.String())
		if strings.Contains(got, fmt.Sprintf(`"value":{"Sum":%d}}`, sum)) {
			return
		}
		if !strings.HasPrefix(got, "503") && !strings.HasPrefix(got, "504") || time.Now().After(end) {
			a.t.Fatalf("%s shows %s, want %d", name, got, sum)
		}
	}
}

// Handlers that hang, fail or panic are told of soon, with the event, and touch nothing else;
// and what they have missed is there without a restart when they do so no more.
func TestTroubleWithHandlers(t *testing.T) {
	c, x := config(t), &trouble{over: make(chan struct{})}
	c.Projections = x.projections()
	a := &oneAccount{t: t, node: start(t, c)}
	end := sync.OnceFunc(func() { x.wrong.Store(false); close(x.over) })
	t.Cleanup(end) // before the node stops
	a.nc = visitor(t, a.node)
	open(t, a.node)
	a.deposit(1)
	poison, took := a.deposit(13), time.Duration(0)
	for _, name := range []string{"hangs", "hangs_in_kv"} {
		toldSoon(t, &took, c.Data, name, func(s standing) bool {
			return s.State == "blocked" && s.Event == "account/ada@3" && strings.Contains(s.Reason, "the handler of bank.v1.Deposited has been at event account/ada@3 for")
		})
	}
	for name, reason := range map[string]string{"fails": "nobody takes 13", "throws": "panic: 13!"} {
		for _, name := range []string{name, name + "_in_kv"} {
			toldSoon(t, &took, c.Data, name, func(s standing) bool { return s.State == "live" && s.Generations[0].Parked == 1 })
			if out, errs, _ := run("parked", "show", name, "account/ada", "--data", c.Data); !strings.Contains(out, reason) || !strings.Contains(out, "account/ada@3") {
				t.Errorf("%s shows as parked:\n%s%s", name, out, errs)
			}
			a.shows(name, poison, 1)
		}
	}
	last := a.deposit(5)
	for _, name := range []string{"fine", "fine_in_kv"} {
		a.shows(name, last, 19)
		told(t, c.Data, name, func(s standing) bool { return s.Reason == "" && live(s) })
	}
	end()
	for _, p := range c.Projections {
		if strings.HasPrefix(p.Name(), "fails") || strings.HasPrefix(p.Name(), "throws") {
			if out, errs, code := run("parked", "retry", p.Name(), "--all", "--data", c.Data); code != cli.ExitOK {
				t.Errorf("retry of %s: exit code %d\n%s%s", p.Name(), code, out, errs)
			}
		}
		told(t, c.Data, p.Name(), live)
		a.shows(p.Name(), last, 19)
	}
}

// A database that is gone is told of soon, touches nothing that is not kept there, and is
// written to again when it is back.
func TestTroubleWithTheDatabase(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Start(t)
		c := config(t)
		c.Database = server.Database(t)
		testDatabaseGone(t, c, func() error { server.Stop(); return nil }, server.Run)
	})
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		folder := filepath.Join(c.Data, "views")
		away := func() error { return os.Rename(folder, folder+".away") }
		a := testDatabaseGone(t, c, away, func() error { return os.Rename(folder+".away", folder) })
		if err := away(); err != nil { // for good
			t.Fatal(err)
		}
		told(t, c.Data, "kept", func(s standing) bool {
			return s.State == "blocked" && strings.Contains(s.Reason, "is not where it was: give it back, or restart the node, which builds it anew")
		})
		stop(t, a.node)
		c.Projections = a.projections
		a.node = start(t, c)
		a.nc = visitor(t, a.node)
		a.shows("kept", a.deposit(1), 4)
	})
}

func testDatabaseGone(t *testing.T, c node.Config, takeAway, giveBack func() error) *oneAccount {
	none := func(*bankpb.Deposited) error { return nil }
	c.Projections = []*projections.Projection{counting("kept", none), counting("in_kv", none, projections.InKV())}
	a := &oneAccount{t: t, node: start(t, c), projections: c.Projections}
	a.nc = visitor(t, a.node)
	open(t, a.node)
	a.shows("kept", a.deposit(1), 1)
	blocked := func(s standing) bool { return s.State == "blocked" && s.Reason != "" }
	for i := range int64(2) {
		if err := takeAway(); err != nil {
			t.Fatal(err)
		}
		took := time.Duration(0)
		if i == 0 { // also while there is nothing to write
			toldSoon(t, &took, c.Data, "kept", blocked)
		}
		last := a.deposit(1)
		toldSoon(t, &took, c.Data, "kept", blocked)
		a.shows("in_kv", last, 2+i)
		told(t, c.Data, "in_kv", live) // it is not kept there
		if got := asked(t, a.nc, "demo.view.kept.ada", ""); !strings.HasPrefix(got, "503") {
			t.Errorf("a query is answered with %s", got)
		}
		if err := giveBack(); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		told(t, c.Data, "kept", live)
		t.Logf("it goes on %v after its database is back", time.Since(back).Round(time.Millisecond))
		a.shows("kept", last, 2+i)
	}
	told(t, c.Data, "index", live)
	return a
}
