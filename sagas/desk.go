package sagas

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// What an operator can do to a saga.
const (
	actRetry  = "retry"
	actSkip   = "skip"
	actEdit   = "edit"
	actResume = "resume"
	actCancel = "cancel"
	actForce  = "force"
)

// act checks what holds for every action, and takes it.
func (d *Saga) act(s state, reason string, f func() (holdfast.Events, error)) (events holdfast.Events, err error) {
	switch {
	case s.status() == "":
		return nil, holdfast.Reject("not_begun", "there is no such saga")
	case s.end != "":
		return nil, holdfast.Reject("over", "the saga is over: it is %s", s.end)
	case strings.TrimSpace(reason) == "":
		return nil, holdfast.Reject("no_reason", "say why")
	}
	defer func() {
		if r := recover(); r != nil {
			events, err = nil, holdfast.Reject("still_failing", "%s", sentence(r))
		}
	}()
	return f()
}

// open finds the errand of a step that is not done with: its compensation's, once that has
// begun.
func (d *Saga) open(s state, step string) (messages.SagaWay, *errand, error) {
	p := s.step(step)
	if p == nil {
		var names []string
		for _, p := range s.steps {
			names = append(names, p.name)
		}
		return 0, nil, holdfast.Reject("no_such_step", "the saga has no step %q; it has %s", step, strings.Join(names, ", "))
	}
	for _, way := range []messages.SagaWay{undo, void, do} {
		switch r := p.errand(way); r.phase {
		case sent:
			return 0, nil, holdfast.Reject("under_way", "the command of %q is on its way: wait for its answer", step)
		case pausing, exhausted, accepted:
			return way, r, nil
		default:
		}
	}
	return 0, nil, holdfast.Reject("not_open", "%q has not begun, or needs nothing more", step)
}

// sendable is open for an errand whose command can be sent again.
func (d *Saga) sendable(s state, step string) (messages.SagaWay, *errand, error) {
	way, r, err := d.open(s, step)
	if err == nil && r.phase == accepted {
		err = holdfast.Reject("waiting", "the command of %q was accepted, and it waits for an event", step)
	}
	return way, r, err
}

func (d *Saga) retry(s state, c *messages.SagaRetry, m holdfast.Meta) (holdfast.Events, error) {
	return d.act(s, c.Reason, func() (holdfast.Events, error) {
		way, _, err := d.sendable(s, c.Step)
		if err != nil {
			return nil, err
		}
		return d.advance(s, m.At, &messages.SagaActed{Action: actRetry, Step: c.Step, Way: way, Reason: c.Reason}), nil
	})
}

func (d *Saga) skip(s state, c *messages.SagaSkip, m holdfast.Meta) (holdfast.Events, error) {
	return d.act(s, c.Reason, func() (holdfast.Events, error) {
		e := &messages.SagaActed{Action: actSkip, Step: c.Step, Reason: c.Reason}
		if c.Step == "" && len(s.parked) > 0 {
			events := holdfast.Events{e, &messages.SagaUnparked{}}
			if !s.began && len(s.parked) == 1 { // there never was a saga
				events = append(events, &messages.SagaEnded{Status: string(Cancelled), Reason: c.Reason})
			}
			return d.advance(s, m.At, events...), nil
		}
		way, _, err := d.open(s, c.Step)
		if err != nil {
			return nil, err
		}
		e.Way = way
		return d.advance(s, m.At, e, &messages.SagaStepEnded{Step: c.Step, Way: way, Skipped: true}), nil
	})
}

func (d *Saga) edit(s state, c *messages.SagaEdit, m holdfast.Meta) (holdfast.Events, error) {
	return d.act(s, c.Reason, func() (holdfast.Events, error) {
		way, r, err := d.sendable(s, c.Step)
		switch {
		case err != nil:
			return nil, err
		case way == void:
			return nil, holdfast.Reject("under_way", "it is being made certain that the command of %q is not executed: wait, or retry", c.Step)
		case c.Command.GetTypeUrl() != r.command.GetTypeUrl():
			return nil, holdfast.Reject("other_command", "%q sends a %s, and not a %s", c.Step, nameOf(r.command), nameOf(c.Command))
		}
		if _, err := parseRef(c.To); c.To != "" && err != nil {
			return nil, holdfast.Reject("no_such_aggregate", "%v", err)
		}
		return d.advance(s, m.At, &messages.SagaActed{Action: actEdit, Step: c.Step, Way: way, Reason: c.Reason, Command: c.Command, To: c.To}), nil
	})
}

func nameOf(a *anypb.Any) string { return string(a.MessageName()) }

func (d *Saga) resume(s state, c *messages.SagaResume, m holdfast.Meta) (holdfast.Events, error) {
	return d.act(s, c.Reason, func() (holdfast.Events, error) {
		if !s.stuck() {
			return nil, holdfast.Reject("not_stuck", "the saga is %s", s.status())
		}
		return d.unpark(s, m, &messages.SagaActed{Action: actResume, Reason: c.Reason})
	})
}

func (d *Saga) cancel(s state, c *messages.SagaCancel, m holdfast.Meta) (holdfast.Events, error) {
	return d.act(s, c.Reason, func() (holdfast.Events, error) {
		e := &messages.SagaActed{Action: actCancel, Reason: c.Reason}
		switch {
		case len(s.parked) > 0:
			return nil, holdfast.Reject("parked", "something is parked: resume the saga, or skip that, first")
		case !d.reacts():
			return d.turnBack(s, e, m)
		case d.cancels == nil:
			return nil, holdfast.Reject("no_cancel", "the saga does not say what is to be done when it is cancelled: force its end")
		case s.closing != "":
			return nil, holdfast.Reject("over", "the saga is about to be %s", s.closing)
		}
		return d.advance(s, m.At, append(holdfast.Events{e}, d.follow(s, d.cancels(d.dataOf(s), c.Reason), m.At)...)...), nil
	})
}

// turnBack cancels a saga of steps.
func (d *Saga) turnBack(s state, e *messages.SagaActed, m holdfast.Meta) (holdfast.Events, error) {
	if s.back {
		return nil, holdfast.Reject("turned_back", "the saga is undone already, because: %s", s.reason)
	}
	turn := func(p *progress) bool {
		return d.steps[p.name].kind != compensatable && p.do.phase != idle && p.do.phase != failed
	}
	if i := slices.IndexFunc(s.steps, turn); i >= 0 {
		return nil, holdfast.Reject("past_pivot", "%q has begun, from where there is no way back", s.steps[i].name)
	}
	return d.advance(s, m.At, e, &messages.SagaTurned{Reason: e.Reason, Cancelled: true}), nil
}

func (d *Saga) force(s state, c *messages.SagaForce, m holdfast.Meta) (holdfast.Events, error) {
	return d.act(s, c.Reason, func() (holdfast.Events, error) {
		if !Status(c.Status).Final() {
			return nil, holdfast.Reject("no_such_status", "a saga can be forced to be %s, %s or %s", Completed, Compensated, Cancelled)
		}
		return d.advance(s, m.At,
			&messages.SagaActed{Action: actForce, Reason: c.Reason},
			&messages.SagaEnded{Status: c.Status, Reason: c.Reason, Forced: true}), nil
	})
}
