package runner

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

const (
	// breath is how long events are gathered after the first one.
	breath = 15 * time.Millisecond
	// moveEvery is how often a checkpoint is written that merely moves, and moveSoon how soon
	// when none has been for that long: other nodes may have somebody who waits for it.
	moveEvery = time.Second
	moveSoon  = 50 * time.Millisecond
)

// gather has records become batches. One goroutine reads the log and calls take, another one
// calls next, and handles what was gathered before meanwhile.
type gather struct {
	read     func(persistence.Record, []projections.Item) []projections.Item
	progress *progress
	ready    chan struct{} // has room for one: there is something, or all there is room for
	room     chan struct{} // has room for one

	mu     sync.Mutex
	open   batch
	spare  batch
	limit  int
	closed bool   // nothing is taken for now
	busy   bool   // a batch is out, or nothing may be done
	stop   uint64 // nothing is done beyond; 0 when there is no such place

	now   func() time.Time
	moved time.Time // when the last batch was given
}

func newGather(at *progress, now func() time.Time, read func(persistence.Record, []projections.Item) []projections.Item) *gather {
	return &gather{read: read, progress: at, now: now, ready: make(chan struct{}, 1), room: make(chan struct{}, 1), limit: firstSize}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take takes a record. It blocks while a batch is full.
func (g *gather) take(ctx context.Context, rec persistence.Record) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed || g.open.full(g.limit) {
		g.mu.Unlock()
		select {
		case <-g.room:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if g.open.done == 0 {
		signal(g.ready)
	}
	before := len(g.open.items)
	g.open.items = g.read(rec, g.open.items)
	n := len(g.open.items)
	g.open.add(rec, n-before)
	switch {
	case n == 0 && !g.busy && (g.stop == 0 || rec.Position.Sequence() <= g.stop):
		g.progress.set(rec.Position.Sequence())
	case before == 0 && n > 0, g.open.full(g.limit):
		signal(g.ready)
	}
	return nil
}

// next gives the next batch: what has been gathered for a breath, or is all that there is room
// for, or a mere move. It reports whether it is full; the batch is empty when enough came first.
func (g *gather) next(ctx context.Context, failed, enough <-chan struct{}) (b batch, full bool) {
	var moved, breathed <-chan time.Time
	for {
		some, full, move := g.has()
		if full {
			return g.swap(), true
		}
		if some && breathed == nil {
			t := time.NewTimer(breath)
			defer t.Stop()
			breathed = t.C
		}
		if move > 0 && moved == nil {
			t := time.NewTimer(move)
			defer t.Stop()
			moved = t.C
		}
		select {
		case <-g.ready:
		case <-breathed:
			return g.swap(), false
		case <-moved:
			return g.swap(), false
		case <-enough:
			return batch{}, false
		case <-failed:
			return batch{}, false
		case <-ctx.Done():
			return batch{}, false
		}
	}
}

// has reports whether there are events, and whether they are enough; and in what time the
// checkpoint should move, if it should.
func (g *gather) has() (some, full bool, move time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open.done > 0 {
		move = max(moveEvery-g.now().Sub(g.moved), moveSoon)
	}
	return len(g.open.items) > 0, g.open.full(g.limit), move
}

// swap gives what there is, and gathers anew.
func (g *gather) swap() batch {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open.done == 0 {
		return batch{}
	}
	b := g.open
	g.open, g.spare, g.busy, g.moved = g.spare, batch{}, true, g.now()
	signal(g.room)
	return b
}

// finished gives back a batch that is done.
func (g *gather) finished(b batch, limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b.clear()
	g.spare, g.limit, g.busy = b, limit, false
	signal(g.room)
	if len(g.open.items) == 0 && g.open.done > 0 && (g.stop == 0 || g.open.done <= g.stop) {
		g.progress.set(g.open.done)
	}
}

// pace says whether records are taken.
func (g *gather) pace(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
	signal(g.room)
}

// stopAt has nothing count as done beyond a sequence; 0 ends that.
func (g *gather) stopAt(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stop = seq
}

// progress is how far a unit is, for those who wait for it.
type progress struct {
	mu    sync.Mutex
	done  uint64
	moved chan struct{} // closed when it moves; nil when nobody waits
}

func (p *progress) set(done uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// at gives how far it is, and what is closed when that changes.
func (p *progress) at() (uint64, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	return p.done, p.moved
}

func (p *progress) get() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}
