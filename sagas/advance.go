package sagas

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

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
func (d *Saga[S]) advance(s state[S], at time.Time, events ...holdfast.Event) holdfast.Events {
	for i := 0; ; i++ {
		if i == len(events) {
			e := d.next(s, at)
			if e == nil {
				return events
			}
			events = append(events, e)
		}
		s = d.evolve(s, events[i])
	}
}

// next gives the one event that follows from the state by itself, nil if none does.
func (d *Saga[S]) next(s state[S], at time.Time) holdfast.Event {
	if !s.began || s.end != "" {
		return nil
	}
	for i, name := range d.order {
		p := &s.steps[i]
		if e := d.settle(s, d.steps[name], p, at); e != nil {
			return e
		}
		for _, way := range ways {
			if r := p.errand(way); r.phase == pausing && !at.Before(r.again) {
				return &messages.SagaIntended{
					Step: name, Way: way, Attempt: r.attempt + 1, To: r.to, Command: r.command, Edits: r.edits, Deadline: nanos(r.deadline), Of: r.of,
				}
			}
		}
	}
	switch {
	case s.back:
		return d.goBack(s, at)
	case s.stuck():
		return nil
	}
	return d.goOn(s, at)
}

// settle gives what follows for one step from what its errands have come to. A step has
// failed only when it is certain that its command will not be executed yet: until the
// aggregate has said so, it may be.
func (d *Saga[S]) settle(s state[S], st *step[S], p *progress, at time.Time) holdfast.Event {
	end := func(way messages.SagaWay, failed string) holdfast.Event {
		return &messages.SagaStepEnded{Step: st.name, Way: way, Failed: failed}
	}
	late := !p.do.deadline.IsZero() && !at.Before(p.do.deadline)
	switch {
	case p.void.phase == accepted:
		return end(void, "")
	case p.undo.phase == accepted, p.undo.phase == sent && p.undo.to == "":
		return end(undo, "")
	case p.do.phase == sent && p.do.to == "", p.do.phase == accepted && st.until == nil:
		return end(do, "")
	case p.do.phase == accepted:
		switch v := st.until(s.data); {
		case v.ended:
			return end(do, v.failed)
		case s.back:
			return end(do, "the saga turned back while it waited")
		case late:
			return end(do, fmt.Sprintf("what it waits for has not come within %v", st.timeout))
		}
	case p.do.phase == pausing && (late || s.back) && p.void.phase == idle:
		return d.ensure(st, do, &p.do)
	}
	for _, way := range []messages.SagaWay{do, undo} {
		switch r := p.errand(way); {
		case r.phase != doomed:
		case p.void.phase == idle || p.void.of != way:
			return d.ensure(st, way, r)
		case p.void.phase != ended:
		case r.instead != nil:
			return &messages.SagaIntended{
				Step: st.name, Way: way, Attempt: r.attempt + 1, To: r.to, Command: r.instead, Edits: r.edits + 1, Deadline: nanos(r.deadline),
			}
		default:
			return end(way, r.reason)
		}
	}
	return nil
}

// ensure makes certain that a command is not executed any more.
func (d *Saga[S]) ensure(st *step[S], way messages.SagaWay, r *errand) holdfast.Event {
	return &messages.SagaIntended{Step: st.name, Way: void, Of: way, Attempt: 1, To: r.to, Edits: r.edits}
}

// goOn begins what comes next, or turns back when a step has failed.
func (d *Saga[S]) goOn(s state[S], at time.Time) holdfast.Event {
	for i, name := range d.order {
		if r := s.steps[i].do; r.phase == failed {
			return &messages.SagaTurned{Step: name, Reason: r.reason}
		}
	}
	for _, group := range d.groups {
		done := true
		for _, name := range group {
			switch r := s.steps[d.index(name)].do; r.phase {
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
func (d *Saga[S]) goBack(s state[S], at time.Time) holdfast.Event {
	last := -1
	for i, p := range s.steps {
		if p.do.open() || p.undo.open() || p.void.open() {
			return nil
		}
		if p.undo.phase == idle && p.do.effective && d.steps[d.order[i]].undo != nil && (last < 0 || p.turn > s.steps[last].turn) {
			last = i
		}
	}
	if last >= 0 {
		return d.intend(s, d.steps[d.order[last]], undo, at)
	}
	if s.cancelled {
		return &messages.SagaEnded{Status: string(Cancelled), Reason: s.reason}
	}
	return &messages.SagaEnded{Status: string(Compensated), Reason: s.reason}
}

// intend makes the first intent of a step in a way.
func (d *Saga[S]) intend(s state[S], st *step[S], way messages.SagaWay, at time.Time) holdfast.Event {
	e := &messages.SagaIntended{Step: st.name, Way: way, Attempt: 1}
	in := st.undo
	if way == do {
		in = st.do
		if st.timeout > 0 {
			e.Deadline = nanos(at.Add(st.timeout))
		}
	}
	id, c := in.make(s.data)
	if c == nil {
		return e
	}
	e.To = holdfast.Ref{Type: in.typ, ID: id}.String()
	e.Command = mustPack(c)
	return e
}

func mustPack(m holdfast.Command) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(fmt.Sprintf("sagas: a %T cannot be encoded: %v", m, err))
	}
	return a
}
