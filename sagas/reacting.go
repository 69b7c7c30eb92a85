package sagas

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// obey takes a client's command for a saga of reactions.
func (d *Saga) obey(s state, c holdfast.Command, m holdfast.Meta) (holdfast.Events, error) {
	switch {
	case s.end != "":
		return nil, holdfast.Reject("over", "the saga is over: it is %s", s.end)
	case s.closing != "":
		return nil, holdfast.Reject("over", "the saga is about to be %s", s.closing)
	case len(s.parked) > 0:
		return nil, holdfast.Reject("stuck", "the saga is stuck, because: %s", s.parked[0].Reason)
	}
	t, err := d.commands[eventName(c)](d.dataOf(s), c)
	if err != nil {
		return nil, err
	}
	events := d.follow(s, t, m.At)
	if !s.began && len(events) > 0 {
		events = append(holdfast.Events{begun(m, mustPack(c), nil)}, events...)
	}
	return d.advance(s, m.At, events...), nil
}

// react takes an event of another aggregate.
func (d *Saga) react(s state, h *messages.SagaHeard, e holdfast.Event, m holdfast.Meta) holdfast.Events {
	t := d.events[eventName(e)].react(d.dataOf(s), e, sourceOf(h.From))
	if s.began { // whatever it does, it does once
		return d.advance(s, m.At, append(holdfast.Events{h}, d.follow(s, t, m.At)...)...)
	}
	if t.nothing() {
		return nil
	}
	return d.advance(s, m.At, append(holdfast.Events{begun(m, nil, h.From), h}, d.follow(s, t, m.At)...)...)
}

// dataOf gives the data that a reaction works with.
func (d *Saga) dataOf(s state) any {
	if s.data == nil {
		return d.zero
	}
	return s.data
}

// follow gives the events that a reaction asks for. It panics when it asks for what cannot
// be.
func (d *Saga) follow(s state, t Then, at time.Time) (events holdfast.Events) {
	for _, e := range t.Record {
		if d.evolves[eventName(e)] == nil {
			panic(fmt.Sprintf("the saga %s records a %s, for which it has no Evolve", d.name, eventName(e)))
		}
		events = append(events, e)
	}
	for _, w := range t.Wake {
		if d.times[w.Name] == nil {
			panic(fmt.Sprintf("the saga %s wants to be woken for %q, for which it has no OnTime", d.name, w.Name))
		}
		e := &messages.SagaAlarmed{Name: w.Name}
		if w.After > 0 {
			e.At = nanos(at.Add(w.After))
		} else if !slices.ContainsFunc(s.alarms, func(a alarm) bool { return a.name == w.Name }) {
			continue
		}
		events = append(events, e)
	}
	for i, c := range t.Send {
		same := func(o Send) bool { return o.Name == c.Name }
		switch {
		case !sendName.MatchString(c.Name):
			panic(fmt.Sprintf("the saga %s sends %q: bad name: want a name as in reserve, or reserve:sku-7", d.name, c.Name))
		case s.step(c.Name) != nil || slices.ContainsFunc(t.Send[:i], same):
			panic(fmt.Sprintf("the saga %s sends %q for the second time: give each command a name of its own", d.name, c.Name))
		case c.Command == nil || !c.Command.ProtoReflect().IsValid():
			panic(fmt.Sprintf("the saga %s sends %q without a command", d.name, c.Name))
		}
		events = append(events, &messages.SagaIntended{Step: c.Name, Way: do, Attempt: 1, To: formatRef(c.To), Command: mustPack(c.Command)})
	}
	if t.Done != "" {
		if !t.Done.Final() {
			panic(fmt.Sprintf("the saga %s is done, and %q: choose %s, %s or %s", d.name, t.Done, Completed, Compensated, Cancelled))
		}
		events = append(events, &messages.SagaClosing{Status: string(t.Done), Reason: t.Because})
	}
	return events
}

// reaction gives what a saga of reactions does by itself: it rings, and ends.
func (d *Saga) reaction(s state, at time.Time) holdfast.Events {
	if s.closing != "" {
		if slices.ContainsFunc(s.steps, (*progress).open) {
			return nil
		}
		return holdfast.Events{&messages.SagaEnded{Status: string(s.closing), Reason: s.reason}}
	}
	for _, a := range s.alarms {
		if !at.Before(a.at) {
			return append(holdfast.Events{&messages.SagaRang{Name: a.name}}, d.follow(s, d.times[a.name](s.data), at)...)
		}
	}
	return nil
}

// told gives what a saga of reactions does when it is known what became of a command.
func (d *Saga) told(s state, name, failed string, at time.Time) holdfast.Events {
	react := d.answers[kindOf(name)]
	e := &messages.SagaStepEnded{Step: name, Way: do, Failed: failed}
	switch {
	case s.closing != "", react == nil:
		e.Stuck = failed != ""
		return holdfast.Events{e}
	}
	a := Answer{Name: name}
	a.Reason, a.Message, _ = strings.Cut(failed, ": ")
	return append(holdfast.Events{e}, d.follow(s, react(s.data, a), at)...)
}

// recorded has an event of the saga's own take effect.
func (d *Saga) recorded(s state, e holdfast.Event) state {
	s.data = d.evolves[eventName(e)](d.dataOf(s), e)
	s.records = append(slices.Clip(s.records), mustPack(e))
	return s
}

func (d *Saga) alarmed(s state, e *messages.SagaAlarmed) state {
	s.alarms = slices.DeleteFunc(slices.Clone(s.alarms), func(a alarm) bool { return a.name == e.Name })
	if e.At != 0 {
		s.alarms = append(s.alarms, alarm{name: e.Name, at: timeAt(e.At)})
	}
	return s
}

func (d *Saga) rang(s state, e *messages.SagaRang) state {
	return d.alarmed(s, &messages.SagaAlarmed{Name: e.Name})
}

func (d *Saga) closed(s state, e *messages.SagaClosing) state {
	s.closing, s.reason, s.alarms = Status(e.Status), e.Reason, nil
	return s
}
