package sagas

import (
	"cmp"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	do   = messages.SagaWay_SAGA_WAY_DO
	undo = messages.SagaWay_SAGA_WAY_UNDO
	void = messages.SagaWay_SAGA_WAY_VOID
)

var ways = []messages.SagaWay{do, undo, void}

// advance gives what follows from the state by itself at a time, after the events that are
// given, and these.
func (d *Saga) advance(s state, at time.Time, events ...holdfast.Event) holdfast.Events {
	for i := 0; ; i++ {
		if i == len(events) {
			more := d.next(s, at)
			if len(more) == 0 {
				return events
			}
			events = append(events, more...)
		}
		if in, ok := events[i].(*messages.SagaIntended); ok {
			s.complete(in, at)
		}
		s = d.evolve(s, events[i])
	}
}

// complete writes on an intent what is the same for all that the saga sends, and since when
// its command may have been sent.
func (s state) complete(in *messages.SagaIntended, at time.Time) {
	in.CorrelationId, in.User, in.Since = s.meta.CorrelationID, s.meta.User, nanos(at)
	way := in.Way
	if way == void {
		way = in.Of
	}
	if p := s.step(in.Step); p != nil {
		if r := p.errand(way); r.edits == in.Edits && !r.since.IsZero() {
			in.Since = nanos(r.since)
		}
	}
}

// next gives the events that follow from the state by itself, and first; none if none do.
func (d *Saga) next(s state, at time.Time) holdfast.Events {
	if !s.began || s.end != "" || len(s.parked) > 0 {
		return nil
	}
	for _, p := range s.steps {
		if events := d.settle(s, d.stepOf(p.name), p, at); len(events) > 0 {
			return events
		}
		for _, way := range ways {
			if r := p.errand(way); r.phase == pausing && !at.Before(r.again) {
				return holdfast.Events{&messages.SagaIntended{
					Step: p.name, Way: way, Attempt: r.attempt + 1, To: r.to, Command: r.command, Edits: r.edits, Deadline: nanos(r.deadline), Of: r.of,
				}}
			}
		}
	}
	var e holdfast.Event
	switch {
	case d.reacts():
		return d.reaction(s, at)
	case s.back:
		e = d.goBack(s, at)
	case !s.stuck():
		e = d.goOn(s, at)
	}
	if e == nil {
		return nil
	}
	return holdfast.Events{e}
}

// settle gives what follows for one step from what its errands have come to. A step has
// failed only when it is certain that its command will not be executed yet: until the
// aggregate has said so, it may be.
func (d *Saga) settle(s state, st *step, p *progress, at time.Time) holdfast.Events {
	if way, why, is := d.verdict(s, st, p, at); is {
		if st.kind == reacting && way == do {
			return d.told(s, p.name, why, at)
		}
		stuck := why != "" && (st.kind == retryable || way != do)
		return holdfast.Events{&messages.SagaStepEnded{Step: p.name, Way: way, Failed: why, Stuck: stuck}}
	}
	if p.do.phase == pausing && (p.late(at) || s.back) && p.void.phase == idle {
		return ensure(p, do)
	}
	for _, way := range []messages.SagaWay{do, undo} {
		switch r := p.errand(way); {
		case r.phase != doomed:
		case p.void.phase == idle || p.void.of != way:
			return ensure(p, way)
		case p.void.phase == ended: // and instead there is another command
			return holdfast.Events{&messages.SagaIntended{
				Step: p.name, Way: way, Attempt: r.attempt + 1, To: cmp.Or(r.insteadTo, r.to), Command: r.instead, Edits: r.edits + 1, Deadline: nanos(r.deadline),
			}}
		}
	}
	return nil
}

// verdict tells whether a step has come to its end in a way, and whether it has failed.
func (d *Saga) verdict(s state, st *step, p *progress, at time.Time) (way messages.SagaWay, why string, is bool) {
	switch {
	case p.void.phase == accepted:
		return void, "", true
	case p.undo.phase == accepted, p.undo.phase == sent && p.undo.to == "":
		return undo, "", true
	case p.do.phase == sent && p.do.to == "", p.do.phase == accepted && st.until == nil:
		return do, "", true
	case p.do.phase == accepted:
		switch v := st.until(s.data); {
		case v.ended:
			return do, v.failed, true
		case s.back:
			return do, "the saga turned back while it waited", true
		case p.late(at):
			return do, fmt.Sprintf("what it waits for has not come within %v", st.timeout), true
		}
	}
	for _, way := range []messages.SagaWay{do, undo} {
		if r := p.errand(way); r.phase == doomed && r.instead == nil && p.void.phase == ended && p.void.of == way {
			return way, r.reason, true
		}
	}
	return 0, "", false
}

func (p *progress) late(at time.Time) bool {
	return !p.do.deadline.IsZero() && !at.Before(p.do.deadline)
}

// ensure makes certain that a command is not executed any more.
func ensure(p *progress, of messages.SagaWay) holdfast.Events {
	r := p.errand(of)
	return holdfast.Events{&messages.SagaIntended{Step: p.name, Way: void, Of: of, Attempt: 1, To: r.to, Edits: r.edits}}
}

// goOn begins what comes next, or turns back when a step has failed.
func (d *Saga) goOn(s state, at time.Time) holdfast.Event {
	for _, p := range s.steps {
		if p.do.phase == failed {
			return &messages.SagaTurned{Step: p.name, Reason: p.do.reason}
		}
	}
	for _, group := range d.groups {
		done := true
		for _, name := range group {
			switch p := d.progress(s, name); p.do.phase {
			case idle:
				return d.intend(s, d.steps[name], do, at)
			case ended:
			default:
				done = false
			}
		}
		if !done {
			return nil
		}
	}
	return &messages.SagaEnded{Status: string(Completed)}
}

// goBack undoes what was done last, once everything that is on its way is settled.
func (d *Saga) goBack(s state, at time.Time) holdfast.Event {
	var last *progress
	for _, p := range s.steps {
		if p.open() {
			return nil
		}
		if p.undo.phase == idle && p.do.effective && d.steps[p.name].undo != nil && (last == nil || p.turn > last.turn) {
			last = p
		}
	}
	if last != nil {
		return d.intend(s, d.steps[last.name], undo, at)
	}
	if s.cancelled {
		return &messages.SagaEnded{Status: string(Cancelled), Reason: s.reason}
	}
	return &messages.SagaEnded{Status: string(Compensated), Reason: s.reason}
}

// intend makes the first intent of a step in a way.
func (d *Saga) intend(s state, st *step, way messages.SagaWay, at time.Time) holdfast.Event {
	e := &messages.SagaIntended{Step: st.name, Way: way, Attempt: 1}
	in := st.undo
	if way == do {
		in = st.do
		if st.timeout > 0 {
			e.Deadline = nanos(at.Add(st.timeout))
		}
	}
	id, c := in.make(s.data, s.reason)
	if c == nil {
		return e
	}
	e.To = formatRef(holdfast.Ref{Type: in.typ, ID: id})
	e.Command = mustPack(c)
	return e
}
