package sagas

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// index gives the place of a step among the others. A step that the definition does not
// have (any more) stops the saga loudly: what it has done could not be undone.
func (d *Saga[S]) index(name string) int {
	i := slices.Index(d.order, name)
	if i < 0 {
		panic(fmt.Sprintf("sagas: the saga %s has recorded the step %q, which its definition does not have: keep it as long as such sagas run", d.name, name))
	}
	return i
}

func (d *Saga[S]) begun(s state[S], e *messages.SagaBegun) state[S] {
	c := mustOpen(e.Input)
	data, err := d.begin.begin(c)
	if err != nil {
		panic(fmt.Sprintf("sagas: the saga %s has begun with a %s, which it now refuses: %v", d.name, d.begin.command.Descriptor().Name(), err))
	}
	s.began, s.input, s.data, s.steps = true, e.Input, data, make([]progress, len(d.order))
	return s
}

func (d *Saga[S]) heard(s state[S], e *messages.SagaHeard) state[S] {
	event := mustOpen(e.Event)
	h, ok := d.hears[event.ProtoReflect().Descriptor().FullName()]
	if !ok {
		panic(fmt.Sprintf("sagas: the saga %s has heard of a %s, for which its definition has no Hear: keep it as long as such sagas run", d.name, event.ProtoReflect().Descriptor().FullName()))
	}
	s.data = h.hear(s.data, event, sourceOf(e.From))
	s.past = append(slices.Clip(s.past), e)
	return s
}

func sourceOf(m *messages.SagaSource) Source {
	ref, _ := holdfast.ParseRef(m.GetRef()) // an odd one is empty
	return Source{Ref: ref, Version: holdfast.Version(m.GetVersion()), Time: time.Unix(0, m.GetTime()).UTC(), User: m.GetUser()}
}

func (d *Saga[S]) intended(s state[S], e *messages.SagaIntended) state[S] {
	return s.with(d.index(e.Step), func(p *progress) {
		r := p.errand(e.Way)
		r.phase, r.attempt, r.to, r.command, r.edits = sent, e.Attempt, e.To, e.Command, e.Edits
		r.deadline = timeAt(e.Deadline)
		switch {
		case e.Way == void:
			r.of = e.Of
			p.errand(e.Of).phase = doomed
		case r.instead != nil:
			r.instead, r.fresh, p.void = nil, e.Attempt-1, errand{}
		}
	})
}

func (d *Saga[S]) answered(s state[S], e *messages.SagaAnswered) state[S] {
	return s.with(d.index(e.Step), func(p *progress) {
		r := p.errand(e.Way)
		code := holdfast.Code(e.Code)
		switch {
		case code == "":
			r.phase, r.uncertain = accepted, false
			if of := p.errand(r.of); e.Way == void && len(e.Events) > 0 {
				of.phase, of.effective, of.instead = accepted, true, nil
			}
			r.effective = true
			return
		case code == holdfast.CodeUncertain:
			r.uncertain = true
		case code == holdfast.CodeRejected: // it was decided on, so its id is not recorded
			r.uncertain = false
		}
		r.reason = why(e)
		switch {
		case e.Again != 0:
			r.phase, r.again = pausing, timeAt(e.Again)
		case e.Way == do && d.steps[e.Step].kind != retryable:
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

func (d *Saga[S]) stepEnded(s state[S], e *messages.SagaStepEnded) state[S] {
	s.turns++
	turn := s.turns
	return s.with(d.index(e.Step), func(p *progress) {
		r := p.errand(e.Way)
		switch {
		case e.Failed == "":
			r.phase = ended
		case d.steps[e.Step].kind == retryable || e.Way != do:
			r.phase, r.reason = exhausted, e.Failed
		default:
			r.phase, r.reason = failed, e.Failed
		}
		if e.Way == do {
			p.turn = turn
		}
	})
}

func (d *Saga[S]) turned(s state[S], e *messages.SagaTurned) state[S] {
	s.back, s.cancelled, s.reason = true, e.Cancelled, e.Reason
	return s
}

// acted has an operator's help take effect: what was exhausted, or pauses, is due at once.
func (d *Saga[S]) acted(s state[S], e *messages.SagaActed) state[S] {
	switch e.Action {
	case actRetry:
		return s.with(d.index(e.Step), func(p *progress) { p.errand(e.Way).help() })
	case actEdit:
		return s.with(d.index(e.Step), func(p *progress) {
			r := p.errand(e.Way)
			r.phase, r.instead = doomed, e.Command
		})
	case actResume:
		for i := range s.steps {
			s = s.with(i, func(p *progress) {
				for _, way := range ways {
					if r := p.errand(way); r.phase == exhausted {
						r.help()
					}
				}
			})
		}
	}
	return s
}

func (r *errand) help() { r.phase, r.again, r.fresh = pausing, time.Time{}, r.attempt }

func (d *Saga[S]) over(s state[S], e *messages.SagaEnded) state[S] {
	s.end, s.reason = Status(e.Status), e.Reason
	return s
}

// mustOpen opens what the log has. What cannot be opened stops the saga loudly.
func mustOpen(a *anypb.Any) holdfast.Event {
	m, err := a.UnmarshalNew()
	if err != nil {
		panic(fmt.Sprintf("sagas: what was recorded as %s cannot be read: %v", a.GetTypeUrl(), err))
	}
	return m
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
