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
)

// A Part is one piece of a [Saga]'s definition. Functions such as Begin, Step and On make
// parts.
type Part struct {
	what  string // as it stands in the source: Step("pay")
	where string // file:line
	data  []reflect.Type
	add   func(*Saga) error
}

// A Saga is a defined saga. It is immutable and safe for concurrent use.
type Saga struct {
	name      string
	data      reflect.Type // of what its functions work with
	dataBy    string       // the part that it was taken from
	zero      any
	typ       *holdfast.Type[state]
	parts     []holdfast.Part[state]
	triggers  []trigger
	adding    Part // that is being added
	fromStart bool

	// Of steps.
	begin  *beginning
	hears  map[protoreflect.FullName]hearing
	groups [][]string // of steps that are done together
	steps  map[string]*step
	order  []string // of the steps, as they are defined

	// Of reactions.
	sending  *step // every command that it sends
	events   map[protoreflect.FullName]reaction
	commands map[protoreflect.FullName]func(data any, c holdfast.Command) (Then, error)
	answers  map[string]func(data any, a Answer) Then
	times    map[string]func(data any) Then
	cancels  func(data any, reason string) Then
	evolves  map[protoreflect.FullName]func(data any, e holdfast.Event) any
}

// Define makes a saga of a name and its parts: either of steps, or of reactions. The name
// is that of its aggregate type. All its functions work with one type of data, which begins
// as its zero value, and which they give anew rather than change.
//
// It panics on a wrong definition, as [holdfast.Define] does, with a sentence that says
// what is wrong and where: a saga that cannot begin, two steps of one name, a
// compensatable step without a compensation or after the pivot, two pivots.
func Define(name string, parts ...Part) *Saga {
	d := &Saga{
		name: name, steps: map[string]*step{}, hears: map[protoreflect.FullName]hearing{},
		events:   map[protoreflect.FullName]reaction{},
		commands: map[protoreflect.FullName]func(any, holdfast.Command) (Then, error){},
		answers:  map[string]func(any, Answer) Then{}, times: map[string]func(any) Then{},
		evolves: map[protoreflect.FullName]func(any, holdfast.Event) any{},
		sending: &step{kind: reacting, retry: DefaultBackoff},
	}
	if err := d.define(parts); err != nil {
		panic(fmt.Sprintf("sagas: saga %q (defined at %s): %v", name, caller(), err))
	}
	d.typ = d.aggregate()
	return d
}

func (d *Saga) define(parts []Part) error {
	for _, p := range parts {
		if err := d.add(p); err != nil {
			return err
		}
	}
	if d.data != nil {
		d.zero = reflect.Zero(d.data).Interface()
	}
	return d.check()
}

func (d *Saga) add(p Part) error {
	if p.add == nil {
		return fmt.Errorf("an empty part was given: make parts with Begin, Step, On and their companions")
	}
	d.adding = p
	err := d.sameData(p)
	if err == nil {
		err = p.add(d)
	}
	if err != nil {
		return fmt.Errorf("%s at %s: %w", p.what, p.where, err)
	}
	return nil
}

// sameData checks that all functions work with the same data.
func (d *Saga) sameData(p Part) error {
	for _, data := range p.data {
		if d.data == nil {
			switch data.Kind() {
			case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Func, reflect.Interface:
				return fmt.Errorf("the data %v are a %v: they must be a value whose zero value means that nothing has happened", data, data.Kind())
			}
			d.data, d.dataBy = data, p.what+" at "+p.where
		}
		if data != d.data {
			return fmt.Errorf("its function takes a %v, while that of %s takes a %v", data, d.dataBy, d.data)
		}
	}
	return nil
}

// Name is that of the saga, and of its aggregate type.
func (d *Saga) Name() string { return d.name }

// Type is the aggregate type that the saga is.
func (d *Saga) Type() holdfast.Definition { return d.typ }

// A Source says where an event comes from.
type Source struct {
	Ref     holdfast.Ref
	Version holdfast.Version
	Time    time.Time
	User    string
}

// A trigger tells a saga of an event that happens to an aggregate of a type.
type trigger struct {
	what, where string // the part
	typ         string
	event       protoreflect.FullName
	// which gives the id of the saga that is told; an empty one when the event is none of
	// its business.
	which func(holdfast.Event, Source) string
}

func (d *Saga) trigger(typ string, event protoreflect.MessageType, which func(holdfast.Event, Source) string) error {
	if typ == "" {
		return fmt.Errorf("it names no aggregate type")
	}
	d.triggers = append(d.triggers, trigger{what: d.adding.what, where: d.adding.where, typ: typ, event: event.Descriptor().FullName(), which: which})
	return nil
}

type beginning struct {
	command protoreflect.MessageType
	where   string
	begun   func(id string, c holdfast.Command) any
	check   func(holdfast.Command) error
	on      map[protoreflect.FullName]func(holdfast.Event, Source) holdfast.Command
}

