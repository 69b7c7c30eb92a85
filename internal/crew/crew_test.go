package crew_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/crew"
	"github.com/holdfast-run/holdfast/internal/polltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call(f func()) { f() }

// TestRest: not more rest than are worth their memory, they take what comes, and go when they are told to.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped, hold := make(chan struct{}), make(chan struct{})
		c := crew.New(call, stopped)
		rest := func(want int) {
			t.Helper()
			synctest.Wait() // until each waits for something
			if n := c.Resting(); n != want {
				t.Fatalf("%d rest, want %d", n, want)
			}
		}
		const many = 2 * crew.MaxResting
		for range many { // each needs a goroutine of its own
			c.Do(func() { <-hold })
		}
		rest(0)
		close(hold)
		rest(crew.MaxResting)
		hold = make(chan struct{})
		c.Do(func() { <-hold })
		rest(crew.MaxResting - 1)
		close(stopped)
		rest(0)
		close(hold)
		rest(0)
		c.Do(func() {})
		rest(0)
	})
}

// TestSame: whoever has done a task does the next.
func TestSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan struct{})
		c := crew.New(call, stopped)
		for range 3 {
			c.Do(func() {})
			synctest.Wait()
			if n := c.Resting(); n != 1 {
				t.Errorf("%d rest, and there was one task at a time", n)
			}
		}
		close(stopped)
	})
}

// TestHoldsOnToNothing: what a task had takes no memory any more when it is done.
func TestHoldsOnToNothing(t *testing.T) {
	stopped := make(chan struct{})
	defer close(stopped)
	c := crew.New(func(*[1 << 20]byte) {}, stopped)
	task := new([1 << 20]byte)
	held := weak.Make(task)
	c.Do(task)
	polltest.Until(t, time.Minute, func() error {
		runtime.GC()
		if held.Value() != nil {
			return fmt.Errorf("it is still held on to")
		}
		return nil
	})
}
