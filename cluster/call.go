package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/messages"
)

// lookAround is how long a request that found no one waits at the most before it looks
// for its owner again; a change of the scene has it look at once.
const lookAround = 20 * time.Millisecond

// call takes a request to its owner and waits for the answer. What was certainly not
// executed since the aggregate moves is tried again until ctx ends.
func (m *Member) call(ctx context.Context, r *actors.Request) (actors.Answer, error) {
	if err := ctx.Err(); err != nil {
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "the time was up before the request was sent: %w", err)
	}
	i := m.current.Load()
	s := i.scene.Load()
	a, err := m.try(ctx, i, s, r)
	if !errors.Is(err, errMoved) {
		return a, err
	}
	select {
	case m.waiting <- struct{}{}:
		defer func() { <-m.waiting }()
	default:
		return a, err
	}
	for {
		again := time.NewTimer(lookAround)
		select {
		case <-s.changed:
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
		if ctx.Err() != nil {
			return a, err
		}
		i = m.current.Load()
		s = i.scene.Load()
		if a, err = m.try(ctx, i, s, r); !errors.Is(err, errMoved) {
			return a, err
		}
	}
}

// try takes a request to its owner once.
func (m *Member) try(ctx context.Context, i *incarnation, s *scene, r *actors.Request) (actors.Answer, error) {
	if !i.linked() {
		return actors.Answer{}, errCutOff
	}
	owner := s.owner(r.Ref)
	switch {
	case owner == nil && len(s.members) == 0:
		return actors.Answer{}, errCutOff
	case owner == nil && m.types[r.Ref.Type] == nil:
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnknown, "there is no aggregate type %q", r.Ref.Type)
	case owner == nil:
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "no node hosts the type %s: start one that does", r.Ref.Type)
	case owner.ID == i.id:
		return i.answer(ctx, r)
	}
	return m.askPeer(ctx, owner, r)
}

// Linked gives nil while the node may rely on what it knows of the others, and on what the
// log shows it, and otherwise an unavailable error.
//
// A server that is cut off from its cluster answers reads as a leader until it notices. But
// the others elect a new one only after 4 seconds of silence, a heartbeat of one second
// included: for 3 seconds after the register was last written, what is read by way of the
// same server is the newest all the same.
func (m *Member) Linked() error {
	if i := m.current.Load(); !i.linked() || !i.lease.fresh() {
		return errCutOff
	}
	return nil
}

func (i *incarnation) linked() bool { return i.lease.good() && i.lease.linked.Load() }

var errCutOff = holdfast.Errorf(holdfast.CodeUnavailable, "this node is cut off from the others: send it again, to another one if there is one")

// A waiter waits for the answer to a request that is executed here. It is used again once it
// has heard it: then the host is done with the request.
type waiter struct {
	request  actors.Request
	answered chan actors.Answer
	hear     func(actors.Answer)
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{answered: make(chan actors.Answer, 1)}
	w.hear = func(a actors.Answer) { w.answered <- a }
	return w
}}

// answer has the request executed here.
func (i *incarnation) answer(ctx context.Context, r *actors.Request) (actors.Answer, error) {
	w := waiters.Get().(*waiter)
	w.request = *r
	w.request.Done = w.hear
	good := i.lease.spell.Load()
	i.host.Deliver(&w.request)
	select {
	case a := <-w.answered:
		w.request = actors.Request{}
		waiters.Put(w)
		// Another node may own the aggregate by now and have told otherwise.
		if !i.lease.good() {
			return actors.Answer{}, i.overtaken(r, a)
		}
		return a, a.Err
	case <-good.ended:
	case <-i.over.Done():
	case <-ctx.Done():
	}
	if r.Command == nil {
		return actors.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "%s did not answer in time", r.Ref)
	}
	return actors.Answer{}, holdfast.Errorf(holdfast.CodeUncertain, "%s did not answer in time, and may have executed the command: send it again with the same id", r.Ref)
}

// overtaken is what becomes of an answer that came when the lease was not good any more.
func (i *incarnation) overtaken(r *actors.Request, a actors.Answer) error {
	if r.Command != nil && (a.Err == nil || holdfast.CodeOf(a.Err) == holdfast.CodeUncertain) {
		return holdfast.Errorf(holdfast.CodeUncertain, "this node was cut off from the others before %s answered, and may have executed the command: send it again with the same id", r.Ref)
	}
	return errCutOff
}

// askPeer has the request executed by another member.
func (m *Member) askPeer(ctx context.Context, owner *member, r *actors.Request) (actors.Answer, error) {
	q, err := encodeRequest(owner.ID, *r)
	if err != nil {
		return actors.Answer{}, err
	}
	a, err := m.peers.call(ctx, owner, q)
	if err != nil {
		if r.Command == nil && holdfast.CodeOf(err) == holdfast.CodeUncertain { // nothing can have happened
			return actors.Answer{}, moved("%v", err)
		}
		return actors.Answer{}, err
	}
	return m.decodeAnswer(*r, a)
}

// answerPeer answers another member.
func (m *Member) answerPeer(ctx context.Context, q *messages.PeerRequest) *messages.PeerAnswer {
	i := m.current.Load()
	if i == nil || q.To != i.id {
		return &messages.PeerAnswer{Error: encodeError(moved("the member %s is not here any more: send it again", q.To))}
	}
	r, err := m.decodeRequest(q)
	if err != nil {
		return &messages.PeerAnswer{Error: encodeError(err)}
	}
	if !i.lease.good() {
		return &messages.PeerAnswer{Error: encodeError(moved("the node is cut off from the others: send it again"))}
	}
	a, err := i.answer(ctx, &r)
	if errors.Is(err, actors.ErrStopping) && holdfast.CodeOf(err) == holdfast.CodeUnavailable {
		err = moved("%v", err)
	}
	if err != nil {
		return &messages.PeerAnswer{Error: encodeError(err)}
	}
	return encodeAnswer(r, a)
}
