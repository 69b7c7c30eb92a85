package kvsink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/projections"
)

const (
	// enough is how many messages a part of a batch has before it ends with the event that is
	// being handled.
	enough = 450
	// maxEvent is how many messages one event may come to: with what is enough it stays below
	// the thousand that JetStream takes as one batch.
	maxEvent = 500
	// maxPart is how many bytes are enough: a replicated stream keeps them in memory.
	maxPart = 4 << 20
)

// A batch gathers what becomes of documents, and of what is parked, in parts that can be
// committed each as a whole.
type batch struct {
	sink *Sink
	*generation
	ctx    context.Context
	unit   projections.Unit
	source source
	from   *point
	limit  int // of a message's bytes

	docs   map[string]*changed
	parked map[string]*projections.Parked // by subject; nil when it is not parked
	later  map[string]bool                // by subject
	parts  []*part
	broken error

	at      *projections.Place // of the event that is being handled
	passed  *spot              // the last event that was not late
	ofEvent int                // messages that it has come to
}

// A part of a batch is of whole events.
type part struct {
	docs   []*changed
	out    []message // beside documents
	bytes  int
	within *spot // the last of its events, of those before it if it has none
}

// A message that is to be published.
type message struct {
	subject string
	data    []byte
	deleted bool // is a document that is not there
	gone    bool // stands for nothing, and vanishes
	expect  *uint64
}

// A changed document.
type changed struct {
	subject  string
	latest   *document
	revision uint64 // of the stream, at which it is to be changed
	ops      []op
	versions map[int]*document // by part
}

// An op is a change of a document.
type op struct {
	part int
	at   projections.Place
	f    func([]byte) ([]byte, error)
}

func (s *Sink) newBatch(ctx context.Context, g *generation, u projections.Unit, from *point) *batch {
	return &batch{
		sink: s, generation: g, ctx: ctx, unit: u, source: newSource(u, from.Resets), from: from,
		// Some of a message is header, and of a document, its positions.
		limit: int(s.config.Conn.MaxPayload()) - 2048,
		docs:  map[string]*changed{}, parked: map[string]*projections.Parked{}, later: map[string]bool{},
		parts: []*part{{within: from.Within}}, passed: from.Within,
	}
}

func (b *batch) part() *part { return b.parts[len(b.parts)-1] }

// begin says that what follows is of the event at a place.
func (b *batch) begin(at projections.Place) {
	if b.at != nil && *b.at == at {
		return
	}
	if p := b.part(); len(p.docs)+len(p.out) >= enough || p.bytes >= maxPart {
		p.within = b.passed
		b.parts = append(b.parts, &part{within: b.passed})
	}
	b.at, b.ofEvent = &at, 0
	if !at.Drained {
		b.passed = &spot{at.Sequence, at.Index, at.Part}
	}
}

// count counts one more message of the event.
func (b *batch) count() error {
	if b.ofEvent++; b.ofEvent > maxEvent {
		return fmt.Errorf("the event comes to more than %d documents and entries of the outbox, which are as many as NATS KV takes at once: keep the projection in a database", maxEvent)
	}
	return nil
}

func (b *batch) put(m message) {
	p := b.part()
	p.out = append(p.out, m)
	p.bytes += len(m.data)
}

// Exec implements [projections.Batch].
func (b *batch) Exec(string, []any) (int64, error) { return 0, errRows }

// Get implements [projections.Batch].
func (b *batch) Get(string, []any, []any) (bool, error) { return false, errRows }

// Each implements [projections.Batch].
func (b *batch) Each(string, []any, func() error, []any) error { return errRows }

// Broken implements [projections.Batch].
func (b *batch) Broken() error { return b.broken }

func (b *batch) breaks(err error) error {
	if b.broken == nil {
		b.broken = err
	}
	return err
}

// Change implements [projections.Batch].
func (b *batch) Change(key string, at projections.Place, f func([]byte) ([]byte, error)) error {
	if b.broken != nil {
		return b.broken
	}
	if b.from.within(at) {
		return nil
	}
	text, err := encodeKey(key)
	if err != nil {
		return err
	}
	b.begin(at)
	d, err := b.document(b.names.document + text)
	if err != nil {
		return b.breaks(err)
	}
	if d.latest.revision > 0 && len(d.ops) == 0 && d.latest.has(b.source, at, b.from.divides(at)) {
		return nil
	}
	current := len(b.parts) - 1
	if d.versions[current] == nil {
		if err := b.count(); err != nil {
			return err
		}
	}
	o := op{current, at, f}
	before := len(d.latest.value)
	if err := b.fold(d, o); err != nil {
		return err
	}
	d.ops = append(d.ops, o)
	b.part().bytes += max(0, len(d.latest.value)-before)
	return nil
}

// fold applies an op to the latest version of a document.
func (b *batch) fold(d *changed, o op) error {
	text, err := o.f(d.latest.value)
	if err != nil {
		return err
	}
	if text != nil && !json.Valid(text) {
		return errors.New("the document is not JSON")
	}
	next := d.latest.with(b.source, o.at, text)
	if len(text)+32*len(next.after) > b.limit {
		return fmt.Errorf("the document takes %d bytes, and a message of NATS has %d at the most: divide it", len(text), b.limit)
	}
	if d.versions[o.part] == nil {
		p := b.parts[o.part]
		p.docs = append(p.docs, d)
		p.bytes += len(text)
	}
	d.latest, d.versions[o.part] = next, next
	return nil
}

// document gives a document as the batch has it by now.
func (b *batch) document(subject string) (*changed, error) {
	if d := b.docs[subject]; d != nil {
		return d, nil
	}
	base := b.find(subject)
	if base == nil {
		var err error
		if base, err = b.load(b.ctx, subject); err != nil {
			return nil, err
		}
	}
	d := &changed{subject: subject, latest: base, revision: base.revision, versions: map[int]*document{}}
	b.docs[subject] = d
	return d, nil
}

func (b *batch) load(ctx context.Context, subject string) (*document, error) {
	m, err := b.sink.last(ctx, b.names, subject)
	if err != nil {
		return nil, err
	}
	return decode(m)
}
