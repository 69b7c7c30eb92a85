package sagas

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// aggregate makes the type that the saga is.
func (d *Saga) aggregate() *holdfast.Type[state] {
	return holdfast.Define(d.name, append(d.parts,
		holdfast.DecideMeta(d.report),
		holdfast.DecideMeta(d.hear),
		holdfast.DecideMeta(d.wake),
		holdfast.DecideMeta(d.retry),
		holdfast.DecideMeta(d.skip),
		holdfast.DecideMeta(d.edit),
		holdfast.DecideMeta(d.resume),
		holdfast.DecideMeta(d.cancel),
		holdfast.DecideMeta(d.force),

		holdfast.Evolve(d.begun),
		holdfast.Evolve(d.heard),
		holdfast.Evolve(d.intended),
		holdfast.Evolve(d.answered),
		holdfast.Evolve(d.stepEnded),
		holdfast.Evolve(d.turned),
		holdfast.Evolve(d.alarmed),
		holdfast.Evolve(d.rang),
		holdfast.Evolve(d.closed),
		holdfast.Evolve(d.parked),
		holdfast.Evolve(d.unparked),
		holdfast.Evolve(d.routed),
		holdfast.Evolve(d.acted),
		holdfast.Evolve(d.over),

		holdfast.Snapshot(d.save, d.load),
	)...)
}

// start takes the command with which a saga of steps begins; from is where the event comes
// from of which it was made, if it was.
func (d *Saga) start(s state, c holdfast.Command, from *messages.SagaSource, m holdfast.Meta) (holdfast.Events, error) {
	if s.began {
		return nil, holdfast.Reject("already_begun", "the saga has begun already, and is %s", s.status())
	}
	if err := d.begin.check(c); err != nil {
		return nil, err
	}
	return d.advance(s, m.At, begun(m, mustPack(c), from)), nil
}

// begun is the first event of a saga.
func begun(m holdfast.Meta, input *anypb.Any, from *messages.SagaSource) *messages.SagaBegun {
	return &messages.SagaBegun{Input: input, From: from, CorrelationId: m.CorrelationID, User: m.User, Id: []byte(m.To.ID)}
}

// listen takes an event of another aggregate. One that fits no saga is of no account.
func (d *Saga) listen(s state, h *messages.SagaHeard, m holdfast.Meta) (holdfast.Events, error) {
	if s.end != "" || s.closing != "" {
		return nil, nil
	}
	event := mustOpen(h.GetEvent())
	name := eventName(event)
	switch {
	case d.events[name].react != nil:
		return d.react(s, h, event, m), nil
	case d.hears[name].hear != nil && s.began:
		return d.advance(s, m.At, h), nil
	case d.begin != nil && d.begin.on[name] != nil && !s.began:
		return d.start(s, d.begin.on[name](event, sourceOf(h.From)), h.From, m)
	}
	return nil, nil
}

// conclude takes what became of an intent. Of one that is over nothing is recorded: it was
// told twice.
func (d *Saga) conclude(s state, a *messages.SagaAnswered, at time.Time) holdfast.Events {
	p := s.step(a.GetStep())
	if !s.began || s.end != "" || p == nil || !slices.Contains(ways, a.Way) {
		return nil
	}
	r := p.errand(a.Way)
	if r.phase != sent || r.attempt != a.Attempt {
		return nil
	}
	e := proto.CloneOf(a)
	e.Again = 0
	if e.Code == "" {
		return d.advance(s, at, e)
	}
	if backoff := d.stepOf(a.Step).backoff(a.Way); d.tries(backoff, r, e) {
		e.Again = nanos(at.Add(backoff.pause(s.id+a.Step, a.Attempt)))
	}
	return d.advance(s, at, e)
}

// tries reports whether another attempt is made. To make a command void is tried for ever:
// until its aggregate answers there is no saying whether it is.
func (d *Saga) tries(b Backoff, r *errand, a *messages.SagaAnswered) bool {
	passing := transient(holdfast.Code(a.Code))
	if a.Way == void && passing {
		return true
	}
	passing = passing || a.Way != do || d.stepOf(a.Step).kind == retryable
	return passing && int(r.attempt-r.fresh) < b.Attempts
}

// transient reports whether a failure may pass.
func transient(code holdfast.Code) bool {
	switch code {
	case holdfast.CodeUnavailable, holdfast.CodeOverloaded, holdfast.CodeUncertain, holdfast.CodeConflict:
		return true
	default:
		return false
	}
}
