package sagas

import (
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A Part is one piece of a [Saga]'s definition. Begin, BeginOn, Hear, Step, Pivot,
// Retryable and Together make parts.
type Part[S any] struct {
	what  string // as it stands in the source: Step("pay")
	where string // file:line
	add   func(*Saga[S]) error
}

// A Saga is a defined saga whose data is S: what its functions work with. It is immutable
// and safe for concurrent use.
type Saga[S any] struct {
	name     string
	begin    *beginning[S]
	triggers []trigger
	hears    map[protoreflect.FullName]hearing[S]
	groups   [][]string // of steps that are done together
	steps    map[string]*step[S]
	order    []string // of the steps, as they are defined
	typ      *holdfast.Type[state[S]]
}

type beginning[S any] struct {
	command protoreflect.MessageType
	where   string
	begin   func(holdfast.Command) (S, error)
	part    holdfast.Part[state[S]]
}

// Define makes a saga of a name and its parts. The name is that of its aggregate type.
//
// It panics on a wrong definition, as [holdfast.Define] does, with a sentence that says
// what is wrong and where: a saga that cannot begin, two steps of one name, a
// compensatable step without a compensation or after the pivot, two pivots.
func Define[S any](name string, parts ...Part[S]) *Saga[S] {
	d := &Saga[S]{name: name, hears: map[protoreflect.FullName]hearing[S]{}, steps: map[string]*step[S]{}}
	if err := d.define(parts); err != nil {
		panic(fmt.Sprintf("sagas: saga %q (defined at %s): %v", name, caller(), err))
	}
	d.typ = d.aggregate()
	return d
}

func (d *Saga[S]) define(parts []Part[S]) error {
	for _, p := range parts {
		if p.add == nil {
			return fmt.Errorf("an empty part was given: make parts with Begin, Step and their companions")
		}
		if err := p.add(d); err != nil {
			return fmt.Errorf("%s at %s: %w", p.what, p.where, err)
		}
	}
	return d.check()
}

// Name is that of the saga, and of its aggregate type.
func (d *Saga[S]) Name() string { return d.name }

// Type is the aggregate type that the saga is.
func (d *Saga[S]) Type() holdfast.Definition { return d.typ }

// Begin binds the command with which the saga begins, and what it makes of the data. The
// error may be a rejection, made with [holdfast.Reject]. begin is called again whenever
// the saga is rebuilt, and then must give the same.
func Begin[S any, C holdfast.Command](begin func(S, C) (S, error)) Part[S] {
	where := caller()
	return Part[S]{what: describe[C]("Begin"), where: where, add: func(d *Saga[S]) error {
		mt, err := messageType[C](begin == nil)
		if err != nil {
			return err
		}
		if d.begin != nil {
			return fmt.Errorf("the saga begins with %s already, at %s", d.begin.command.Descriptor().Name(), d.begin.where)
		}
		d.begin = &beginning[S]{
			command: mt, where: where,
			begin: func(c holdfast.Command) (S, error) {
				var zero S
				return begin(zero, c.(C))
			},
		}
		d.begin.part = holdfast.DecideMeta(func(s state[S], c C, m holdfast.Meta) (holdfast.Events, error) { return d.start(s, c, m.At) })
		return nil
	}}
}

// A Source says where an event comes from.
type Source struct {
	Ref     holdfast.Ref
	Version holdfast.Version
	Time    time.Time
	User    string
}

// A trigger begins a saga when an event happens, or tells one of it.
type trigger struct {
	typ   string // of the aggregate
	event protoreflect.MessageType
	// to is the saga's id and the command that it is sent; an empty id when the event is none
	// of its business.
	to func(holdfast.Event, Source) (string, holdfast.Command)
}

// BeginOn has a saga begin when an event happens to an aggregate of a type: which one, and
// with which command. An event that comes again finds the saga begun.
func BeginOn[S any, E holdfast.Event, C holdfast.Command](typ string, which func(E, Source) (id string, begin C)) Part[S] {
	return Part[S]{what: describe[E]("BeginOn"), where: caller(), add: func(d *Saga[S]) error {
		mt, err := messageType[E](which == nil)
		if err != nil {
			return err
		}
		if d.begin == nil || d.begin.command.Descriptor().FullName() != zeroName[C]() {
			return fmt.Errorf("it begins with %s: put a Begin for that command before it", zeroName[C]())
		}
		d.triggers = append(d.triggers, trigger{typ: typ, event: mt, to: func(e holdfast.Event, from Source) (string, holdfast.Command) {
			id, c := which(e.(E), from)
			return id, c
		}})
		return nil
	}}
}

type hearing[S any] struct {
	event protoreflect.MessageType
	hear  func(S, holdfast.Event, Source) S
}

// Hear has a saga told of an event of an aggregate of a type: which saga, and what it makes
// of the data. An empty id means that it concerns none. What is heard after the saga's end
// changes nothing.
func Hear[S any, E holdfast.Event](typ string, which func(E, Source) (id string), hear func(S, E, Source) S) Part[S] {
	where := caller()
	return Part[S]{what: describe[E]("Hear"), where: where, add: func(d *Saga[S]) error {
		mt, err := messageType[E](which == nil || hear == nil)
		if err != nil {
			return err
		}
		name := mt.Descriptor().FullName()
		if _, ok := d.hears[name]; ok {
			return fmt.Errorf("the event %s is heard already", name)
		}
		d.hears[name] = hearing[S]{event: mt, hear: func(s S, e holdfast.Event, from Source) S { return hear(s, e.(E), from) }}
		d.triggers = append(d.triggers, trigger{typ: typ, event: mt, to: func(e holdfast.Event, from Source) (string, holdfast.Command) {
			return which(e.(E), from), &messages.SagaHear{}
		}})
		return nil
	}}
}

// messageType finds the protobuf type of M, which must be concrete.
func messageType[M proto.Message](isNil bool) (protoreflect.MessageType, error) {
	if isNil {
		return nil, fmt.Errorf("the function is nil")
	}
	var m M
	if any(m) == nil {
		return nil, fmt.Errorf("%v is an interface: the function must name one generated message", reflect.TypeFor[M]())
	}
	return m.ProtoReflect().Type(), nil
}

func zeroName[M proto.Message]() protoreflect.FullName {
	var m M
	if any(m) == nil {
		return ""
	}
	return m.ProtoReflect().Descriptor().FullName()
}

func describe[M proto.Message](kind string) string {
	return fmt.Sprintf("%s(%v)", kind, reflect.TypeFor[M]())
}

// caller says where the exported function of this package that called it was called.
func caller() string {
	_, file, line, _ := runtime.Caller(2)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line)
}
