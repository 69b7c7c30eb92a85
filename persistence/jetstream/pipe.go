package jetstream

import (
	"errors"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// maxOutstanding requests of one connection: the server takes 100,000 waiting messages
// a stream.
const maxOutstanding = 1 << 16

var (
	errClosed       = errors.New("the store is closed")
	errBusy         = errors.New("too many requests are outstanding")
	errTimeout      = errors.New("no answer in time")
	errDisconnected = errors.New("the connection broke before the answer came")
)

// A caller awaits the answer to one request. One of its methods is called, once, and
// must not block.
type caller interface {
	replied(m *nats.Msg)
	lost(err error)
}

// A pipe sends requests on one connection without waiting for the answers before: all
// answers come to one subscription, and the last token of their subject says whose they
// are. It has neither a goroutine nor a timer a request.
type pipe struct {
	nc      *nats.Conn
	prefix  string // of the reply subjects
	sub     *nats.Subscription
	timeout uint64 // in ticks

	mu     sync.Mutex
	ticks  uint64
	slots  []slot
	free   []uint32
	closed bool
	active sync.WaitGroup // callers that are being told
}

// A slot is that of an outstanding request. Its generation tells an answer that comes
// too late from one to the request that has the slot now.
type slot struct {
	generation uint32
	caller     caller // nil when the slot is free
	born       uint64 // at which tick
}

func newPipe(nc *nats.Conn, timeout uint64) (*pipe, error) {
	p := &pipe{nc: nc, prefix: nc.NewInbox() + ".", timeout: timeout}
	var err error
	if p.sub, err = nc.Subscribe(p.prefix+"*", p.receive); err != nil {
		return nil, err
	}
	// What is outstanding is bounded elsewhere, and a dropped answer is an uncertain one.
	return p, p.sub.SetPendingLimits(-1, -1)
}

// send sends m, whose Reply it sets. After an error nothing has been sent that the
// server could act on, and c hears nothing.
func (p *pipe) send(m *nats.Msg, c caller) error { return p.sendAfter(0, m, c) }

// sendAfter sends what has waited for so many ticks for an answer already.
func (p *pipe) sendAfter(waited uint64, m *nats.Msg, c caller) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errClosed
	}
	var i uint32
	switch n := len(p.free); {
	case n > 0:
		i = p.free[n-1]
		p.free = p.free[:n-1]
	case len(p.slots) < maxOutstanding:
		i = uint32(len(p.slots))
		p.slots = append(p.slots, slot{})
	default:
		p.mu.Unlock()
		return errBusy
	}
	s := &p.slots[i]
	s.generation++
	s.caller, s.born = c, p.ticks-waited
	generation := s.generation
	p.mu.Unlock()

	m.Reply = p.reply(i, generation)
	if err := p.nc.PublishMsg(m); err != nil && p.take(i, generation) != nil {
		return err
	}
	return nil
}

func (p *pipe) reply(i, generation uint32) string {
	var token [13]byte
	return p.prefix + string(strconv.AppendUint(token[:0], uint64(generation)<<32|uint64(i), 36))
}

// take frees a slot and gives its caller, unless it has been taken.
func (p *pipe) take(i, generation uint32) caller {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(i) >= len(p.slots) || p.slots[i].generation != generation {
		return nil
	}
	return p.takeLocked(i)
}

func (p *pipe) takeLocked(i uint32) caller {
	c := p.slots[i].caller
	if c != nil {
		p.slots[i].caller = nil
		p.free = append(p.free, i)
	}
	return c
}

func (p *pipe) receive(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[len(p.prefix):], 36, 64)
	if err != nil {
		return // not an answer to anything that was sent
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.active.Add(1)
	p.mu.Unlock()
	defer p.active.Done()
	if c := p.take(uint32(token), uint32(token>>32)); c != nil {
		c.replied(m)
	}
}

// tick counts one tick and gives up on what has waited too long.
func (p *pipe) tick() {
	p.mu.Lock()
	p.ticks++
	lost := p.collect(func(s *slot) bool { return p.ticks-s.born > p.timeout })
	p.mu.Unlock()
	tell(lost, errTimeout)
}

// broken gives up on everything: the connection over which the answers would have come
// is gone.
func (p *pipe) broken() {
	p.mu.Lock()
	lost := p.collect(func(*slot) bool { return true })
	p.mu.Unlock()
	tell(lost, errDisconnected)
}

// close gives up on everything, and returns when all callers have been told.
func (p *pipe) close() error {
	p.mu.Lock()
	p.closed = true
	lost := p.collect(func(*slot) bool { return true })
	p.mu.Unlock()
	tell(lost, errClosed)
	p.active.Wait()
	err := p.sub.Unsubscribe()
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil // it has ended already
	}
	return err
}

func (p *pipe) collect(which func(*slot) bool) []caller {
	var lost []caller
	for i := range p.slots {
		if p.slots[i].caller != nil && which(&p.slots[i]) {
			lost = append(lost, p.takeLocked(uint32(i)))
		}
	}
	return lost
}

func tell(callers []caller, err error) {
	for _, c := range callers {
		c.lost(err)
	}
}
