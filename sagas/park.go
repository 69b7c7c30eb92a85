package sagas

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// behind is the reason of what is parked only because something else is.
const behind = "it waits behind what was parked before"

// accept takes in what comes from outside, or parks it when one of the saga's functions
// panics: nothing is lost, and no other saga is concerned.
func (d *Saga) accept(s state, input proto.Message, at time.Time) (events holdfast.Events, err error) {
	if len(s.parked) > 0 && s.end == "" {
		if _, wake := input.(*messages.SagaWake); wake {
			return nil, nil
		}
		return holdfast.Events{&messages.SagaParked{Input: mustPack(input), Reason: behind}}, nil
	}
	defer func() {
		if r := recover(); r != nil {
			events, err = holdfast.Events{&messages.SagaParked{Input: mustPack(input), Reason: fmt.Sprint(r)}}, nil
		}
	}()
	return d.take(s, input, at)
}

// take takes in what comes from outside. It panics when one of the saga's functions does.
func (d *Saga) take(s state, input proto.Message, at time.Time) (holdfast.Events, error) {
	switch c := input.(type) {
	case *messages.SagaHear:
		return d.listen(s, c.GetHeard(), at)
	case *messages.SagaReport:
		return d.conclude(s, c.GetAnswer(), at), nil
	case *messages.SagaWake:
		return d.advance(s, at), nil
	}
	panic(fmt.Sprintf("%T is nothing that a saga takes in", input))
}

func (d *Saga) report(s state, c *messages.SagaReport, m holdfast.Meta) (holdfast.Events, error) {
	return d.accept(s, c, m.At)
}

func (d *Saga) hear(s state, c *messages.SagaHear, m holdfast.Meta) (holdfast.Events, error) {
	return d.accept(s, c, m.At)
}

func (d *Saga) wake(s state, c *messages.SagaWake, m holdfast.Meta) (holdfast.Events, error) {
	return d.accept(s, c, m.At)
}

// unpark takes in what was parked, in order, after the events that are given. It panics as
// take does.
func (d *Saga) unpark(s state, at time.Time, events ...holdfast.Event) (holdfast.Events, error) {
	for _, e := range events {
		s = d.evolve(s, e)
	}
	for len(s.parked) > 0 {
		input := mustOpen(s.parked[0].Input)
		more := holdfast.Events{&messages.SagaUnparked{}}
		s = d.evolve(s, more[0])
		taken, err := d.take(s, input, at)
		if err != nil {
			return nil, err
		}
		for _, e := range taken {
			s = d.evolve(s, e)
		}
		events = append(append(events, more...), taken...)
	}
	for _, e := range d.advance(s, at) {
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
