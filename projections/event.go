package projections

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// An Event is what stands beside an event of the log.
type Event struct {
	// ID is that under which history and the feed show it; of one that was upcast into
	// several, each but the first has its number behind it.
	ID       string
	Ref      holdfast.Ref
	Version  holdfast.Version
	Position holdfast.Position
	// Index counts the events of a commit, from 0, and Part those into which one was upcast. Of
	// a record that cannot be read Index is -1, and of an event that cannot, Part.
	Index, Part int
	// Name is the full name of its message, in its newest form.
	Name string
	Time time.Time
	// Command is the full name of the command that it follows from.
	Command, CommandID, CorrelationID, CausationID, User string
	// Drained says that it was parked: later ones of other keys have been handled before.
	Drained bool
	// Data is the message as it was recorded; of [Every] only.
	Data []byte
}

// A Place says which event of a unit it is: places of later events are greater.
type Place struct {
	Sequence    uint64
	Index, Part int
	Drained     bool
}

// Place of the event within its partition.
func (e Event) Place() Place {
	return Place{Sequence: e.Position.Sequence(), Index: e.Index, Part: e.Part, Drained: e.Drained}
}

// An Item is an event of a record, with its message, or the reason why it cannot be had.
type Item struct {
	Event
	Message holdfast.Event
	// Key is that of [Key].
	Key string
	// Unread says why the event cannot be handled by this build: its type is unknown, or its
	// bytes cannot be read.
	Unread error
}

// Concerns reports whether the projection reads records of that aggregate type.
func (p *Projection) Concerns(typ string) bool { return p.every != nil || p.types[typ] != nil }

// Read gives what of a record the projection handles, in order: none when it does not concern
// it. What concerns it and cannot be read is an item with the reason. subject is the record's.
func (p *Projection) Read(rec persistence.Record) []Item { return p.Append(nil, rec, nil) }

// Append is Read, behind items that there are, of the keys that are mine: of all when it is
// nil. It does not open a record of which none is.
func (p *Projection) Append(items []Item, rec persistence.Record, mine func(key string) bool) []Item {
	first := len(items)
	items = p.appendAll(items, rec, mine)
	if mine == nil || p.key == nil {
		return items
	}
	kept := items[:first]
	for _, i := range items[first:] {
		if mine(i.Key) {
			kept = append(kept, i)
		}
	}
	return kept
}

// appendAll appends those of all keys, unless none of the record's can be mine.
func (p *Projection) appendAll(items []Item, rec persistence.Record, mine func(key string) bool) []Item {
	subject, err := messages.ParseSubject(rec.Subject)
	if err != nil {
		if mine != nil && !mine(rec.Subject) {
			return items
		}
		return append(items, Item{Event: Event{ID: rec.Position.String(), Position: rec.Position, Index: -1}, Key: rec.Subject, Unread: err})
	}
	if !p.Concerns(subject.Type) {
		return items
	}
	ref := holdfast.Ref{Type: subject.Type, ID: subject.ID.Raw()}
	if mine != nil && p.key == nil && !mine(ref.String()) {
		return items
	}
	commit, err := persistence.Open(rec.Position, rec.Body)
	if err != nil {
		at := Event{ID: rec.Position.String(), Ref: ref, Position: rec.Position, Index: -1, Time: rec.Time}
		return append(items, p.item(at, nil, err))
	}
	index := 0
	for _, ch := range commit.Changes {
		for _, e := range ch.Events {
			at := Event{
				Ref: ref, Version: holdfast.Version(commit.FirstVersion) + holdfast.Version(index), Position: rec.Position, Index: index,
				Name: e.Type, Time: time.Unix(0, ch.Time).UTC(), Command: ch.Command, CommandID: ch.CommandId,
				CorrelationID: ch.CorrelationId, CausationID: ch.CausationId, User: ch.User,
			}
			at.ID = messages.FormatRef(subject.Type, subject.ID) + "@" + strconv.FormatUint(uint64(at.Version), 10)
			items = p.append(items, at, e)
			index++
		}
	}
	return items
}

func (p *Projection) append(items []Item, at Event, recorded *messages.Event) []Item {
	if p.every != nil {
		at.Data = recorded.Data
		return append(items, p.item(at, nil, nil))
	}
	if p.idle[recordedAs{at.Ref.Type, recorded.Type}] {
		return items
	}
	newest, err := p.newest(at.Ref.Type, recorded)
	if err != nil {
		at.Part = -1
		return append(items, p.item(at, nil, err))
	}
	for part, e := range newest {
		at.Name = string(e.ProtoReflect().Descriptor().FullName())
		if _, ok := p.handlers[protoreflect.FullName(at.Name)]; !ok {
			continue
		}
		items = append(items, p.item(at.part(part), e, nil))
	}
	return items
}

// item finds the key of an event. One whose key cannot be told has that of its aggregate.
func (p *Projection) item(at Event, message holdfast.Event, unread error) (i Item) {
	i = Item{Event: at, Message: message, Key: at.Ref.String(), Unread: unread}
	if p.key == nil || message == nil {
		return i
	}
	defer recovered(&i.Unread)
	i.Key = p.key(message, at)
	return i
}

func (e Event) part(n int) Event {
	if e.Part = n; n > 0 {
		e.ID = fmt.Sprintf("%s.%d", e.ID, n)
	}
	return e
}

// newest decodes an event that somebody may handle, in its newest form.
func (p *Projection) newest(typ string, recorded *messages.Event) (events holdfast.Events, err error) {
	defer recovered(&err)
	e, err := persistence.DecodeEvent(p.types[typ], recorded)
	if err != nil {
		return nil, err
	}
	return p.types[typ].Upcast(e)
}

// Handle has an item handled. A panic comes back as an error, as does what has failed in the
// batch when the handler says nothing of it.
func (p *Projection) Handle(b Batch, i Item) (err error) {
	if i.Unread != nil {
		return i.Unread
	}
	h := p.every
	if h == nil {
		found, ok := p.handlers[protoreflect.FullName(i.Name)]
		if !ok {
			return fmt.Errorf("the projection %s has no On for %s", p.name, i.Name)
		}
		h = &found
	}
	defer recovered(&err)
	if err := h.handle(b, i.Message, i.Event); err != nil {
		return err
	}
	if f, ok := b.(Failing); ok {
		return f.Failed()
	}
	return nil
}

// A PanicError is what a function of the domain panicked with.
type PanicError struct {
	Value any
	Stack []byte
}

// Error gives the value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = &PanicError{Value: r, Stack: debug.Stack()}
	}
}
