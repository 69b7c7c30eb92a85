package jetstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

const (
	// inFlight is how many bytes may be on their way from the server: it disconnects a
	// client to whom it cannot get rid of 64 MiB.
	inFlight = 24 << 20
	// leastWeight is what a request counts at least: about what its answer costs beside
	// the body.
	leastWeight = 512
	// unknown is the size of an answer that did not come.
	unknown = -1
	// spanBytes is how much one request for a span may bring, and one message more.
	spanBytes = 1 << 20
)

// A query is one request for a message.
type query struct {
	subject string
	body    []byte
	// span, when set, is how many messages may answer, before one with a status says where
	// they end.
	span int
	// replicated: several servers could answer, of which one is asked.
	replicated bool
	// leads, when set, is the partition whose leader alone answers.
	leads *partition
}

// An answer to a query; tag is the asker's. Of a span msg is what came after its parts.
type answer struct {
	tag   int
	msg   *nats.Msg
	parts []*nats.Msg
	err   error
}

// reads sends queries by its pipes in turn, so that what is on its way stays below inFlight. Since nobody
// knows a body's size beforehand, each query counts as the largest seen of late.
type reads struct {
	pipes []*pipe
	// unled has a question asked again when there may be a leader, or reports that it has
	// waited long enough.
	unled func(w *wait, ask func()) bool

	turn atomic.Uint32 // of the pipes

	mu      sync.Mutex
	size    int // the largest answer seen of late
	taken   int // of inFlight
	waiting []*waiter
}

type waiter struct {
	weight int
	ready  chan struct{}
}

// inLane is how many messages a lane gets over one pipe, about.
const inLane = 64

// A lane is the way of queries that belong together: a few go over one pipe, since each has to be woken; many
// over all of them, in turn. One goroutine uses it at a time.
type lane struct {
	reads *reads
	pipe  *pipe
	room  int
}

func (r *reads) lane() *lane { return &lane{reads: r} }

// next gives the pipe for so many messages.
func (l *lane) next(n int) *pipe {
	if l.room <= 0 {
		l.pipe, l.room = l.reads.next(), inLane
	}
	l.room -= n
	return l.pipe
}

// ask sends a query as soon as there is room. The answer goes to out, which must have
// room for it. After an error out hears nothing.
func (l *lane) ask(ctx context.Context, q query, tag int, out chan<- answer) error {
	r := l.reads
	weight, err := r.enter(ctx, q.span)
	if err != nil {
		return err
	}
	c := &read{from: r, query: q, weight: weight, tag: tag, out: out}
	if err := c.send(l.next(max(1, q.span))); err != nil {
		r.leave(weight, unknown)
		return err
	}
	return nil
}

func (r *reads) next() *pipe {
	return r.pipes[r.turn.Add(1)%uint32(len(r.pipes))]
}

// one sends a query and waits for the message that answers it.
func (r *reads) one(ctx context.Context, q query) (*nats.Msg, error) {
	a := r.hear(ctx, q)
	return a.msg, a.err
}

// hear sends a query and waits for the answer.
func (r *reads) hear(ctx context.Context, q query) answer {
	out := make(chan answer, 1)
	if err := r.lane().ask(ctx, q, 0, out); err != nil {
		return answer{err: err}
	}
	select {
	case a := <-out:
		return a
	case <-ctx.Done():
		return answer{err: context.Cause(ctx)}
	}
}

type read struct {
	from   *reads
	query  query
	weight int
	tag    int
	again  int    // how often it was asked again
	waited uint64 // for how many ticks before that
	unled  wait
	parts  []*nats.Msg
	out    chan<- answer
}

func (r *read) send(by *pipe) error {
	r.parts = r.parts[:0]
	return by.sendAfter(r.waited, &nats.Msg{Subject: r.query.subject, Data: r.query.body}, r)
}

// wait notes for how long it has waited.
func (r *read) wait(ticks uint64) bool {
	r.waited = ticks
	return true
}

// part takes a message of a span.
func (r *read) part(m *nats.Msg) bool {
	if len(r.parts) == r.query.span || m.Header.Get("Status") != "" {
		return false
	}
	if r.parts == nil {
		r.parts = make([]*nats.Msg, 0, r.query.span)
	}
	r.parts = append(r.parts, m)
	return true
}

func (r *read) replied(m *nats.Msg) {
	if r.query.replicated && unled(m) && r.from.unled(&r.unled, r.sendAgain) {
		return
	}
	size := len(m.Data)
	for _, part := range r.parts {
		size = max(size, len(part.Data))
	}
	r.from.leave(r.weight, size)
	r.out <- answer{tag: r.tag, msg: m, parts: r.parts}
}

func (r *read) lost(err error) {
	if errors.Is(err, errElected) || errors.Is(err, errSilent) {
		r.again++
		r.sendAgain()
		return
	}
	r.fail(err)
}

func (r *read) sendAgain() {
	if err := r.send(r.from.next()); err != nil {
		r.fail(err)
	}
}

func (r *read) fail(err error) {
	r.from.leave(r.weight, unknown)
	r.out <- answer{tag: r.tag, err: err}
}

// enter waits until there is room for a query, for a span of messages if it is not 0.
func (r *reads) enter(ctx context.Context, span int) (int, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	r.mu.Lock()
	weight := max(leastWeight, min(r.size, inFlight))
	if span > 0 {
		weight = min(span*weight, max(weight, spanBytes))
	}
	if len(r.waiting) == 0 && r.taken+weight <= inFlight {
		r.taken += weight
		r.mu.Unlock()
		return weight, nil
	}
	w := &waiter{weight: weight, ready: make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case <-w.ready:
		return weight, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.waiting {
		if other == w {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			r.admit()
			return 0, context.Cause(ctx)
		}
	}
	return weight, nil // it was admitted in the same moment
}

func (r *reads) leave(weight, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= weight
	switch {
	case size > r.size:
		r.size = size
	case size != unknown:
		r.size -= (r.size - size) / 64
	}
	r.admit()
}

// admit lets in those who wait, in order, as far as there is room.
func (r *reads) admit() {
	for len(r.waiting) > 0 && r.taken+r.waiting[0].weight <= inFlight {
		r.taken += r.waiting[0].weight
		close(r.waiting[0].ready)
		r.waiting = r.waiting[1:]
	}
}
