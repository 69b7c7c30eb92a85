package kvsink

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// A value is what stands under a document's key:
//
//	{"position":"0-123","after":{"0.0":"123"},"drained":["0.0/57.0.0"],"value":{…}}
//
// position is that of the last event that has changed it. after says of each unit,
// <partition>.<shard>, up to which sequence its events are in the document, and drained which
// ones were parked and came late, the last 16 of them. Once an operator has reset the
// checkpoint of the unit, both begin with how often: "1:123".
type value struct {
	Position string            `json:"position"`
	After    map[string]string `json:"after"`
	Drained  []string          `json:"drained,omitempty"`
	Value    json.RawMessage   `json:"value"`
}

// maxDrained is how many late events a document remembers.
const maxDrained = 16

// A document is one version of a value. It does not change.
type document struct {
	revision uint64 // 0: it was never there
	position string
	after    []mark
	drained  []string
	value    []byte // nil: it is not there
}

// A mark is how far a unit has come, counted from its last reset.
type mark struct {
	unit     string
	resets   uint64
	sequence uint64
}

// A source is a unit whose events change documents.
type source struct {
	unit      string // <partition>.<shard>
	partition uint32
	resets    uint64
}

func newSource(u projections.Unit, resets uint64) source {
	return source{unit: fmt.Sprintf("%d.%d", u.Partition, u.Shard), partition: u.Partition, resets: resets}
}

// count puts in front of s how often the unit was reset, if ever.
func count(resets uint64, s string) string {
	if resets == 0 {
		return s
	}
	return strconv.FormatUint(resets, 10) + ":" + s
}

func (s source) late(at projections.Place) string {
	return s.unit + "/" + count(s.resets, spot{at.Sequence, at.Index, at.Part}.String())
}

// has reports whether the event at a place is in the document. Of a record that is divided, that
// one of its events is says nothing of those behind it.
func (d *document) has(s source, at projections.Place, divided bool) bool {
	if at.Drained {
		return slices.Contains(d.drained, s.late(at))
	}
	for _, m := range d.after {
		if m.unit == s.unit {
			return m.resets > s.resets || m.resets == s.resets && (at.Sequence < m.sequence || at.Sequence == m.sequence && !divided)
		}
	}
	return false
}

// with gives what becomes of the document with an event.
func (d *document) with(s source, at projections.Place, value []byte) *document {
	next := &document{revision: d.revision, position: holdfast.NewPosition(s.partition, at.Sequence).String(), after: d.after, drained: d.drained, value: value}
	if at.Drained {
		next.drained = append(slices.Clone(d.drained[max(0, len(d.drained)-maxDrained+1):]), s.late(at))
		return next
	}
	m := mark{s.unit, s.resets, at.Sequence}
	i := slices.IndexFunc(d.after, func(m mark) bool { return m.unit == s.unit })
	switch {
	case i < 0:
		next.after = append(slices.Clip(d.after), m)
	case d.after[i] != m:
		next.after = slices.Clone(d.after)
		next.after[i] = m
	}
	return next
}

// encode writes the value; one of a document that is not there is kept in a KV delete, for the
// sake of what it has had.
func (d *document) encode() []byte {
	b := make([]byte, 0, len(d.value)+96+32*len(d.after))
	b = append(b, `{"position":"`...)
	b = append(b, d.position...)
	b = append(b, `","after":{`...)
	for i, m := range d.after {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, m.unit...)
		b = append(b, `":"`...)
		b = append(b, count(m.resets, strconv.FormatUint(m.sequence, 10))...)
		b = append(b, '"')
	}
	b = append(b, '}')
	if len(d.drained) > 0 {
		b = append(b, `,"drained":["`...)
		b = append(b, strings.Join(d.drained, `","`)...)
		b = append(b, `"]`...)
	}
	b = append(b, `,"value":`...)
	if d.value == nil {
		b = append(b, "null"...)
	}
	b = append(b, d.value...)
	return append(b, '}')
}

func decode(m *stored) (*document, error) {
	if m == nil {
		return &document{}, nil
	}
	var v value
	if err := json.Unmarshal(m.Data, &v); err != nil {
		return nil, fmt.Errorf("%s at %d is no document: %w", m.Subject, m.Seq, err)
	}
	d := &document{revision: m.Seq, position: v.Position, drained: v.Drained, value: v.Value}
	if isDelete(m.Header) {
		d.value = nil
	}
	for unit, text := range v.After {
		m := mark{unit: unit}
		resets, sequence, ok := strings.Cut(text, ":")
		if !ok {
			resets, sequence = "0", text
		}
		var err error
		if m.resets, err = strconv.ParseUint(resets, 10, 64); err == nil {
			m.sequence, err = strconv.ParseUint(sequence, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("the document says %q of %s: %w", text, unit, err)
		}
		d.after = append(d.after, m)
	}
	slices.SortFunc(d.after, func(a, b mark) int { return strings.Compare(a.unit, b.unit) })
	return d, nil
}

// size is about how much memory the document takes.
func (d *document) size() int { return len(d.value) + 64*len(d.after) + 200 }