// Begin binds the command with which a saga of steps begins, and what the saga of an id makes
// of it: its data. That cannot fail: it has begun.
func Begin[S any, C holdfast.Command](begun func(S, string, C) S) Part {
	where := caller()
	return Part{what: describe[C]("Begin"), where: where, data: of[S](), add: func(d *Saga) error {
		mt, err := messageType[C](begun == nil)
		if err != nil {
			return err
		}
		if d.begin != nil {
			return fmt.Errorf("the saga begins with %s already, at %s", d.begin.command.Descriptor().Name(), d.begin.where)
		}
		d.begin = &beginning{
			command: mt, where: where, on: map[protoreflect.FullName]func(holdfast.Event, Source) holdfast.Command{},
			begun: func(id string, c holdfast.Command) any {
				var zero S
				return begun(zero, id, c.(C))
			},
			check: func(holdfast.Command) error { return nil },
		}
		d.parts = append(d.parts, holdfast.DecideMeta(func(s state, c C, m holdfast.Meta) (holdfast.Events, error) { return d.start(s, c, nil, m) }))
		return nil
	}}
}

// Check has the command of [Begin] checked before the saga begins. The error is a rejection,
// made with [holdfast.Reject].
func Check[S any, C holdfast.Command](check func(S, C) error) Part {
	return Part{what: describe[C]("Check"), where: caller(), data: of[S](), add: func(d *Saga) error {
		switch {
		case check == nil:
			return errNilFunction
		case d.begin == nil || d.begin.command.Descriptor().FullName() != zeroName[C]():
			return fmt.Errorf("it checks %s: put a Begin for that command before it", zeroName[C]())
		}
		d.begin.check = func(c holdfast.Command) error {
			var zero S
			return check(zero, c.(C))
		}
		return nil
	}}
}

// BeginOn has a saga of steps begin when an event happens to an aggregate of a type: which
// one, and with which command, that of its [Begin]. An empty id means that it concerns none.
// An event that comes again finds the saga begun.
func BeginOn[E holdfast.Event, C holdfast.Command](typ string, which func(E, Source) (id string, begin C)) Part {
	return Part{what: describe[E]("BeginOn"), where: caller(), add: func(d *Saga) error {
		mt, err := messageType[E](which == nil)
		if err != nil {
			return err
		}
		if d.begin == nil || d.begin.command.Descriptor().FullName() != zeroName[C]() {
			return fmt.Errorf("it begins with %s: put a Begin for that command before it", zeroName[C]())
		}
		name := mt.Descriptor().FullName()
		if d.begin.on[name] != nil || d.hears[name].hear != nil {
			return fmt.Errorf("the event %s is heard already", name)
		}
		d.begin.on[name] = func(e holdfast.Event, from Source) holdfast.Command {
			_, c := which(e.(E), from)
			return c
		}
		return d.trigger(typ, mt, func(e holdfast.Event, from Source) string {
			id, _ := which(e.(E), from)
			return id
		})
	}}
}

type hearing struct {
	event protoreflect.MessageType
	hear  func(any, holdfast.Event, Source) any
}

// Hear has a saga of steps told of an event of an aggregate of a type: which saga, and what
// it makes of the data. An empty id means that it concerns none. What is heard before the
// saga's beginning or after its end changes nothing.
func Hear[S any, E holdfast.Event](typ string, which func(E, Source) (id string), hear func(S, E, Source) S) Part {
	return Part{what: describe[E]("Hear"), where: caller(), data: of[S](), add: func(d *Saga) error {
		mt, err := messageType[E](which == nil || hear == nil)
		if err != nil {
			return err
		}
		name := mt.Descriptor().FullName()
		if d.hears[name].hear != nil || d.begin != nil && d.begin.on[name] != nil {
			return fmt.Errorf("the event %s is heard already", name)
		}
		d.hears[name] = hearing{event: mt, hear: func(s any, e holdfast.Event, from Source) any { return hear(s.(S), e.(E), from) }}
		return d.trigger(typ, mt, func(e holdfast.Event, from Source) string { return which(e.(E), from) })
	}}
}

func of[S any]() []reflect.Type { return []reflect.Type{reflect.TypeFor[S]()} }

// messageType finds the protobuf type of M, which must be concrete.
func messageType[M proto.Message](isNil bool) (protoreflect.MessageType, error) {
	if isNil {
		return nil, errNilFunction
	}
	var m M
	if any(m) == nil {
		return nil, fmt.Errorf("%v is an interface: the function must name one generated message", reflect.TypeFor[M]())
	}
	return m.ProtoReflect().Type(), nil
}

var errNilFunction = fmt.Errorf("the function is nil")

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

// FromStart has a saga type that is run for the first time in a context be told of all events
// that have ever happened there. Without it, it is told of those that happen from then on.
func FromStart() Part {
	return Part{what: "FromStart", where: caller(), add: func(d *Saga) error {
		d.fromStart = true
		return nil
	}}
}

// FromStart reports whether the saga is to be told of what happened before it was run first.
func (d *Saga) FromStart() bool { return d.fromStart }
