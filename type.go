package holdfast

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Type is a defined aggregate type whose state is S. It is immutable and safe for
// concurrent use.
type Type[S any] struct {
	name     string
	commands map[protoreflect.Name]command[S]
	events   map[protoreflect.FullName]event[S]
	snapshot snapshot[S]
	recorded []recorded
}

type command[S any] struct {
	typ    protoreflect.MessageType
	where  string
	decide func(S, Command, Meta) (Events, error)
}

// An event has either an evolve or an upcast.
type event[S any] struct {
	typ    protoreflect.MessageType
	where  string
	empty  func() Event
	evolve func(S, Event) S
	upcast func(Event) Events
}

func (e event[S]) name() protoreflect.FullName { return e.typ.Descriptor().FullName() }

type snapshot[S any] struct {
	typ      protoreflect.MessageType
	where    string
	save     func(S) proto.Message
	load     func(proto.Message) S
	every    int
	when     func(S) bool
	revision int

	fingerprint string
	needed      Part[S] // the last part that makes sense with a Snapshot only
}

type recorded struct {
	name  protoreflect.FullName
	where string
}

// A Definition is a [Type] of whatever state: what the runtime works with. The state
// that goes in and out is the S of the type. Only [Define] makes one.
type Definition interface {
	// Name is the aggregate type's name.
	Name() string
	// Commands are the short names of the commands, sorted.
	Commands() []string
	// Events are the full names of the events that can be read, retired ones too, sorted.
	Events() []string
	// NewCommand makes an empty command of that short name.
	NewCommand(short string) (Command, bool)
	// NewEvent makes an empty event of that full name.
	NewEvent(full string) (Event, bool)
	// Zero is the state in which nothing has happened.
	Zero() any
	// Decide makes the decision on c. The error is a *[Rejection], ErrUnknown when the
	// type does not know the command, or a bug of the domain. Every returned event has
	// an Evolve. It panics when the domain's function does.
	Decide(state any, c Command, m Meta) (Events, error)
	// Apply gives the state after e, upcast first if it is retired. The error says that
	// e cannot be evolved. It panics when the domain's function does.
	Apply(state any, e Event) (any, error)
	// Upcast gives e in its newest form: itself, unless it is retired.
	Upcast(e Event) (Events, error)
	// Save gives the state in the form that is kept and shown; nil when the type has
	// no [Snapshot].
	Save(state any) proto.Message
	// NewSaved makes an empty message of the form that Save gives; nil when the type
	// has no [Snapshot].
	NewSaved() proto.Message
	// Load is the reverse of Save.
	Load(saved proto.Message) any
	// Fingerprint names the form and meaning of the saved state: a snapshot of another
	// fingerprint is not for this type. It is empty when the type has no [Snapshot].
	Fingerprint() string
	// SnapshotDue reports whether a snapshot is due for a state that events have
	// changed since the last snapshot.
	SnapshotDue(state any, events int) bool

	sealed()
}

var _ Definition = (*Type[struct{}])(nil)

func (t *Type[S]) sealed() {}

// Name implements [Definition].
func (t *Type[S]) Name() string { return t.name }

// Commands implements [Definition].
func (t *Type[S]) Commands() []string { return sortedNames(t.commands) }

// Events implements [Definition].
func (t *Type[S]) Events() []string { return sortedNames(t.events) }

