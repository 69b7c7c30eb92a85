package sagas

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
)

// Then is what a reaction asks for. The zero Then asks for nothing.
type Then struct {
	// Record are events of the saga's own, of which its [Evolve] functions make the data.
	// Whatever later reactions need to know has to be recorded.
	Record holdfast.Events
	// Send are commands for aggregates. What becomes of each is told to its [OnAnswer].
	Send []Send
	// Wake sets alarms, which ring in [OnTime].
	Wake []Wake
	// Done ends the saga with this status, Completed, Compensated or Cancelled, as soon as
	// what it has sent is settled; until then it reacts to nothing any more. Empty: it goes on.
	Done Status
	// Because is why it is done, for a person.
	Because string
}

func (t Then) nothing() bool {
	return len(t.Record) == 0 && len(t.Send) == 0 && len(t.Wake) == 0 && t.Done == ""
}

// A Send is a command to be sent, and sent again until it is known what became of it.
type Send struct {
	// Name is the command's among all that the saga sends, ever: a small letter, then small
	// letters, digits, '-' and '_', 32 at most, and perhaps a colon and what tells it from
	// others of its kind, as in reserve:sku-7: letters, digits and -_.=/, 64 at most.
	Name    string
	To      holdfast.Ref
	Command holdfast.Command
}

// A Wake sets an alarm. One of the same name that has not rung is set anew.
type Wake struct {
	// Name is that of an [OnTime].
	Name string
	// After is how long from now on; nothing, or less, takes the alarm away.
	After time.Duration
}

// An Answer is what became of a command that the saga has sent.
type Answer struct {
	// Name is the command's, as in [Send].
	Name string
	// Reason is empty when the command was accepted. Otherwise it has certainly not been
	// executed, and never will be: the reason is that of the domain's rejection, or the code
	// of the error on which the retries were used up.
	Reason string
	// Message is the sentence that goes with Reason.
	Message string
}

type reaction struct {
	where string
	react func(data any, e holdfast.Event, from Source) Then
}

// On has a saga of reactions react to an event of an aggregate of a type: which saga, and
// what it does. An empty id means that the event concerns none. The first event to which a
// saga does something begins it. What comes after its end changes nothing.
func On[S any, E holdfast.Event](typ string, which func(E, Source) (id string), react func(S, E, Source) Then) Part {
	where := caller()
	return Part{what: describe[E]("On"), where: where, data: of[S](), add: func(d *Saga) error {
		mt, err := messageType[E](which == nil || react == nil)
		if err != nil {
			return err
		}
		name := mt.Descriptor().FullName()
		if prev, ok := d.events[name]; ok {
			return fmt.Errorf("there is a reaction to the event already, at %s", prev.where)
		}
		d.events[name] = reaction{where: where, react: func(s any, e holdfast.Event, from Source) Then { return react(s.(S), e.(E), from) }}
		return d.trigger(typ, mt, func(e holdfast.Event, from Source) string { return which(e.(E), from) })
	}}
}

// OnCommand has a saga of reactions react to a command of a client. The error may be a
// rejection, made with [holdfast.Reject]. The first command for which the saga does
// something begins it.
func OnCommand[S any, C holdfast.Command](react func(S, C) (Then, error)) Part {
	return Part{what: describe[C]("OnCommand"), where: caller(), data: of[S](), add: func(d *Saga) error {
		mt, err := messageType[C](react == nil)
		if err != nil {
			return err
		}
		name := mt.Descriptor().FullName()
		if _, ok := d.commands[name]; ok {
			return fmt.Errorf("there is a reaction to the command already")
		}
		d.commands[name] = func(s any, c holdfast.Command) (Then, error) { return react(s.(S), c.(C)) }
		d.parts = append(d.parts, holdfast.DecideMeta(func(s state, c C, m holdfast.Meta) (holdfast.Events, error) { return d.obey(s, c, m) }))
		return nil
	}}
}

// OnAnswer has a saga of reactions react to what became of the commands of a name, or of a
// name and a colon and more. Without one, a command that was accepted is of no more account,
// and one that was not makes the saga stuck.
func OnAnswer[S any](name string, react func(S, Answer) Then) Part {
	return Part{what: fmt.Sprintf("OnAnswer(%q)", name), where: caller(), data: of[S](), add: func(d *Saga) error {
		switch {
		case react == nil:
			return errNilFunction
		case !stepName.MatchString(name):
			return errBadName
		case d.answers[name] != nil:
			return fmt.Errorf("there is one of that name already")
		}
		d.answers[name] = func(s any, a Answer) Then { return react(s.(S), a) }
		return nil
	}}
}

// OnTime has a saga of reactions react to the alarm of a name, once its time has come.
func OnTime[S any](name string, react func(S) Then) Part {
	return Part{what: fmt.Sprintf("OnTime(%q)", name), where: caller(), data: of[S](), add: func(d *Saga) error {
		switch {
		case react == nil:
			return errNilFunction
		case !stepName.MatchString(name):
			return errBadName
		case d.times[name] != nil:
			return fmt.Errorf("there is one of that name already")
		}
		d.times[name] = func(s any) Then { return react(s.(S)) }
		return nil
	}}
}

// OnCancel has a saga of reactions react to an operator who cancels it: it undoes what it
// has done, and is done. Without one, an operator can only force its end.
func OnCancel[S any](react func(S, string) Then) Part {
	return Part{what: "OnCancel", where: caller(), data: of[S](), add: func(d *Saga) error {
		switch {
		case react == nil:
			return errNilFunction
		case d.cancels != nil:
			return fmt.Errorf("there is one already")
		}
		d.cancels = func(s any, reason string) Then { return react(s.(S), reason) }
		return nil
	}}
}

// Evolve binds what an event that a saga of reactions records makes of its data. It cannot
// fail: it has happened.
func Evolve[S any, E holdfast.Event](f func(S, E) S) Part {
	return Part{what: describe[E]("Evolve"), where: caller(), data: of[S](), add: func(d *Saga) error {
		mt, err := messageType[E](f == nil)
		if err != nil {
			return err
		}
		name := mt.Descriptor().FullName()
		if d.evolves[name] != nil {
			return fmt.Errorf("the event is evolved already")
		}
		d.evolves[name] = func(s any, e holdfast.Event) any { return f(s.(S), e.(E)) }
		d.parts = append(d.parts, holdfast.Evolve(func(s state, e E) state { return d.recorded(s, e) }))
		return nil
	}}
}

// Upcast binds how a retired event of a saga of reactions is read, as [holdfast.Upcast]
// does for aggregates.
func Upcast[Old holdfast.Event](f func(Old) holdfast.Events) Part {
	return Part{what: describe[Old]("Upcast"), where: caller(), add: func(d *Saga) error {
		d.parts = append(d.parts, holdfast.Upcast[state](f))
		return nil
	}}
}

// Retries is how the commands of a saga of reactions are tried again; [DefaultBackoff]
// without it. A rejection is final.
func Retries(b Backoff) Part {
	return Part{what: "Retries", where: caller(), add: func(d *Saga) error {
		d.sending.retry = b
		return b.check()
	}}
}

// reacts reports whether the saga is one of reactions.
func (d *Saga) reacts() bool {
	return len(d.events)+len(d.commands)+len(d.answers)+len(d.times)+len(d.evolves) > 0 || d.cancels != nil
}

func eventName(e holdfast.Event) protoreflect.FullName {
	return e.ProtoReflect().Descriptor().FullName()
}

// kindOf gives the part of a command's name by which its reaction is found.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}
