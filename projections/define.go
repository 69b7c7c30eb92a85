package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
)

// A Part is one piece of a [Projection]'s definition. From, On, Every, Tables, Show, Key, Shards,
// Revision, InKV and Effect make parts.
type Part struct {
	what  string // as it stands in the source: On(*pb.OrderPlaced)
	where string // file:line
	add   func(p *Projection, part Part) error
}

// A Projection is a defined read model. It is immutable and safe for concurrent use.
type Projection struct {
	name     string
	types    map[string]holdfast.Definition
	handlers map[protoreflect.FullName]handler
	every    *handler
	form     Form
	tables   []string
	key      func(holdfast.Event, Event) string // nil: the aggregate
	show     func(*Rows, string) (any, error)
	shards   int
	revision int
	kv       bool
	effects  map[string]effect
	idle     map[recordedAs]bool // events that nobody here handles, which need not be read
}

type handler struct {
	typ    protoreflect.MessageType // nil of every
	where  string
	handle func(Batch, holdfast.Event, Event) error
}

type effect struct {
	typ   protoreflect.MessageType
	where string
	carry func(ctx context.Context, id string, payload proto.Message) error
}

// MaxShards is the most that [Shards] takes.
const MaxShards = 64

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// inbox is how operators call the inbox, which parks as projections do.
const inbox = "inbox"

// Define makes a projection of a name and its parts. The name is part of tables, buckets and
// subjects: a small letter, then small letters, digits and '_', 40 at most.
//
// It panics on a wrong definition, as regexp.MustCompile does, with a sentence that says what
// is wrong and where.
func Define(name string, parts ...Part) *Projection {
	p := &Projection{
		name: name, types: map[string]holdfast.Definition{}, handlers: map[protoreflect.FullName]handler{},
		shards: 1, effects: map[string]effect{}, idle: map[recordedAs]bool{},
	}
	if err := p.define(parts); err != nil {
		panic(fmt.Sprintf("projections: %q (defined at %s): %v", name, caller(), err))
	}
	return p
}

func (p *Projection) define(parts []Part) error {
	if !nameForm.MatchString(p.name) {
		return errors.New("bad name: want a small letter, then small letters, digits and '_', 40 at most")
	}
	if p.name == inbox {
		return errors.New("bad name: where operators look at what is parked it means the inbox: choose another")
	}
	for _, part := range parts {
		if part.add == nil {
			return errors.New("an empty part was given: make parts with On, From and their companions")
		}
		if err := part.add(p, part); err != nil {
			return fmt.Errorf("%s at %s: %w", part.what, part.where, err)
		}
	}
	return p.check()
}

// From names the aggregate types whose events are read, retired ones through their upcasters.
func From(types ...holdfast.Definition) Part {
	return Part{what: "From", where: caller(), add: func(p *Projection, _ Part) error {
		for _, t := range types {
			if t == nil {
				return errors.New("a type is nil")
			}
			if _, ok := p.types[t.Name()]; ok {
				return fmt.Errorf("the type %q is named twice", t.Name())
			}
			p.types[t.Name()] = t
		}
		return nil
	}}
}

// On binds what one event does to the read model: W is *[Rows] or *[Docs] of the documents'
// type, the same in all of a projection. An error, or a panic, refuses the event: it is tried
// again, then parked, with all later events of its key. Handlers of an event may be called
// several times until it has its effect once: what they do beside W happens as often.
func On[W Target, E holdfast.Event](f func(W, E, Event) error) Part {
	return Part{what: "On(" + reflect.TypeFor[E]().String() + ")", where: caller(), add: func(p *Projection, part Part) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		mt, err := messageType[E]()
		if err != nil {
			return err
		}
		if err := setForm[W](p); err != nil {
			return err
		}
		name := mt.Descriptor().FullName()
		if prev, ok := p.handlers[name]; ok {
			return fmt.Errorf("the event %s has a handler already, at %s", name, prev.where)
		}
		p.handlers[name] = handler{typ: mt, where: part.where, handle: func(b Batch, e holdfast.Event, at Event) error {
			return f(over[W](b, at), e.(E), at)
		}}
		return nil
	}}
}

