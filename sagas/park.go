package sagas

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// behind is the reason of what is parked only because something else is.
const behind = "it waits behind what was parked before"

// accept takes in what comes from outside, or parks it when one of the saga's functions
// panics: nothing is lost, and no other saga is concerned.
func (d *Saga) accept(s state, input proto.Message, m holdfast.Meta) (events holdfast.Events, err error) {
	if len(s.parked) > 0 && s.end == "" {
		if _, wake := input.(*messages.SagaWake); wake {
			return nil, nil
		}
		return holdfast.Events{&messages.SagaParked{Input: mustPack(input), Reason: behind}}, nil
	}
	defer func() {
		if r := recover(); r != nil {
			events, err = holdfast.Events{&messages.SagaParked{Input: mustPack(input), Reason: sentence(r)}}, nil
		}
	}()
	return d.take(s, input, m)
}

// sentence makes what a function panicked with something that can be recorded.
func sentence(panicked any) string { return strings.ToValidUTF8(fmt.Sprint(panicked), "\uFFFD") }

// take takes in what comes from outside. It panics when one of the saga's functions does.
func (d *Saga) take(s state, input proto.Message, m holdfast.Meta) (holdfast.Events, error) {
	switch c := input.(type) {
	case *messages.SagaHear:
		if c.Unrouted != "" {
			return d.pass(s, c), nil
		}
		return d.listen(s, c.GetHeard(), m)
	case *messages.SagaReport:
		return d.conclude(s, c.GetAnswer(), m.At), nil
	case *messages.SagaWake:
		return d.advance(s, m.At), nil
	}
	panic(fmt.Sprintf("%T is nothing that a saga takes in", input))
}

func (d *Saga) report(s state, c *messages.SagaReport, m holdfast.Meta) (holdfast.Events, error) {
	return d.accept(s, c, m)
}

func (d *Saga) hear(s state, c *messages.SagaHear, m holdfast.Meta) (holdfast.Events, error) {
	return d.accept(s, c, m)
}

func (d *Saga) wake(s state, c *messages.SagaWake, m holdfast.Meta) (holdfast.Events, error) {
	return d.accept(s, c, m)
}

// unpark takes in what was parked, in order, after the events that are given. It panics as
// take does.
func (d *Saga) unpark(s state, m holdfast.Meta, events ...holdfast.Event) (holdfast.Events, error) {
	for _, e := range events {
		s = d.evolve(s, e)
	}
	for len(s.parked) > 0 {
		input := mustOpen(s.parked[0].Input)
		more := holdfast.Events{&messages.SagaUnparked{}}
		s = d.evolve(s, more[0])
		taken, err := d.take(s, input, m)
		if err != nil {
			return nil, err
		}
		for _, e := range taken {
			s = d.evolve(s, e)
		}
		events = append(append(events, more...), taken...)
	}
	for _, e := range d.advance(s, m.At) {
		events = append(events, e)
	}
	return events, nil
}

func (d *Saga) parked(s state, e *messages.SagaParked) state {
	s.parked = append(slices.Clip(s.parked), e)
	return s
}

func (d *Saga) unparked(s state, _ *messages.SagaUnparked) state {
	s.parked = s.parked[1:]
	return s
}

// pass passes an event on, of which it could not be said which saga it concerns. It panics
// when that still cannot be said.
func (d *Saga) pass(s state, c *messages.SagaHear) holdfast.Events {
	if s.status() != "" { // it has been passed on, or an operator has ended it
		return nil
	}
	event, from := mustOpen(c.Heard.Event), sourceOf(c.Heard.From)
	i := slices.IndexFunc(d.triggers, func(t trigger) bool { return t.event == eventName(event) && t.typ == from.Ref.Type })
	if i < 0 {
		panic(c.Unrouted)
	}
	to, fault := d.triggers[i].find(event, from)
	switch {
	case fault != "":
		panic(fault)
	case to == "":
		return holdfast.Events{&messages.SagaEnded{Status: string(Completed), Reason: "the event concerns no saga"}}
	}
	return holdfast.Events{&messages.SagaRouted{To: to, Heard: c.Heard}}
}

func (d *Saga) routed(s state, e *messages.SagaRouted) state {
	s.end, s.reason = Completed, "the event was passed on to "+e.To
	return s
}
