package messages

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Decoder opens one commit after another in the same memory. The zero Decoder is ready.
//
// It reads by hand what this build writes, at less than half of what the protobuf library
// costs, to which all else is left: an unknown field, a number in another form, text that is
// not UTF-8. So there is one opinion of what can be decoded.
type Decoder struct {
	commit  Commit
	changes [1]*Change // nearly every commit has one
	change  changeRoom
	texts   *texts // nil in the first commit
}

// changeRoom is a change, and room for the one event that nearly every one has.
type changeRoom struct {
	change Change
	events [1]*Event
	event  Event
}

// The tags of all fields: the number, and what comes after it.
const (
	varint = uint64(protowire.VarintType)
	length = uint64(protowire.BytesType)

	commitFormat   = 1<<3 | varint
	commitID       = 2<<3 | length
	commitFirst    = 3<<3 | varint
	commitLast     = 4<<3 | varint
	commitPrevious = 5<<3 | varint
	commitTrail    = 6<<3 | length
	commitTime     = 7<<3 | varint
	commitChange   = 8<<3 | length
	commitDigest   = 15<<3 | length

	changeCommandID     = 1<<3 | length
	changeCommand       = 2<<3 | length
	changeCorrelationID = 3<<3 | length
	changeCausationID   = 4<<3 | length
	changeUser          = 5<<3 | length
	changeTrace         = 6<<3 | length
	changeTime          = 7<<3 | varint
	changeEvent         = 8<<3 | length

	eventType   = 1<<3 | length
	eventSchema = 2<<3 | varint
	eventData   = 3<<3 | length
	eventKeyID  = 4<<3 | length
)

// decode gives the commit, or reports that it is not for the decoder to read. The commit's
// bytes are those of the body.
func (d *Decoder) decode(body []byte) (*Commit, bool) {
	c := &d.commit
	trail, changes := c.Trail[:0], c.Changes[:0]
	if changes == nil {
		d.changes[0] = d.change.ready()
		changes = d.changes[:0]
	} else if d.texts == nil {
		d.texts = new(texts)
	}
	*c = Commit{Changes: changes}
	for len(body) > 0 {
		tag, value, data, n := nextField(body)
		ok := n > 0
		switch tag {
		case commitFormat:
			c.Format = uint32(value)
		case commitID:
			c.Id, ok = d.texts.of(data, ok)
		case commitFirst:
			c.FirstVersion = value
		case commitLast:
			c.LastVersion = value
		case commitPrevious:
			c.Previous = value
		case commitTrail:
			c.Trail, ok = appendPacked(trail, data, ok && len(c.Trail) == 0)
		case commitTime:
			c.Time = int64(value)
		case commitChange:
			ok = ok && another(&c.Changes, newChange).decode(data, d.texts)
		case commitDigest:
			c.Digest = data
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
		body = body[n:]
	}
	return c, true
}

// ready gives the change, with its room.
func (r *changeRoom) ready() *Change {
	r.events[0] = &r.event
	r.change.Events = r.events[:0]
	return &r.change
}

// another adds one to a list: one that stood there in another life, if there is one.
func another[T any](list *[]*T, fresh func() *T) *T {
	if n := len(*list); n < cap(*list) {
		if old := (*list)[:n+1][n]; old != nil {
			*list = (*list)[:n+1]
			return old
		}
	}
	x := fresh()
	*list = append(*list, x)
	return x
}

func newChange() *Change { return new(changeRoom).ready() }

func newEvent() *Event { return new(Event) }

func (ch *Change) decode(b []byte, texts *texts) bool {
	command := ch.Command
	*ch = Change{Events: ch.Events[:0]}
	for len(b) > 0 {
		tag, value, data, n := nextField(b)
		ok := n > 0
		switch tag {
		case changeCommandID:
			ch.CommandId, ok = texts.of(data, ok)
		case changeCommand:
			ch.Command, ok = texts.same(command, data, ok)
		case changeCorrelationID:
			ch.CorrelationId, ok = texts.of(data, ok)
		case changeCausationID:
			ch.CausationId, ok = texts.of(data, ok)
		case changeUser:
			ch.User, ok = texts.of(data, ok)
		case changeTrace:
			ch.Trace, ok = texts.of(data, ok)
		case changeTime:
			ch.Time = int64(value)
		case changeEvent:
			ok = ok && another(&ch.Events, newEvent).decode(data, texts)
		default:
			ok = false
		}
		if !ok {
			return false
		}
		b = b[n:]
	}
	return true
}

func (e *Event) decode(b []byte, texts *texts) bool {
	typ := e.Type
	*e = Event{}
	for len(b) > 0 {
		tag, value, data, n := nextField(b)
		ok := n > 0
		switch tag {
		case eventType:
			e.Type, ok = texts.same(typ, data, ok)
		case eventSchema:
			e.Schema = uint32(value)
		case eventData:
			e.Data = data
		case eventKeyID:
			e.KeyId, ok = texts.of(data, ok)
		default:
			ok = false
		}
		if !ok {
			return false
		}
		b = b[n:]
	}
	return true
}

// nextField gives the tag of the first field of b with its number or its bytes, and how long it is
// in all: not above 0 when it is neither, or broken.
func nextField(b []byte) (tag, value uint64, data []byte, n int) {
	var m int
	if len(b) > 1 && b[0] < 0x80 && b[1] < 0x80 { // most are a byte each
		tag, value, n, m = uint64(b[0]), uint64(b[1]), 1, 1
	} else if tag, n = protowire.ConsumeVarint(b); n > 0 {
		value, m = protowire.ConsumeVarint(b[n:])
	}
	if n < 0 || m < 0 {
		return 0, 0, nil, -1
	}
	n += m
	switch tag & 7 {
	case varint:
		return tag, value, nil, n
	case length:
		if value <= uint64(len(b)-n) {
			end := n + int(value)
			return tag, 0, b[n:end:end], end
		}
	}
	return 0, 0, nil, -1
}

// texts are strings that are made in one piece of memory. Without it each has its own.
type texts struct{ room strings.Builder }

// textRoom is how many bytes of text there is room made for at once.
const textRoom = 2048

// of gives data as a string.
func (t *texts) of(data []byte, ok bool) (string, bool) {
	if ok = ok && utf8.Valid(data); !ok || t == nil {
		return string(data), ok
	}
	if t.room.Cap()-t.room.Len() < len(data) {
		t.room = strings.Builder{}
		t.room.Grow(max(len(data), textRoom))
	}
	from := t.room.Len()
	t.room.Write(data)
	return t.room.String()[from:], ok
}

// same gives data as the string that was there before, if it is the same.
func (t *texts) same(before string, data []byte, ok bool) (string, bool) {
	if ok && before == string(data) {
		return before, ok
	}
	return t.of(data, ok)
}

// appendPacked appends packed numbers.
func appendPacked(to []uint64, data []byte, ok bool) ([]uint64, bool) {
	if cap(to) == 0 && ok {
		n := 0
		for _, b := range data {
			if b < 0x80 { // the last byte of a number
				n++
			}
		}
		to = make([]uint64, 0, n)
	}
	for ok && len(data) > 0 {
		value, n := uint64(data[0]), 1
		if value >= 0x80 {
			value, n = protowire.ConsumeVarint(data)
		}
		if ok = n > 0; ok {
			to, data = append(to, value), data[n:]
		}
	}
	return to, ok
}
