// Package crew has tasks done in goroutines that rest in between: a new one would have to grow its
// stack first.
package crew

import "sync/atomic"

// MaxResting is how many goroutines of a crew may wait for a task.
const MaxResting = 64

// A Crew does as many tasks at a time as there are.
type Crew[T any] struct {
	do      func(T)
	tasks   chan T
	resting atomic.Int32
	stopped <-chan struct{}
}

// New makes a crew that does each task by calling do. When stopped is closed those go home who rest,
// and who would later.
func New[T any](do func(T), stopped <-chan struct{}) *Crew[T] {
	return &Crew[T]{do: do, tasks: make(chan T), stopped: stopped}
}

// Do has a task begun and does not wait for it, also when the crew has been stopped.
func (c *Crew[T]) Do(task T) {
	select {
	case c.tasks <- task:
	default:
		go c.work(task)
	}
}

// work does a task, and then others, as long as it need not rest among too many.
func (c *Crew[T]) work(task T) {
	for {
		c.do(task)
		if c.resting.Add(1) > MaxResting {
			c.resting.Add(-1)
			return
		}
		select {
		case task = <-c.tasks:
			c.resting.Add(-1)
		case <-c.stopped:
			c.resting.Add(-1)
			return
		}
	}
}

// Resting is how many wait for a task.
func (c *Crew[T]) Resting() int { return int(c.resting.Load()) }
