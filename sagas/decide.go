package sagas

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// aggregate makes the type that the saga is.
func (d *Saga[S]) aggregate() *holdfast.Type[state[S]] {
	return holdfast.Define(d.name,
		d.begin.part,
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
		holdfast.Evolve(d.acted),
		holdfast.Evolve(d.over),

		holdfast.Snapshot(d.save, d.load),
	)
}

// evolve is what the aggregate type does with an event.
func (d *Saga[S]) evolve(s state[S], e holdfast.Event) state[S] {
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
	case *messages.SagaActed:
		return d.acted(s, e)
	case *messages.SagaEnded:
		return d.over(s, e)
	}
	panic(fmt.Sprintf("sagas: %T is no event of a saga", e))
}

func (d *Saga[S]) start(s state[S], c holdfast.Command, at time.Time) (holdfast.Events, error) {
	if s.began {
		return nil, holdfast.Reject("already_begun", "the saga has begun already, and is %s", s.status())
	}
	if _, err := d.begin.begin(c); err != nil {
		return nil, err
	}
	return d.advance(s, at, &messages.SagaBegun{Input: mustPack(c)}), nil
}

// report takes what became of an intent. Of one that is over nothing is recorded: it was
// told twice.
func (d *Saga[S]) report(s state[S], c *messages.SagaReport, m holdfast.Meta) (holdfast.Events, error) {
	a := c.GetAnswer()
	i := slices.Index(d.order, a.GetStep())
	if !s.began || s.end != "" || i < 0 || !slices.Contains(ways, a.Way) {
		return nil, nil
	}
	r := s.steps[i].errand(a.Way)
	if r.phase != sent || r.attempt != a.Attempt {
		return nil, nil
	}
	e := proto.CloneOf(a)
	e.Again = 0
	if e.Code == "" {
		return d.advance(s, m.At, e), nil
	}
	st, code := d.steps[a.Step], holdfast.Code(e.Code)
	left := int(r.attempt-r.fresh) < st.retry.Attempts
	if passing := transient(code) || st.kind == retryable || a.Way != do; left && passing {
		e.Again = nanos(m.At.Add(st.retry.pause(a.Step, a.Attempt)))
	}
	return d.advance(s, m.At, e), nil
}

// transient reports whether a failure may pass.
func transient(code holdfast.Code) bool {
	switch code {
	case holdfast.CodeUnavailable, holdfast.CodeOverloaded, holdfast.CodeUncertain, holdfast.CodeConflict:
		return true
	}
	return false
}

// hear takes an event of another aggregate.
func (d *Saga[S]) hear(s state[S], c *messages.SagaHear, m holdfast.Meta) (holdfast.Events, error) {
	if !s.began || s.end != "" {
		return nil, nil
	}
	return d.advance(s, m.At, c.GetHeard()), nil
}

// wake looks for what is due.
func (d *Saga[S]) wake(s state[S], _ *messages.SagaWake, m holdfast.Meta) (holdfast.Events, error) {
	return d.advance(s, m.At), nil
}
