package projections

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A Form is what a projection's handlers write.
type Form string

// The forms.
const (
	// FormRows: rows of tables, through *[Rows].
	FormRows Form = "rows"
	// FormDocuments: documents under keys, through *[Docs].
	FormDocuments Form = "documents"
)

// A Target is what handlers write to: *[Rows] or *[Docs]. There are no others.
type Target interface {
	form() Form
	over(b Batch, at Event) Target
}

func over[W Target](b Batch, at Event) W {
	var none W
	return none.over(b, at).(W)
}

func setForm[W Target](p *Projection) error {
	t := reflect.TypeFor[W]()
	if t.Kind() != reflect.Pointer {
		return fmt.Errorf("handlers write to *Rows or *Docs, not to %v", t)
	}
	var none W
	if p.form != "" && p.form != none.form() {
		return fmt.Errorf("it writes %s, and others of the projection write %s: choose one", none.form(), p.form)
	}
	p.form = none.form()
	return nil
}

// Rows are the tables of a projection within a transaction.
type Rows struct {
	batch Batch
	at    Event
}

// NewRows gives what handlers get of a batch, for those who read it with [Sink].Query.
func NewRows(b Batch) *Rows { return &Rows{batch: b} }

func (*Rows) form() Form                    { return FormRows }
func (*Rows) over(b Batch, at Event) Target { return &Rows{b, at} }

// Exec executes a statement with its parameters $1, $2 …, and tells how many rows it changed.
func (r *Rows) Exec(query string, args ...any) (int64, error) { return r.batch.Exec(query, args) }

// Get reads the first row that a query finds into dest, and reports whether there is one.
func (r *Rows) Get(query string, args []any, dest ...any) (bool, error) {
	return r.batch.Get(query, args, dest)
}

// Each reads every row that a query finds into dest, and calls f for each.
func (r *Rows) Each(query string, args []any, f func() error, dest ...any) error {
	return r.batch.Each(query, args, f, dest)
}

// Later puts something into the outbox, for the [Effect] of that name.
func (r *Rows) Later(name string, payload proto.Message) error {
	return later(r.batch, r.at, name, payload)
}

// Docs are the documents of a projection within a transaction: values of V under keys, kept
// and shown as JSON. V is a generated message by pointer, or whatever encoding/json keeps.
type Docs[V any] struct {
	batch Batch
	at    Event
}

func (*Docs[V]) form() Form                    { return FormDocuments }
func (*Docs[V]) over(b Batch, at Event) Target { return &Docs[V]{b, at} }

// Change gives the document under a key to f, and keeps what f returns: the zero V when there
// is none yet. It is the only way to a document, so that one that has the event already is
// left as it is. A key is any text of 1 to [MaxKey] bytes.
func (d *Docs[V]) Change(key string, f func(V) V) error {
	return d.change(key, func(v V, _ bool) (V, bool) { return f(v), true })
}

// Remove takes a document away; that there is none is no error.
func (d *Docs[V]) Remove(key string) error {
	return d.change(key, func(v V, _ bool) (V, bool) { return v, false })
}

// MaxKey is how many bytes the key of a document may have.
const MaxKey = 128

func (d *Docs[V]) change(key string, f func(V, bool) (V, bool)) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("the key %q of a document has %d bytes: want 1 to %d", key, len(key), MaxKey)
	}
	return d.batch.Change(key, d.at.Place(), func(old []byte) ([]byte, error) {
		var v V
		if old != nil {
			var err error
			if v, err = decodeDocument[V](old); err != nil {
				return nil, fmt.Errorf("the document %q cannot be read: %w: raise the Revision when documents change", key, err)
			}
		} else if m, ok := any(v).(proto.Message); ok {
			v = m.ProtoReflect().New().Interface().(V)
		}
		v, keep := f(v, old != nil)
		if !keep {
			return nil, nil
		}
		return encodeDocument(v)
	})
}

// Later puts something into the outbox, for the [Effect] of that name.
func (d *Docs[V]) Later(name string, payload proto.Message) error {
	return later(d.batch, d.at, name, payload)
}

func decodeDocument[V any](text []byte) (v V, err error) {
	if m, ok := any(v).(proto.Message); ok {
		m = m.ProtoReflect().New().Interface()
		return m.(V), protojson.Unmarshal(text, m)
	}
	return v, json.Unmarshal(text, &v)
}

// encodeDocument gives the same bytes for the same document.
func encodeDocument(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return json.Marshal(v)
	}
	if !m.ProtoReflect().IsValid() {
		return nil, errors.New("the document is nil: take it away with Remove")
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	return json.Marshal(json.RawMessage(text)) // which takes out the spaces that protojson varies
}

func later(b Batch, at Event, name string, payload proto.Message) error {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(payload)
	if err != nil {
		return fmt.Errorf("outbox %q: %w", name, err)
	}
	return b.Later(Effected{ID: at.ID + "/" + name, Name: name, Payload: body})
}
