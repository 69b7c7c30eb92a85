package sagas

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// evolve is what the aggregate type does with an event.
func (d *Saga) evolve(s state, e holdfast.Event) state {
	switch e := e.(type) {
	case *messages.SagaBegun:
		return d.begun(s, e)
	case *messages.SagaHeard:
		return d.heard(s, e)
	case *messages.SagaIntended:
		return d.intended(s, e)
	case *messages.SagaAnswered:
		return d.answered(s, e)
	case *messages.SagaStepEnded:
		return d.stepEnded(s, e)
	case *messages.SagaTurned:
		return d.turned(s, e)
	case *messages.SagaAlarmed:
		return d.alarmed(s, e)
	case *messages.SagaRang:
		return d.rang(s, e)
	case *messages.SagaClosing:
		return d.closed(s, e)
	case *messages.SagaParked:
		return d.parked(s, e)
	case *messages.SagaUnparked:
		return d.unparked(s, e)
	case *messages.SagaRouted:
		return d.routed(s, e)
	case *messages.SagaActed:
		return d.acted(s, e)
	case *messages.SagaEnded:
		return d.over(s, e)
	}
	return d.recorded(s, e)
}

// progress finds a step. One that the definition does not have (any more) stops the saga
// loudly: what it has done could not be undone.
func (d *Saga) progress(s state, name string) *progress {
	p := s.step(name)
	if p == nil {
		panic(fmt.Sprintf("sagas: the saga %s has recorded the step %q, which its definition does not have: keep it as long as such sagas run", d.name, name))
	}
	return p
}

// stepOf gives the definition of a step.
func (d *Saga) stepOf(name string) *step {
	if st := d.steps[name]; st != nil {
		return st
	}
	return d.sending
}

func (d *Saga) begun(s state, e *messages.SagaBegun) state {
	s.id, s.began, s.input, s.data = string(e.Id), true, e.Input, d.zero
	s.meta = holdfast.Meta{CorrelationID: e.CorrelationId, User: e.User}
	if d.begin == nil {
		return s
	}
	s.data = d.begin.begun(s.id, mustOpen(e.Input))
	for _, name := range d.order {
		s.steps = append(s.steps, &progress{name: name})
	}
	return s
}

func (d *Saga) heard(s state, e *messages.SagaHeard) state {
	if d.reacts() {
		return s // what came of it is recorded
	}
	event := mustOpen(e.Event)
	h, ok := d.hears[eventName(event)]
	if !ok {
		panic(fmt.Sprintf("sagas: the saga %s has heard of a %s, for which its definition has no Hear: keep it as long as such sagas run", d.name, eventName(event)))
	}
	s.data = h.hear(s.data, event, sourceOf(e.From))
	s.past = append(slices.Clip(s.past), e)
	return s
}

func sourceOf(m *messages.SagaSource) Source {
	ref, _ := parseRef(m.GetRef()) // an odd one is empty
	return Source{Ref: ref, Version: holdfast.Version(m.GetVersion()), Time: time.Unix(0, m.GetTime()).UTC(), User: m.GetUser()}
}

func (d *Saga) intended(s state, e *messages.SagaIntended) state {
	if d.reacts() && s.step(e.Step) == nil {
		s.steps = append(slices.Clip(s.steps), &progress{name: e.Step})
	}
	return s.with(d.progress(s, e.Step), func(p *progress) {
		r := p.errand(e.Way)
		r.phase, r.attempt, r.to, r.command, r.edits = sent, e.Attempt, e.To, e.Command, e.Edits
		r.deadline, r.since = timeAt(e.Deadline), timeAt(e.Since)
		switch {
		case e.Way == void:
			r.of = e.Of
			p.errand(e.Of).phase = doomed
		case r.instead != nil:
			r.instead, r.insteadTo, r.fresh, p.void = nil, "", e.Attempt-1, errand{}
		}
	})
}

