package jetstream

import (
	"errors"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
	// headroom is what a commit's message takes beside its changes: at most some 450
	// bytes of its own fields, with a full trail, and 230 of headers.
	headroom = 1 << 10
	// maxLimit caps Limit where the server would take more than is good for it.
	maxLimit = 8 << 20
)

// Limit implements [persistence.Appender]. It follows from what the server takes.
func (s *Store) Limit() int {
	return int(min(s.publish.nc.MaxPayload(), maxLimit)) - headroom
}

// pending is an append of which the server has not answered for certain.
type pending struct {
	store  *Store
	a      aggregate
	after  persistence.Head
	commit persistence.Commit
	races  int // how often it was sent again because another write was under way
	unled  wait
	done   func(persistence.Head, error)
	born   uint64 // the tick at which the coalescer got it, if there is one
}

var _ caller = (*pending)(nil)

// Append implements [persistence.Appender].
func (s *Store) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	p, err := s.seal(ref, after, changes)
	if err != nil {
		done(after, err)
		return
	}
	p.done = done
	if c := p.a.partition.coalescer; c != nil {
		c.append(p)
		return
	}
	if err := s.publishCommit(p); err != nil {
		done(after, err)
	}
}

func (s *Store) seal(ref holdfast.Ref, after persistence.Head, changes []*messages.Change) (*pending, error) {
	a, err := s.aggregate(ref)
	if err != nil {
		return nil, err
	}
	if after.Position.IsZero() {
		after = a.first()
	} else if after.Position.Partition() != a.partition.number {
		return nil, holdfast.Errorf(holdfast.CodeInternal, "append to %s: the head at %s is of another partition than %d", ref, after.Position, a.partition.number)
	}
	c, err := after.Seal(s.newID(), changes)
	if err != nil {
		return nil, err
	}
	if limit := s.Limit(); len(c.Body) > limit { // else its changes are within it, too
		if size := persistence.Size(changes); size > limit {
			return nil, holdfast.Errorf(holdfast.CodeTooLarge, "the changes of %s take %d bytes, the limit is %d", ref, size, limit)
		}
	}
	return &pending{store: s, a: a, after: after, commit: c}, nil
}

// A message that carries a commit, with room for its two headers, to be used again.
type message struct {
	nats.Msg
	id, expected [1]string
}

var messagePool = sync.Pool{New: func() any { return newMessage() }}

func newMessage() *message {
	m := new(message)
	m.Header = nats.Header{messages.HeaderID: m.id[:], headerExpected: m.expected[:]}
	return m
}

// carry has m be that of an append.
func (m *message) carry(p *pending) {
	m.Subject, m.Data = p.a.subject, p.commit.Body
	m.id[0], m.expected[0] = p.commit.Id, strconv.FormatUint(p.after.Position.Sequence(), 10)
}

func (s *Store) publishCommit(p *pending) error { return s.publishFor(p, p) }

// publishFor has another one hear the answer.
func (s *Store) publishFor(p *pending, hears caller) error {
	m := messagePool.Get().(*message)
	m.carry(p)
	err := s.publish.send(&m.Msg, hears)
	m.Data = nil
	messagePool.Put(m)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return holdfast.Errorf(holdfast.CodeTooLarge, "append to %s: %w", p.a.ref, err)
	case err != nil:
		return p.a.unavailable("append to", err)
	}
	return nil
}

// replied hears the server's answer.
func (p *pending) replied(m *nats.Msg) {
	seq, err := p.a.partition.parseAck(m)
	if err == nil {
		p.succeed(seq)
		return
	}
	var api *apiError
	if errors.As(err, &api) {
		p.store.stats.refuse(api.ErrCode)
	}
	switch {
	case errors.Is(err, errNoStream):
		p.await(err)
	case api == nil:
		p.settle(err, holdfast.CodeUncertain)
	case api.ErrCode == codeConflict, api.ErrCode == codeRacing:
		p.settle(err, holdfast.CodeConflict)
	default:
		if code, ok := refusals[api.ErrCode]; ok {
			p.done(p.after, holdfast.Errorf(code, "append to %s: %w", p.a.ref, err))
			return
		}
		p.settle(err, holdfast.CodeUncertain)
	}
}

// refusals are the answers that are given before a message is stored or proposed.
var refusals = map[int]holdfast.Code{
	10002: holdfast.CodeUnavailable, // the account's resources are exhausted
	10023: holdfast.CodeUnavailable, // the server's resources are exhausted
	10054: holdfast.CodeTooLarge,    // message
	10097: holdfast.CodeTooLarge,    // header
	10167: holdfast.CodeUnavailable, // too many requests
}

// lost hears that no answer will come.
func (p *pending) lost(err error) { p.settle(err, holdfast.CodeUncertain) }

func (p *pending) succeed(seq uint64) {
	p.commit.Position = holdfast.NewPosition(p.a.partition.number, seq)
	if on := p.a.partition; on.replicated {
		on.appended.Store(&p.a.subject)
	}
	p.done(p.commit.Head(), nil)
}
