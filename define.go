package holdfast

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Part is one piece of a [Type]'s definition. Decide, DecideMeta, Evolve, Upcast,
// Snapshot, SnapshotEvery, SnapshotWhen, Revision and Recorded make parts.
type Part[S any] struct {
	what  string // as it stands in the source: Evolve(*pb.Deposited)
	where string // file:line
	add   func(t *Type[S], p Part[S]) error
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// Define makes an aggregate type of a name and its parts. The name is part of every
// subject and stays for ever: a small letter, then small letters, digits, '-' and '_',
// 64 at most.
//
// It panics on a wrong definition, as regexp.MustCompile does, with a sentence that
// says what is wrong and where: a bad name, a nil function, two handlers for one
// message, a state that is not a value, an upcaster that loops or ends nowhere, a
// [Recorded] event that cannot be evolved, a snapshot policy without a [Snapshot].
func Define[S any](name string, parts ...Part[S]) *Type[S] {
	t := &Type[S]{
		name:     name,
		commands: map[protoreflect.Name]command[S]{},
		events:   map[protoreflect.FullName]event[S]{},
		snapshot: snapshot[S]{every: DefaultSnapshotEvery},
	}
	if err := t.define(parts); err != nil {
		panic(fmt.Sprintf("holdfast: type %q (defined at %s): %v", name, caller(), err))
	}
	return t
}

func (t *Type[S]) define(parts []Part[S]) error {
	if !nameForm.MatchString(t.name) {
		return fmt.Errorf("bad name: want a small letter, then small letters, digits, '-' and '_', 64 at most")
	}
	switch k := reflect.TypeFor[S]().Kind(); k {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Func, reflect.Interface:
		return fmt.Errorf("the state %v is a %v: the state must be a value whose zero value means that nothing has happened", reflect.TypeFor[S](), k)
	}
	for _, p := range parts {
		if p.add == nil {
			return fmt.Errorf("an empty part was given: make parts with Decide, Evolve and their companions")
		}
		if err := p.add(t, p); err != nil {
			return fmt.Errorf("%s at %s: %w", p.what, p.where, err)
		}
	}
	if len(t.commands) == 0 && len(t.events) == 0 {
		return fmt.Errorf("it has neither a Decide nor an Evolve")
	}
	if err := t.checkSnapshot(); err != nil {
		return err
	}
	t.snapshot.computeFingerprint()
	if err := t.checkUpcasts(); err != nil {
		return err
	}
	return t.checkRecorded()
}

// Decide binds the decision on one command: given the state, which events happen?
// nil events mean that nothing needs to happen; an error made with [Reject] is the
// domain's no, any other error a bug.
func Decide[S any, C Command](f func(S, C) (Events, error)) Part[S] {
	var withMeta func(S, C, Meta) (Events, error)
	if f != nil {
		withMeta = func(s S, c C, _ Meta) (Events, error) { return f(s, c) }
	}
	return decide("Decide", caller(), withMeta)
}

// DecideMeta is [Decide] for a decision that looks at the command's meta: its time,
// its user.
func DecideMeta[S any, C Command](f func(S, C, Meta) (Events, error)) Part[S] {
	return decide("DecideMeta", caller(), f)
}

func decide[S any, C Command](kind, where string, f func(S, C, Meta) (Events, error)) Part[S] {
	return Part[S]{what: describe[C](kind), where: where, add: func(t *Type[S], p Part[S]) error {
		mt, err := messageType[C](f == nil)
		if err != nil {
			return err
		}
		short := mt.Descriptor().Name()
		if prev, ok := t.commands[short]; ok {
			return fmt.Errorf("the command %s is decided already, at %s", short, prev.where)
		}
		t.commands[short] = command[S]{
			typ: mt, where: p.where,
			decide: func(s S, c Command, m Meta) (Events, error) { return f(s, c.(C), m) },
		}
		return nil
	}}
}

// Evolve binds what one event makes of the state. It cannot fail: it has happened.
func Evolve[S any, E Event](f func(S, E) S) Part[S] {
	return Part[S]{what: describe[E]("Evolve"), where: caller(), add: func(t *Type[S], p Part[S]) error {
		mt, err := messageType[E](f == nil)
		if err != nil {
			return err
		}
		return t.addEvent(event[S]{
			typ: mt, where: p.where, empty: empties[E](),
			evolve: func(s S, e Event) S { return f(s, e.(E)) },
		})
	}}
}

// Upcast binds how a retired event is read: as the events that took its place, which
// are upcast in turn if they are retired too. The log keeps the old event as it is.
// What follows from an empty Old is checked at once, so f must bear an empty message.
func Upcast[S any, Old Event](f func(Old) Events) Part[S] {
	return Part[S]{what: describe[Old]("Upcast"), where: caller(), add: func(t *Type[S], p Part[S]) error {
		mt, err := messageType[Old](f == nil)
		if err != nil {
			return err
		}
		return t.addEvent(event[S]{
			typ: mt, where: p.where, empty: empties[Old](),
			upcast: func(e Event) Events { return f(e.(Old)) },
		})
	}}
}

func (t *Type[S]) addEvent(e event[S]) error {
	name := e.name()
	if prev, ok := t.events[name]; ok {
		return fmt.Errorf("the event %s has a handler already, at %s: an event is either evolved or, once retired, upcast, and by one function", name, prev.where)
	}
	t.events[name] = e
	return nil
}

// Snapshot binds the form in which the state is kept and shown: state to protobuf and
// back. load(save(s)) must equal s. A snapshot is a cache; one of an older form is
// ignored and the events decide.
func Snapshot[S any, P proto.Message](save func(S) P, load func(P) S) Part[S] {
	return Part[S]{what: describe[P]("Snapshot"), where: caller(), add: func(t *Type[S], p Part[S]) error {
		mt, err := messageType[P](save == nil || load == nil)
		if err != nil {
			return err
		}
		if t.snapshot.typ != nil {
			return fmt.Errorf("there is a snapshot already, at %s", t.snapshot.where)
		}
		t.snapshot.typ, t.snapshot.where = mt, p.where
		t.snapshot.save = func(s S) proto.Message { return save(s) }
		t.snapshot.load = func(m proto.Message) S { return load(m.(P)) }
		return nil
	}}
}

// DefaultSnapshotEvery is how many events lie between two snapshots unless
// [SnapshotEvery] says otherwise.
const DefaultSnapshotEvery = 100

// SnapshotEvery has a snapshot taken when n events have come since the last one;
// 0 means never by count.
func SnapshotEvery[S any](n int) Part[S] {
	return Part[S]{what: "SnapshotEvery", where: caller(), add: func(t *Type[S], p Part[S]) error {
		if n < 0 {
			return fmt.Errorf("%d is negative", n)
		}
		t.snapshot.every, t.snapshot.needed = n, p
		return nil
	}}
}

// SnapshotWhen has a snapshot taken after each commit for whose state f says so.
func SnapshotWhen[S any](f func(S) bool) Part[S] {
	return Part[S]{what: "SnapshotWhen", where: caller(), add: func(t *Type[S], p Part[S]) error {
		if f == nil {
			return errNilFunction
		}
		t.snapshot.when, t.snapshot.needed = f, p
		return nil
	}}
}

// Revision counts the meanings of the state. Raise it when Evolve makes something
// else of the same events: older snapshots are then ignored.
func Revision[S any](n int) Part[S] {
	return Part[S]{what: "Revision", where: caller(), add: func(t *Type[S], p Part[S]) error {
		t.snapshot.revision, t.snapshot.needed = n, p
		return nil
	}}
}

// Recorded takes the golden file of the events that this type has ever recorded (see
// holdfasttest.Golden), usually embedded: each must have an Evolve or an Upcast. Its
// lines begin with an event's full name; lines that begin with # are comments.
func Recorded[S any](golden string) Part[S] {
	return Part[S]{what: "Recorded", where: caller(), add: func(t *Type[S], p Part[S]) error {
		for line := range strings.Lines(golden) {
			fields := strings.Fields(line)
			if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
				continue
			}
			t.recorded = append(t.recorded, recorded{name: protoreflect.FullName(fields[0]), where: p.where})
		}
		return nil
	}}
}

var errNilFunction = fmt.Errorf("the function is nil")

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

// empties makes what makes empty messages, which are made for each event that is read.
func empties[M proto.Message]() func() proto.Message {
	message := reflect.TypeFor[M]().Elem()
	return func() proto.Message { return reflect.New(message).Interface().(M) }
}

func describe[M proto.Message](kind string) string {
	return fmt.Sprintf("%s(%v)", kind, reflect.TypeFor[M]())
}

// caller says where the exported function of this package that called it was called.
func caller() string {
	_, file, line, _ := runtime.Caller(2)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line)
}
