package crew_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/crew"
	"github.com/holdfast-run/holdfast/internal/polltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// rest waits until as many rest as should.
func rest[T any](t *testing.T, c *crew.Crew[T], enough func(int) bool) {
	t.Helper()
	polltest.Until(t, patience, func() error {
		if n := c.Resting(); !enough(n) {
			return fmt.Errorf("%d rest", n)
		}
		return nil
	})
}

func call(f func()) { f() }

// TestRest: not more rest than are worth their memory, they take what comes, and go when they are told to.
func TestRest(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	c := crew.New(call, stopped)
	const many = 2 * crew.MaxResting
	hold, done := make(chan struct{}), make(chan struct{}, many)
	for range many { // each needs a goroutine of its own
		c.Do(func() { <-hold; done <- struct{}{} })
	}
	close(hold)
	for range many {
		<-done
	}
	rest(t, c, func(n int) bool { return n == crew.MaxResting })
	c.Do(func() { done <- struct{}{} })
	<-done
	close(stopped)
	rest(t, c, func(n int) bool { return n == 0 })
	c.Do(func() { done <- struct{}{} })
	<-done
}

// TestSame: those who have done a task do the next.
func TestSame(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	defer close(stopped)
	c := crew.New(call, stopped)
	for range 4 * crew.MaxResting {
		c.Do(func() {})
		rest(t, c, func(n int) bool { return n > 0 })
	}
	if n := c.Resting(); n > crew.MaxResting/2 { // not 1: one may be about to rest when the next task comes
		t.Errorf("%d rest, and there was one task at a time", n)
	}
}

// TestHoldsOnToNothing: what a task had takes no memory any more when it is done.
func TestHoldsOnToNothing(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	defer close(stopped)
	c := crew.New(func(*[1 << 20]byte) {}, stopped)
	task := new([1 << 20]byte)
	held := weak.Make(task)
	c.Do(task)
	rest(t, c, func(n int) bool { return n > 0 })
	polltest.Until(t, patience, func() error {
		runtime.GC()
		if held.Value() != nil {
			return fmt.Errorf("it is still held on to")
		}
		return nil
	})
}
