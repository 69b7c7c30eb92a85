package jetstream

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A clock drives the timeouts of a store: at each tick it lets the pipes give up on what
// has waited too long, and wakes those who wait to try again.
type clock struct {
	mu   sync.Mutex
	now  uint64
	next chan struct{} // closed at the next tick
	stop chan struct{}
	done sync.WaitGroup
}

func newClock() *clock {
	return &clock{next: make(chan struct{}), stop: make(chan struct{})}
}

// run ticks the pipes until close, and tells each that it has. A pipe whose connection
// breaks is told at once.
func (c *clock) run(ticks <-chan time.Time, release func(), ticked func(now uint64), pipes ...*pipe) {
	for _, p := range pipes {
		status := p.nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
		c.done.Go(func() { c.watch(p, status) })
	}
	c.done.Go(func() {
		defer release()
		for {
			select {
			case <-c.stop:
				return
			case <-ticks:
			}
			for _, p := range pipes {
				p.tick()
			}
			c.mu.Lock()
			c.now++
			now := c.now
			c.mu.Unlock()
			c.wake()
			ticked(now)
		}
	})
}

func (c *clock) watch(p *pipe, status chan nats.Status) {
	defer p.nc.RemoveStatusListener(status)
	for {
		select {
		case <-c.stop:
			return
		case <-status:
			p.broken()
		}
	}
}

func (c *clock) close() {
	close(c.stop)
	c.done.Wait()
}

// wake wakes those who wait for the next tick.
func (c *clock) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.next)
	c.next = make(chan struct{})
}

func (c *clock) ticks() uint64 {
	now, _ := c.tick()
	return now
}

// tick gives the number of the tick and a channel that is closed at the next one.
func (c *clock) tick() (uint64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.next
}

// pass returns when a tick has passed, or with an error when ctx ends.
func (c *clock) pass(ctx context.Context) (err error) {
	for now := c.ticks(); err == nil && c.ticks() == now; {
		err = c.wait(ctx)
	}
	return err
}

// wait returns at the next tick, or earlier when something is worth another look, or with an
// error when ctx ends.
func (c *clock) wait(ctx context.Context) error {
	_, next := c.tick()
	select {
	case <-next:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