// Every binds what any event of any aggregate type does, as it was recorded: it may be of a
// type that nobody here knows. The event comes without its message.
func Every[W Target](f func(W, Event) error) Part {
	return Part{what: "Every", where: caller(), add: func(p *Projection, part Part) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		if p.every != nil {
			return fmt.Errorf("there is an Every already, at %s", p.every.where)
		}
		if err := setForm[W](p); err != nil {
			return err
		}
		p.every = &handler{where: part.where, handle: func(b Batch, _ holdfast.Event, at Event) error { return f(over[W](b, at), at) }}
		return nil
	}}
}

// Tables gives statements of SQL that make the tables of a projection of rows, in their order;
// they are executed once for each generation, where nothing of the names is there yet. They,
// and handlers, are written with plain names and types that the databases in use have in
// common, or for one of them.
func Tables(statements ...string) Part {
	return Part{what: "Tables", where: caller(), add: func(p *Projection, _ Part) error {
		p.tables = append(p.tables, statements...)
		return nil
	}}
}

// Show answers a query for a key from the tables: with what encoding/json shows, or nil when
// there is nothing. Without it a projection of rows is read in its tables only; one of
// documents answers with the document.
func Show(f func(r *Rows, key string) (any, error)) Part {
	return Part{what: "Show", where: caller(), add: func(p *Projection, _ Part) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		p.show = f
		return nil
	}}
}

// Key says which events need to be handled in their order: those of the same key, of which all
// later ones are parked with one that is. By default it is the aggregate, as it is of an event
// that cannot be read. Events of different keys have no order between them that a handler may
// count on: one that was parked comes late.
func Key(f func(holdfast.Event, Event) string) Part {
	return Part{what: "Key", where: caller(), add: func(p *Projection, _ Part) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		p.key = f
		return nil
	}}
}

// Shards has the keys of each partition divided among n, which are handled side by side, on
// different nodes perhaps. Events of different shards have no order between them.
func Shards(n int) Part {
	return Part{what: "Shards", where: caller(), add: func(p *Projection, _ Part) error {
		if n < 1 || n > MaxShards {
			return fmt.Errorf("%d: choose 1 to %d", n, MaxShards)
		}
		p.shards = n
		return nil
	}}
}

// Revision counts the meanings of the read model. Raise it when handlers, tables or documents
// change: a new generation is then built beside the old one, which serves until the new one
// is switched to.
func Revision(n int) Part {
	return Part{what: "Revision", where: caller(), add: func(p *Projection, _ Part) error {
		if n < 1 {
			return fmt.Errorf("%d: choose 1 or more", n)
		}
		p.revision = n
		return nil
	}}
}

// InKV has the documents kept in NATS KV, where any client can watch them, and not in the
// database that the node has.
func InKV() Part {
	return Part{what: "InKV", where: caller(), add: func(p *Projection, _ Part) error {
		p.kv = true
		return nil
	}}
}

// Effect binds what is done outside for what handlers put into the outbox with Later under that
// name. It is called after the transaction of the handler, again after an error, and again
// after a crash: it is given an id that stays the same, for others to know a repetition by.
// While a generation is built that does not serve yet, nothing is put into the outbox.
func Effect[P proto.Message](name string, f func(ctx context.Context, id string, payload P) error) Part {
	return Part{what: "Effect(" + name + ")", where: caller(), add: func(p *Projection, part Part) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		mt, err := messageType[P]()
		if err != nil {
			return err
		}
		if !nameForm.MatchString(name) {
			return errors.New("bad name: want a small letter, then small letters, digits and '_', 40 at most")
		}
		if prev, ok := p.effects[name]; ok {
			return fmt.Errorf("there is an Effect of that name already, at %s", prev.where)
		}
		p.effects[name] = effect{typ: mt, where: part.where, carry: func(ctx context.Context, id string, m proto.Message) error {
			return f(ctx, id, m.(P))
		}}
		return nil
	}}
}