func (d *Saga) answered(s state, e *messages.SagaAnswered) state {
	return s.with(d.progress(s, e.Step), func(p *progress) {
		r := p.errand(e.Way)
		code := holdfast.Code(e.Code)
		switch code {
		case "":
			r.phase, r.uncertain = accepted, false
			if of := p.errand(r.of); e.Way == void && len(e.Events) > 0 {
				of.phase, of.effective, of.instead, of.insteadTo = accepted, true, nil, ""
			}
			r.effective = true
			return
		case holdfast.CodeUncertain:
			r.uncertain = true
		case holdfast.CodeRejected: // it was decided on, so its id is not recorded
			r.uncertain = false
		default:
		}
		r.reason = why(e)
		switch {
		case e.Again != 0:
			r.phase, r.again = pausing, timeAt(e.Again)
		case e.Way == do && d.stepOf(e.Step).kind != retryable:
			r.phase = doomed
		default:
			r.phase = exhausted
		}
	})
}

func why(a *messages.SagaAnswered) string {
	if a.Reason != "" {
		return a.Reason + ": " + a.Message
	}
	return a.Code + ": " + a.Message
}

func (d *Saga) stepEnded(s state, e *messages.SagaStepEnded) state {
	s.turns++
	turn := s.turns
	return s.with(d.progress(s, e.Step), func(p *progress) {
		r := p.errand(e.Way)
		switch {
		case e.Failed == "":
			r.phase = ended
		case e.Stuck:
			r.phase, r.reason = exhausted, e.Failed
		default:
			r.phase, r.reason = failed, e.Failed
		}
		if e.Way == do {
			p.turn = turn
		}
	})
}

func (d *Saga) turned(s state, e *messages.SagaTurned) state {
	s.back, s.cancelled, s.reason = true, e.Cancelled, e.Reason
	return s
}

// acted has an operator's help take effect: what was exhausted, or pauses, is due at once.
func (d *Saga) acted(s state, e *messages.SagaActed) state {
	switch e.Action {
	case actRetry:
		return s.with(d.progress(s, e.Step), func(p *progress) { p.help(e.Way) })
	case actEdit:
		return s.with(d.progress(s, e.Step), func(p *progress) {
			r := p.errand(e.Way)
			r.phase, r.instead, r.insteadTo = doomed, e.Command, e.To
		})
	case actResume:
		for _, p := range s.steps {
			s = s.with(p, func(p *progress) {
				for _, way := range ways {
					if p.errand(way).phase == exhausted {
						p.help(way)
					}
				}
			})
		}
	}
	return s
}

// help has an errand tried again, now. When it is certain that the command is not executed
// any more, it goes out under another id.
func (p *progress) help(way messages.SagaWay) {
	r := p.errand(way)
	if p.void.phase == ended && p.void.of == way {
		r.phase, r.instead, r.insteadTo = doomed, r.command, ""
		return
	}
	r.phase, r.again, r.fresh = pausing, time.Time{}, r.attempt
}

func (d *Saga) over(s state, e *messages.SagaEnded) state {
	s.end, s.reason = Status(e.Status), e.Reason
	return s
}

// formatRef gives a ref in the form in which it can be recorded: an id may have any bytes.
func formatRef(ref holdfast.Ref) string {
	id, err := messages.EncodeID(ref.ID)
	if err != nil {
		panic(fmt.Sprintf("%s cannot be the name of an aggregate: %v", ref, err))
	}
	return messages.FormatRef(ref.Type, id)
}

func parseRef(s string) (holdfast.Ref, error) {
	typ, id, err := messages.ParseRef(s)
	if err != nil {
		return holdfast.Ref{}, err
	}
	return holdfast.Ref{Type: typ, ID: id.Raw()}, nil
}

// mustOpen opens what the log has. What cannot be opened stops the saga loudly.
func mustOpen(a *anypb.Any) holdfast.Event {
	m, err := a.UnmarshalNew()
	if err != nil {
		panic(fmt.Sprintf("sagas: what was recorded as %s cannot be read: %v", a.GetTypeUrl(), err))
	}
	return m
}

func mustPack(m holdfast.Command) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(fmt.Sprintf("sagas: a %T cannot be encoded: %v", m, err))
	}
	return a
}

func timeAt(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
