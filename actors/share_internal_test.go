package actors

import (
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

var counters = holdfast.Define("counter",
	holdfast.Decide(func(n int, _ *emptypb.Empty) (holdfast.Events, error) {
		if n == 100 {
			return nil, holdfast.Reject("full", "it counts to a hundred")
		}
		return holdfast.Events{&emptypb.Empty{}}, nil
	}),
	holdfast.Evolve(func(n int, _ *emptypb.Empty) int { return n + 1 }),
)

// A crowd asks one engine, whose log takes everything.
type crowd struct {
	t      *testing.T
	engine *Engine
	asked  int
	append *Append
	told   int // replies since the last append

	rebuild *Rebuild
}

func newCrowd(t *testing.T) *crowd {
	ref := holdfast.Ref{Type: "counter", ID: "a"}
	c := &crowd{t: t, engine: NewEngine(counters, ref, &Settings{Queue: 1024, Limit: 1 << 20})}
	c.ask(1)
	if err := c.rebuild.Begin(nil); err != nil {
		t.Fatal(err)
	}
	c.engine.Loaded(persistence.Loaded{}, nil)
	c.carryOut()
	return c
}

func (c *crowd) ask(n int) {
	for range n {
		r := &Request{Ref: c.engine.ref, Command: &emptypb.Empty{}}
		r.Meta = holdfast.Meta{ID: strconv.Itoa(c.asked), At: time.Unix(1, 0)}
		r.prepare()
		c.asked++
		c.engine.Ask(r)
	}
	c.carryOut()
}

func (c *crowd) carryOut() {
	c.engine.Each(func(e Effect) {
		switch e := e.(type) {
		case Reply:
			if c.told++; c.engine.batch != nil {
				c.t.Error("others were decided on before the answer was given")
			}
		case *Append:
			c.append = e
		case Load:
			c.rebuild = e.To
		}
	})
}

// appended tells the engine so, and gives how many were answered and how many are on their way then.
func (c *crowd) appended() (told, next int) {
	head := persistence.Head{Version: c.append.After.Version, Position: holdfast.NewPosition(0, c.append.After.Position.Sequence()+1)}
	for _, ch := range c.append.Changes {
		head.Version += holdfast.Version(len(ch.Events))
	}
	c.append, c.told = nil, 0
	c.engine.Appended(head, nil)
	c.carryOut()
	if c.append == nil {
		return c.told, 0
	}
	return c.told, len(c.append.Changes)
}

func (c *crowd) want(told, next int) {
	c.t.Helper()
	if t, n := c.appended(); t != told || n != next {
		c.t.Errorf("%d were answered and %d are on their way, want %d and %d", t, n, told, next)
	}
}

// Many who ask again as soon as they are answered are taken in two halves: while the one is on its way, the
// other asks.
func TestHalves(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.ask(63)
	c.want(1, 32)
	c.ask(1)
	c.want(32, 32)
	c.ask(32)
	c.want(32, 32)
	c.want(32, 0) // who was answered did not come back
}

func TestFewAreNotHalved(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.ask(2*leastShare - 3)
	c.want(1, 2*leastShare-3)
	c.want(2*leastShare-3, 0)
}

// Nobody is forgotten when none of the half records anything.
func TestHalfRecordsNothing(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.ask(98)
	for next := 1; next > 0; {
		_, next = c.appended()
	}
	c.ask(1)
	c.ask(63) // too many
	c.want(64, 0)
}

// Only a command behind one that is on its way is put there by whoever brings it: nothing of the domain's is
// called by a goroutine that must hear when its time is up.
func TestQueues(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	command, query := &Request{Ref: c.engine.ref, Command: &emptypb.Empty{}}, &Request{Ref: c.engine.ref}
	if !c.engine.Queues(command) || c.engine.Queues(query) {
		t.Error("while one is on its way, a command does not queue, or a query does")
	}
	c.want(1, 0)
	if c.engine.Queues(command) || c.engine.Queues(query) {
		t.Error("it would be decided on, or shown")
	}
}
