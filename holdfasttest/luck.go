package holdfasttest

import (
	"math/rand/v2"
	"time"
)

// luck decides what goes wrong in a run.
type luck interface {
	// rand is for everything else that is drawn.
	rand() *rand.Rand
	// fails draws whether something goes wrong that does so one time in n, when much does.
	fails(n int) bool
	// point is passed before and after everything that is done: nobody survives where it
	// says so, or only some do.
	point() (crash bool)
	// survives draws whether a node does, where others die.
	survives() bool
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
func (c *chance) point() bool      { return c.fails(150) }
func (c *chance) survives() bool   { return c.rnd.IntN(2) == 0 }
func (c *chance) heal()            { c.mood = 0 }

// crashPoint has everything die at one point, and nothing else go wrong.
type crashPoint struct {
	at, passed int
	rnd        *rand.Rand
}

func newCrashPoint(at int) *crashPoint { return &crashPoint{at: at, rnd: rand.New(rand.NewPCG(0, 1))} }

func (c *crashPoint) rand() *rand.Rand { return c.rnd }
func (c *crashPoint) fails(int) bool   { return false }
func (c *crashPoint) survives() bool   { return false }
func (c *crashPoint) heal()            {}

func (c *crashPoint) point() bool {
	c.passed++
	return c.passed == c.at
}

// begin is the time at which every scenario and every run begins.
var begin = time.Date(2020, time.June, 1, 12, 0, 0, 0, time.UTC)
