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

// act checks what holds for every action.
func (d *Saga[S]) act(s state[S], reason string) error {
	switch {
	case !s.began:
		return holdfast.Reject("not_begun", "there is no such saga")
	case s.end != "":
		return holdfast.Reject("over", "the saga is over: it is %s", s.end)
	case strings.TrimSpace(reason) == "":
		return holdfast.Reject("no_reason", "say why")
	}
	return nil
}

// open finds the errand of a step that is not done with: its compensation's, once that has
// begun.
func (d *Saga[S]) open(s state[S], step, reason string) (messages.SagaWay, *errand, error) {
	if err := d.act(s, reason); err != nil {
		return 0, nil, err
	}
	i := slices.Index(d.order, step)
	if i < 0 {
		return 0, nil, holdfast.Reject("no_such_step", "the saga has no step %q; it has %s", step, strings.Join(d.order, ", "))
	}
	for _, way := range []messages.SagaWay{undo, void, do} {
		switch r := s.steps[i].errand(way); r.phase {
		case sent:
			return 0, nil, holdfast.Reject("under_way", "the command of %q is on its way: wait for its answer", step)
		case pausing, exhausted, accepted:
			return way, r, nil
		}
	}
	return 0, nil, holdfast.Reject("not_open", "%q has not begun, or needs nothing more", step)
}

func (d *Saga[S]) retry(s state[S], c *messages.SagaRetry, m holdfast.Meta) (holdfast.Events, error) {
	way, r, err := d.open(s, c.Step, c.Reason)
	switch {
	case err != nil:
		return nil, err
	case r.phase == accepted:
		return nil, holdfast.Reject("waiting", "the command of %q was accepted, and it waits for an event", c.Step)
	}
	return d.advance(s, m.At, &messages.SagaActed{Action: actRetry, Step: c.Step, Way: way, Reason: c.Reason}), nil
}

func (d *Saga[S]) skip(s state[S], c *messages.SagaSkip, m holdfast.Meta) (holdfast.Events, error) {
	way, _, err := d.open(s, c.Step, c.Reason)
	if err != nil {
		return nil, err
	}
	return d.advance(s, m.At,
		&messages.SagaActed{Action: actSkip, Step: c.Step, Way: way, Reason: c.Reason},
		&messages.SagaStepEnded{Step: c.Step, Way: way, Skipped: true}), nil
}

func (d *Saga[S]) edit(s state[S], c *messages.SagaEdit, m holdfast.Meta) (holdfast.Events, error) {
	way, r, err := d.open(s, c.Step, c.Reason)
	switch {
	case err != nil:
		return nil, err
	case r.phase == accepted:
		return nil, holdfast.Reject("waiting", "the command of %q was accepted, and it waits for an event", c.Step)
	case c.Command.GetTypeUrl() != r.command.GetTypeUrl():
		return nil, holdfast.Reject("other_command", "%q sends a %s, and not a %s", c.Step, nameOf(r.command), nameOf(c.Command))
	}
	return d.advance(s, m.At, &messages.SagaActed{Action: actEdit, Step: c.Step, Way: way, Reason: c.Reason, Command: c.Command}), nil
}

func nameOf(a *anypb.Any) string { return string(a.MessageName()) }

func (d *Saga[S]) resume(s state[S], c *messages.SagaResume, m holdfast.Meta) (holdfast.Events, error) {
	if err := d.act(s, c.Reason); err != nil {
		return nil, err
	}
	if !s.stuck() {
		return nil, holdfast.Reject("not_stuck", "the saga is %s", s.status())
	}
	return d.advance(s, m.At, &messages.SagaActed{Action: actResume, Reason: c.Reason}), nil
}

func (d *Saga[S]) cancel(s state[S], c *messages.SagaCancel, m holdfast.Meta) (holdfast.Events, error) {
	if err := d.act(s, c.Reason); err != nil {
		return nil, err
	}
	if s.back {
		return nil, holdfast.Reject("turned_back", "the saga is undone already, because: %s", s.reason)
	}
	for i, name := range d.order {
		if p := s.steps[i].do.phase; d.steps[name].kind != compensatable && p != idle && p != failed {
			return nil, holdfast.Reject("past_pivot", "%q has begun, from where there is no way back", name)
		}
	}
	return d.advance(s, m.At,
		&messages.SagaActed{Action: actCancel, Reason: c.Reason},
		&messages.SagaTurned{Reason: c.Reason, Cancelled: true}), nil
}

func (d *Saga[S]) force(s state[S], c *messages.SagaForce, m holdfast.Meta) (holdfast.Events, error) {
	if err := d.act(s, c.Reason); err != nil {
		return nil, err
	}
	if !Status(c.Status).Final() {
		return nil, holdfast.Reject("no_such_status", "a saga can be forced to be %s, %s or %s", Completed, Compensated, Cancelled)
	}
	return d.advance(s, m.At,
		&messages.SagaActed{Action: actForce, Reason: c.Reason},
		&messages.SagaEnded{Status: c.Status, Reason: c.Reason, Forced: true}), nil
}
