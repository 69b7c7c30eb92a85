package holdfasttest

import (
	"math/rand/v2"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// luck decides what goes wrong in a run.
type luck interface {
	// rand is for everything else that is drawn.
	rand() *rand.Rand
	// fails draws whether something goes wrong that does so one time in n, when much does.
	fails(n int) bool
	// point is passed before and after everything that is done: nobody survives where it
	// says so.
	point() (crash bool)
	// heal ends all that goes wrong.
	heal()
}

// chance draws everything from a seed.
type chance struct {
	rnd *rand.Rand
	// one in so many of what may go wrong does; 0 for nothing
	mood int
}

func newChance(seed uint64) *chance {
	c := &chance{rnd: rand.New(rand.NewPCG(seed, 1))}
	c.mood = []int{0, 1, 3, 10}[c.rnd.IntN(4)]
	return c
}

func (c *chance) rand() *rand.Rand { return c.rnd }
func (c *chance) fails(n int) bool { return c.mood > 0 && c.rnd.IntN(n*c.mood) == 0 }
func (c *chance) point() bool      { return c.fails(100) }
func (c *chance) heal()            { c.mood = 0 }

// crashPoint has everything die at one point, and nothing else go wrong.
type crashPoint struct {
	at, passed int
	rnd        *rand.Rand
}

func (c *crashPoint) rand() *rand.Rand {
	if c.rnd == nil {
		c.rnd = rand.New(rand.NewPCG(0, 1))
	}
	return c.rnd
}

func (c *crashPoint) fails(int) bool { return false }
func (c *crashPoint) heal()          {}

func (c *crashPoint) point() bool {
	c.passed++
	return c.passed == c.at
}

// crash is what unwinds everything that is under way.
type crash struct{}

// A badStore is a memory store whose answers get lost.
type badStore struct {
	*memory.Store
	sim *Sim
}

func (b *badStore) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	s := b.sim
	s.point()
	switch {
	case s.luck.fails(20):
		done(after, holdfast.Errorf(holdfast.CodeUnavailable, "the log cannot be reached"))
		return
	case s.luck.fails(20):
		done(after, holdfast.Errorf(holdfast.CodeUncertain, "the commit got lost on its way to the log"))
		return
	}
	b.Store.Append(ref, after, changes, func(h persistence.Head, err error) {
		s.point()
		if err == nil && s.luck.fails(20) {
			err = holdfast.Errorf(holdfast.CodeUncertain, "the log's answer got lost")
		}
		done(h, err)
	})
}

// begin is the time at which every scenario and every run begins.
var begin = time.Date(2020, time.June, 1, 12, 0, 0, 0, time.UTC)
