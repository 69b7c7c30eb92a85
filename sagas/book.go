package sagas

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
)

// A Book has all sagas of a context, and the types of the aggregates with which they deal.
// It is immutable and safe for concurrent use.
type Book struct {
	sagas  map[string]*Saga
	types  map[string]holdfast.Definition // those of the sagas, too
	order  []holdfast.Definition
	routes map[route]trigger
	// concerned are the events in the log that are heard, or retired and perhaps read as such.
	concerned map[route]bool
}

// A route is from an event of an aggregate type to a saga.
type route struct {
	saga, typ string
	event     protoreflect.FullName
}

// NewBook checks that the sagas and the aggregate types fit together: that every command is
// one that its aggregate knows, and every event that is heard one that its aggregate
// records. The error says where what does not fit is defined.
func NewBook(types []holdfast.Definition, sagas ...*Saga) (*Book, error) {
	b := &Book{sagas: map[string]*Saga{}, types: map[string]holdfast.Definition{}, routes: map[route]trigger{}, concerned: map[route]bool{}}
	for _, d := range sagas {
		types = append(slices.Clip(types), d.Type())
		b.sagas[d.name] = d
	}
	for _, def := range types {
		if _, ok := b.types[def.Name()]; ok {
			return nil, fmt.Errorf("two types are called %q: give each saga and each aggregate type a name of its own", def.Name())
		}
		b.types[def.Name()] = def
	}
	b.order = types
	var wrong []error
	for _, d := range sagas {
		wrong = append(wrong, b.checkSteps(d), b.bind(d))
	}
	return b, errors.Join(wrong...)
}

// Types are the aggregate types, those of the sagas last.
func (b *Book) Types() []holdfast.Definition { return b.order }

// Saga finds a saga by its name; nil if there is none.
func (b *Book) Saga(name string) *Saga { return b.sagas[name] }

// Names are those of the sagas, sorted.
func (b *Book) Names() []string { return slices.Sorted(maps.Keys(b.sagas)) }

// Concerns reports whether the commits of an aggregate type ask a saga type for anything.
func (b *Book) Concerns(d *Saga, typ string) bool {
	return typ == d.name || slices.ContainsFunc(d.triggers, func(t trigger) bool { return t.typ == typ })
}

func (b *Book) checkSteps(d *Saga) error {
	var wrong []error
	for _, name := range d.order {
		s := d.steps[name]
		for what, in := range map[string]*intent{"Do": s.do, "Undo": s.undo} {
			if in == nil {
				continue
			}
			if err := b.checkCommand(in); err != nil {
				wrong = append(wrong, fmt.Errorf("saga %q, step %q at %s, %s: %w", d.name, name, s.where, what, err))
			}
		}
	}
	return errors.Join(wrong...)
}

func (b *Book) checkCommand(in *intent) error {
	def := b.types[in.typ]
	if def == nil {
		return fmt.Errorf("there is no aggregate type %q: add it to the types, or mend its name", in.typ)
	}
	full := in.command.Descriptor().FullName()
	if c, ok := def.NewCommand(string(in.command.Descriptor().Name())); !ok || c.ProtoReflect().Descriptor().FullName() != full {
		return fmt.Errorf("the type %q knows no command %s", in.typ, full)
	}
	return nil
}

func (b *Book) bind(d *Saga) error {
	var wrong []error
	for _, t := range d.triggers {
		if err := b.checkEvent(t); err != nil {
			wrong = append(wrong, fmt.Errorf("saga %q, %s at %s: %w", d.name, t.what, t.where, err))
			continue
		}
		b.routes[route{d.name, t.typ, t.event}] = t
		for _, name := range b.types[t.typ].Events() {
			if name == string(t.event) || retired(b.types[t.typ], name) {
				b.concerned[route{d.name, t.typ, protoreflect.FullName(name)}] = true
			}
		}
	}
	return errors.Join(wrong...)
}

func (b *Book) checkEvent(t trigger) error {
	def := b.types[t.typ]
	if def == nil {
		return fmt.Errorf("there is no aggregate type %q: add it to the types, or mend its name", t.typ)
	}
	if _, ok := def.NewEvent(string(t.event)); !ok {
		return fmt.Errorf("the type %q has no event %s", t.typ, t.event)
	}
	if retired(def, string(t.event)) {
		return fmt.Errorf("the event %s is retired: listen to what has taken its place", t.event)
	}
	return nil
}

// retired reports whether an event that the type has is read as others.
func retired(def holdfast.Definition, event string) bool {
	e, _ := def.NewEvent(event)
	newest, err := def.Upcast(e)
	return err != nil || len(newest) != 1 || string(eventName(newest[0])) != event
}
