package jetstream

import (
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
)

// Measured on one server that fsyncs each message (ADR 20).
const (
	// worthwhile commits cost as much in a batch as one after the other: the server makes a
	// store of its own for each batch.
	worthwhile = 16
	// heavy is from which size on average, in bytes, commits are not worth a batch, since the
	// server writes all that is in it twice.
	heavy = 32 << 10
	// most is how many commits a batch may have: what servers take unless they are told
	// otherwise.
	most = 1000
	// mostBytes is how large a batch may be, unless it is one commit: the server answers no
	// reads of the stream while it commits one.
	mostBytes = 2 << 20
)

// A gathering decides when the appends to one partition go out, and which of them together.
// It is told what happens, and gives what is to be sent.
//
// What comes while little is under way goes out alone, at once. Beyond that appends gather, and
// go out together when nothing else is under way.
type gathering struct {
	most    int        // commits of a batch; too few for one when the server takes none
	waiting []*pending // in the order in which they came
	size    int        // of their commits, in bytes
	alone   int        // how many are under way each for itself
	batched bool       // some are together
	seen    map[string]bool
}

func (g *gathering) add(p *pending) {
	g.waiting = append(g.waiting, p)
	g.size += len(p.commit.Body)
}

// next takes from those who wait what is to be sent now, as one batch or each alone.
func (g *gathering) next() (out []*pending, together bool) {
	n := len(g.waiting)
	switch {
	case n == 0 || g.batched:
		return nil, false
	case g.most < worthwhile:
		return g.each(n), false
	case n < worthwhile || g.size > n*heavy:
		return g.each(worthwhile - g.alone), false
	case g.alone > 0:
		return nil, false
	}
	if n = g.fitting(); n < worthwhile {
		return g.each(n), false
	}
	g.batched = true
	return g.take(n), true
}

// each takes n to be sent alone, or all there are.
func (g *gathering) each(n int) []*pending {
	n = max(0, min(n, len(g.waiting)))
	g.alone += n
	return g.take(n)
}

func (g *gathering) take(n int) []*pending {
	out := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	for _, p := range out {
		g.size -= len(p.commit.Body)
	}
	return out
}

// fitting is how many, from the first on, make one batch. No subject comes twice in it: the
// second would always be refused, and the batch with it.
func (g *gathering) fitting() int {
	clear(g.seen)
	size := 0
	for i, p := range g.waiting[:min(len(g.waiting), g.most)] {
		if size += len(p.commit.Body); size > mostBytes && i > 0 || g.seen[p.a.subject] {
			return i
		}
		g.seen[p.a.subject] = true
	}
	return min(len(g.waiting), g.most)
}

// answered hears that so many are not under way alone any more.
func (g *gathering) answered(n int) { g.alone -= n }

// ended hears that the batch is not under way any more.
func (g *gathering) ended() { g.batched = false }

// parted hears that those of the batch go out again, each alone.
func (g *gathering) parted(n int) {
	g.batched = false
	g.alone += n
}

// refused hears that the server takes no batch of so many, or none at all.
func (g *gathering) refused(n int) { g.most = min(g.most, n/2) }

// expire takes those that have waited since before a tick.
func (g *gathering) expire(before uint64) []*pending {
	n := 0
	for n < len(g.waiting) && g.waiting[n].born < before {
		n++
	}
	return g.take(n)
}

// A coalescer sends the appends to one partition as its gathering has it. It has no goroutine
// of its own: those send who append, or hear an answer.
type coalescer struct {
	store *Store

	mu sync.Mutex
	gathering
	now     uint64 // the tick
	closed  bool
	sending sync.WaitGroup
}

func newCoalescer(s *Store) *coalescer {
	return &coalescer{store: s, gathering: gathering{most: most, seen: map[string]bool{}}}
}

// append has an append sent as soon as may be, or tells its caller that it will not be.
func (c *coalescer) append(p *pending) {
	var err error
	c.mu.Lock()
	switch {
	case c.closed:
		err = errClosed
	case len(c.waiting) >= maxOutstanding:
		err = errBusy
	default:
		p.born = c.now
		c.add(p)
		c.send()
	}
	c.mu.Unlock()
	if err != nil {
		p.refuse(err)
	}
}

// send sends what is to be sent. The lock is held before and after, and not meanwhile.
func (c *coalescer) send() {
	for {
		out, together := c.next()
		if len(out) == 0 {
			return
		}
		c.sending.Add(1)
		c.mu.Unlock()
		if together {
			newBatch(c, out).send()
		} else {
			c.sendAlone(out)
		}
		c.sending.Done()
		c.mu.Lock()
	}
}

// sendAlone sends each for itself: those that have been counted as such.
func (c *coalescer) sendAlone(out []*pending) {
	failed := 0
	for _, p := range out {
		if err := c.store.publishFor(p, (*lone)(p)); err != nil {
			failed++
			p.done(p.after, err)
		}
	}
	if failed > 0 {
		c.mu.Lock()
		c.answered(failed)
		c.mu.Unlock()
	}
}

// happened tells the gathering of what has happened, and sends what follows from it.
func (c *coalescer) happened(tell func(*gathering)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tell(&c.gathering)
	c.send()
}

// part sends the members of a batch again, each alone.
func (c *coalescer) part(members []*pending) {
	c.store.stats.part()
	c.mu.Lock()
	c.parted(len(members))
	c.sending.Add(1)
	c.mu.Unlock()
	defer c.sending.Done()
	c.sendAlone(members)
	c.happened(func(*gathering) {})
}

// tick gives up on those that have not even been sent for as long as an append may take.
func (c *coalescer) tick(now uint64) {
	c.mu.Lock()
	c.now = now
	var late []*pending
	if timeout := c.store.publish.timeout; now > timeout {
		late = c.expire(now - timeout)
	}
	c.mu.Unlock()
	for _, p := range late {
		p.refuse(errTimeout)
	}
}

// close returns when all who wait have been told, and nothing is being sent.
func (c *coalescer) close() {
	c.mu.Lock()
	c.closed = true
	left := c.take(len(c.waiting))
	c.mu.Unlock()
	for _, p := range left {
		p.refuse(errClosed)
	}
	c.sending.Wait()
}

// refuse tells the caller of an append that was not sent.
func (p *pending) refuse(because error) {
	p.done(p.after, p.a.unavailable("append to", because))
}

// A lone is an append that a coalescer sent alone.
type lone pending

var _ caller = (*lone)(nil)

func (l *lone) replied(m *nats.Msg) {
	c := l.a.partition.coalescer
	(*pending)(l).replied(m)
	c.happened(func(g *gathering) { g.answered(1) })
}

func (l *lone) lost(err error) {
	c := l.a.partition.coalescer
	(*pending)(l).lost(err)
	c.happened(func(g *gathering) { g.answered(1) })
}
