package kvsink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// A kept event is one that is parked, as JSON; behind it, after a line feed, is the body of the
// record, if it fits into the message.
type kept struct {
	Event     projections.Event
	Partition uint32
	Sequence  uint64   `json:",string"`
	Texts     [][]byte // since they may be no UTF-8
	Time      time.Time
	Since     time.Time
	Attempts  int
	Body      bool
}

// texts are those of an event that are other people's.
func texts(p *projections.Parked) []*string {
	e := &p.Event
	return []*string{&p.Key, &p.Reason, &p.Record.Subject, &e.ID, &e.Ref.ID, &e.CommandID, &e.CorrelationID, &e.CausationID, &e.User}
}

// encodeParked leaves out a body with which it would take more than so many bytes.
func encodeParked(p projections.Parked, limit int) ([]byte, error) {
	body := p.Record.Body
	k := kept{Partition: p.Record.Position.Partition(), Sequence: p.Record.Position.Sequence(), Time: p.Record.Time, Since: p.Since, Attempts: p.Attempts}
	for _, t := range texts(&p) {
		k.Texts = append(k.Texts, []byte(*t))
		*t = ""
	}
	k.Event, k.Event.Data, k.Body = p.Event, nil, body != nil
	text, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	if len(text)+len(body)+1 > limit {
		k.Body, body = false, nil
		if text, err = json.Marshal(k); err != nil {
			return nil, err
		}
	}
	if len(text) > limit {
		return nil, fmt.Errorf("what is to be parked takes %d bytes without its record, and a message of NATS has %d at the most", len(text), limit)
	}
	return append(append(text, '\n'), body...), nil
}

func decodeParked(m *stored) (*projections.Parked, error) {
	text, body, _ := bytes.Cut(m.Data, []byte{'\n'})
	var k kept
	p := &projections.Parked{}
	list := texts(p)
	err := json.Unmarshal(text, &k)
	if err == nil && len(k.Texts) != len(list) {
		err = fmt.Errorf("it has %d texts, want %d", len(k.Texts), len(list))
	}
	if err != nil {
		return nil, fmt.Errorf("%s at %d is nothing that was parked: %w", m.Subject, m.Seq, err)
	}
	position := holdfast.NewPosition(k.Partition, k.Sequence)
	p.Event = k.Event
	p.Event.Position = position
	p.Record = persistence.Record{Position: position, Time: k.Time}
	p.Since, p.Attempts = k.Since, k.Attempts
	if k.Body {
		p.Record.Body = body
	}
	for i, t := range list {
		*t = string(k.Texts[i])
	}
	return p, nil
}

// find finds what is parked at a subject, as the batch has it by now; nil when nothing is.
func (b *batch) findParked(subject string) (*projections.Parked, error) {
	if p, ok := b.parked[subject]; ok {
		return p, nil
	}
	m, err := b.sink.last(b.ctx, b.names, subject)
	if err != nil {
		return nil, b.breaks(err)
	}
	if m == nil || len(m.Data) == 0 {
		return nil, nil
	}
	return decodeParked(m)
}

// placeOf is where an event stands that is taken from what was parked.
func placeOf(e projections.Event, drained bool) projections.Place {
	at := e.Place()
	at.Drained = drained
	return at
}

// Park implements [projections.Batch].
func (b *batch) Park(p projections.Parked) error {
	if b.broken != nil {
		return b.broken
	}
	at := placeOf(p.Event, false)
	passed := at.Sequence <= b.from.Done
	subject := b.names.parked(b.unit, p)
	_, known := b.parked[subject]
	if known || passed || b.from.within(at) || b.from.Resets > 0 {
		was, err := b.findParked(subject)
		switch {
		case err != nil:
			return err
		case was != nil:
			p.Since = was.Since
		case passed:
			return b.gone(p)
		case b.from.within(at):
			return nil // it has had its effect
		}
	}
	text, err := encodeParked(p, b.limit)
	if err != nil {
		return err
	}
	at.Drained = passed
	b.begin(at)
	b.parked[subject] = &p
	b.put(message{subject: subject, data: text})
	return nil
}

// Unpark implements [projections.Batch].
func (b *batch) Unpark(p projections.Parked, skipped string) error {
	if b.broken != nil {
		return b.broken
	}
	subject := b.names.parked(b.unit, p)
	was, err := b.findParked(subject)
	if err != nil {
		return err
	}
	if was == nil {
		return b.gone(p)
	}
	b.begin(placeOf(p.Event, true))
	b.parked[subject] = nil
	b.put(message{subject: subject, gone: true})
	if skipped != "" {
		was.Reason = skipped
		text, err := encodeParked(*was, b.limit)
		if err != nil {
			return err
		}
		b.put(message{subject: b.names.skipped(b.unit, p), data: text})
	}
	return nil
}

// gone breaks the batch: another node has had the event.
func (b *batch) gone(p projections.Parked) error {
	return b.breaks(fmt.Errorf("%s: %s is not parked any more: %w", b.unit, p.Event.ID, projections.ErrFenced))
}

// An effect is what waits in the outbox.
type effect struct {
	ID, Name, Payload []byte
}

// Later implements [projections.Batch].
func (b *batch) Later(e projections.Effected) error {
	if b.broken != nil {
		return b.broken
	}
	subject := b.outbox(b.unit) + hash(e.ID)
	if b.later[subject] {
		return nil
	}
	text, err := json.Marshal(effect{[]byte(e.ID), []byte(e.Name), e.Payload})
	if err != nil {
		return err
	}
	if len(text) > b.limit {
		return fmt.Errorf("what is put into the outbox takes %d bytes, and a message of NATS has %d at the most", len(text), b.limit)
	}
	if err := b.count(); err != nil {
		return err
	}
	b.later[subject] = true
	b.put(message{subject: subject, data: text})
	return nil
}