func sortedNames[K ~string, V any](m map[K]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

// NewCommand implements [Definition].
func (t *Type[S]) NewCommand(short string) (Command, bool) {
	c, ok := t.commands[protoreflect.Name(short)]
	if !ok {
		return nil, false
	}
	return c.typ.New().Interface(), true
}

// NewEvent implements [Definition].
func (t *Type[S]) NewEvent(full string) (Event, bool) {
	e, ok := t.events[protoreflect.FullName(full)]
	if !ok {
		return nil, false
	}
	return e.empty(), true
}

// Zero implements [Definition].
func (t *Type[S]) Zero() any {
	var zero S
	return zero
}

// Decide implements [Definition].
func (t *Type[S]) Decide(state any, c Command, m Meta) (Events, error) {
	d := c.ProtoReflect().Descriptor()
	cmd, ok := t.commands[d.Name()]
	if !ok || cmd.typ.Descriptor().FullName() != d.FullName() {
		return nil, Errorf(CodeUnknown, "type %s knows no command %s", t.name, d.FullName())
	}
	events, err := cmd.decide(state.(S), c, m)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if e == nil || !e.ProtoReflect().IsValid() {
			return nil, fmt.Errorf("the decision on %s returned a nil event", d.Name())
		}
		if ev := t.events[e.ProtoReflect().Descriptor().FullName()]; ev.evolve == nil {
			return nil, fmt.Errorf("the decision on %s returned the event %s, which has no Evolve", d.Name(), e.ProtoReflect().Descriptor().FullName())
		}
	}
	return events, nil
}

// Apply implements [Definition].
func (t *Type[S]) Apply(state any, e Event) (any, error) {
	s, err := t.apply(state.(S), e, len(t.events))
	return s, err
}

// apply passes through depth types of events at most, upcast by upcast: definitions are checked, but an upcaster may
// answer a full message otherwise than an empty one.
func (t *Type[S]) apply(s S, e Event, depth int) (S, error) {
	ev, err := t.find(e, depth)
	if err != nil {
		return s, err
	}
	if ev.evolve != nil {
		return ev.evolve(s, e), nil
	}
	for _, next := range ev.upcast(e) {
		if s, err = t.apply(s, next, depth-1); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Upcast implements [Definition].
func (t *Type[S]) Upcast(e Event) (Events, error) { return t.newest(nil, e, len(t.events)) }

func (t *Type[S]) newest(out Events, e Event, depth int) (Events, error) {
	ev, err := t.find(e, depth)
	if err != nil {
		return nil, err
	}
	if ev.evolve != nil {
		return append(out, e), nil
	}
	for _, next := range ev.upcast(e) {
		if out, err = t.newest(out, next, depth-1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Type[S]) find(e Event, depth int) (event[S], error) {
	if e == nil || !e.ProtoReflect().IsValid() {
		return event[S]{}, fmt.Errorf("type %s: an upcaster returned a nil event", t.name)
	}
	name := e.ProtoReflect().Descriptor().FullName()
	ev, ok := t.events[name]
	if !ok {
		return ev, fmt.Errorf("type %s has neither Evolve nor Upcast for the event %s", t.name, name)
	}
	if depth < 1 {
		return ev, fmt.Errorf("type %s: the upcasts of the event %s do not end", t.name, name)
	}
	return ev, nil
}

// Save implements [Definition].
func (t *Type[S]) Save(state any) proto.Message {
	if t.snapshot.typ == nil {
		return nil
	}
	return t.snapshot.save(state.(S))
}

// NewSaved implements [Definition].
func (t *Type[S]) NewSaved() proto.Message {
	if t.snapshot.typ == nil {
		return nil
	}
	return t.snapshot.typ.New().Interface()
}

// Load implements [Definition].
func (t *Type[S]) Load(saved proto.Message) any { return t.snapshot.load(saved) }

// SnapshotDue implements [Definition].
func (t *Type[S]) SnapshotDue(state any, events int) bool {
	s := t.snapshot
	if s.typ == nil || events == 0 {
		return false
	}
	return s.every > 0 && events >= s.every || s.when != nil && s.when(state.(S))
}

// Fingerprint implements [Definition].
func (t *Type[S]) Fingerprint() string { return t.snapshot.fingerprint }

func (s *snapshot[S]) computeFingerprint() {
	if s.typ == nil {
		return
	}
	h := sha256.New()
	fmt.Fprintf(h, "revision %d\n", s.revision)
	describeForm(h, s.typ.Descriptor(), map[protoreflect.FullName]bool{})
	s.fingerprint = hex.EncodeToString(h.Sum(nil)[:8])
}