// check looks at what only the whole shows.
func (p *Projection) check() error {
	switch {
	case len(p.handlers) == 0 && p.every == nil:
		return errors.New("it has no On")
	case len(p.handlers) > 0 && len(p.types) == 0:
		return errors.New("it has no From: name the aggregate types that it reads")
	case p.every != nil && len(p.handlers)+len(p.types) > 0:
		return errors.New("Every stands alone: it has all events of all types, as they were recorded")
	case p.form == FormDocuments && len(p.tables) > 0:
		return errors.New("Tables are for handlers of *Rows: documents need none")
	case p.form == FormDocuments && p.show != nil:
		return errors.New("Show is for handlers of *Rows: documents are shown as they are")
	case p.form == FormRows && p.kv:
		return errors.New("InKV is for documents: rows are kept in a database")
	case p.form == FormRows && len(p.tables) == 0:
		return errors.New("it has no Tables: say how those are made that its handlers write to")
	}
	for name, h := range p.handlers {
		if err := p.checkEvent(name); err != nil {
			return fmt.Errorf("On(%s) at %s: %w", name, h.where, err)
		}
	}
	for _, t := range p.types {
		p.findIdle(t)
	}
	return nil
}

// checkEvent finds that no type gives such an event, as it is read.
func (p *Projection) checkEvent(name protoreflect.FullName) error {
	for _, t := range p.types {
		if _, ok := t.NewEvent(string(name)); !ok {
			continue
		}
		if !isNewest(t, string(name)) {
			return fmt.Errorf("the event is retired: handle what has taken its place")
		}
		return nil
	}
	return fmt.Errorf("none of the types has this event")
}

// Name of the projection.
func (p *Projection) Name() string { return p.name }

// Form says what its handlers write.
func (p *Projection) Form() Form { return p.form }

// Revision of its definition; 0 unless [Revision] said otherwise.
func (p *Projection) Revision() int { return p.revision }

// InKV reports whether its documents are to be kept in NATS KV.
func (p *Projection) InKV() bool { return p.kv }

// Shown reports whether [Projection.Answer] has anything to say.
func (p *Projection) Shown() bool { return p.form == FormDocuments || p.show != nil }

// Shards of each partition.
func (p *Projection) Shards() int { return p.shards }

// Tables are the statements that make its tables, in order.
func (p *Projection) Tables() []string { return slices.Clone(p.tables) }

// Types are the names of the aggregate types that it reads, sorted; none when it reads all.
func (p *Projection) Types() []string {
	names := make([]string, 0, len(p.types))
	for name := range p.types {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Answer answers a query for a key from a generation that a sink keeps: JSON, or nil when there
// is nothing. A panic of [Show] comes back as an error, as does that there is no Show.
func (p *Projection) Answer(ctx context.Context, s Sink, generation uint64, key string) (body []byte, err error) {
	if p.form == FormDocuments {
		return s.Document(ctx, p.name, generation, key)
	}
	if p.show == nil {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "the projection %s has no Show: read its tables", p.name)
	}
	err = s.Query(ctx, p.name, generation, func(b Batch) (err error) {
		defer recovered(&err)
		v, err := p.show(NewRows(b), key)
		if err == nil && v != nil {
			body, err = json.Marshal(v)
		}
		return err
	})
	return body, err
}

// Effects reports whether handlers may put anything into the outbox.
func (p *Projection) Effects() bool { return len(p.effects) > 0 }

// Carry does what was put into the outbox. A panic comes back as an error.
func (p *Projection) Carry(ctx context.Context, e Effected) (err error) {
	f, ok := p.effects[e.Name]
	if !ok {
		return fmt.Errorf("the projection %s has no Effect %q: was it renamed?", p.name, e.Name)
	}
	payload := f.typ.New().Interface()
	if err := proto.Unmarshal(e.Payload, payload); err != nil {
		return fmt.Errorf("the effect %q cannot be read: %w", e.Name, err)
	}
	defer recovered(&err)
	return f.carry(ctx, e.ID, payload)
}

func messageType[M proto.Message]() (protoreflect.MessageType, error) {
	t := reflect.TypeFor[M]()
	if t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("%v is no generated message: name the pointer to one", t)
	}
	return reflect.New(t.Elem()).Interface().(proto.Message).ProtoReflect().Type(), nil
}

// caller is where the function that calls it was called.
func caller() string {
	_, file, line, ok := runtime.Caller(2)
	if !ok {
		return "unknown"
	}
	return fmt.Sprintf("%s:%d", filepath.Base(file), line)
}
