package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	// maxParts and maxPartBytes are how much an upcaster may make of one event: it is
	// published in one batch.
	maxParts     = 400
	maxPartBytes = 4 << 20
	// maxAttribute is how long an attribute may be. A longer one is left out: it is none
	// that Holdfast has recorded.
	maxAttribute = 1024
	maxReason    = 512
	// unreadName and unreadType stand for those of an event that have not the form of one.
	unreadName = "Unread"
	unreadType = "holdfast.v1.Unread"
)

// A recorded is an event as it stands in the log, with what is known of it.
type recorded struct {
	ref      messages.Subject // of the log
	position holdfast.Position
	version  uint64
	change   *messages.Change
	event    *messages.Event
}

// A shown is what is published of an event: of its newest form, or of one of several.
type shown struct {
	typ, contentType string
	data             []byte
	unread           string // why it is not its newest form
}

// render gives the messages for an event, and reports whether it could be read.
func (f *Feed) render(e recorded) (s step, ok bool) {
	parts, err := f.newest(e)
	if err != nil {
		parts = []shown{asRecorded(e.event, err.Error())}
	}
	ok = err == nil
	for i, part := range parts {
		m, size := f.message(e, part, i+1, len(parts))
		if room := f.room(); size > room {
			part.unread = strings.TrimPrefix(part.unread+fmt.Sprintf("; it takes %d bytes as a message, and the NATS server takes %d", size, room), "; ")
			part.data, part.contentType, ok = nil, messages.TypeUnread, false
			m, size = f.message(e, part, i+1, len(parts))
		}
		s.messages, s.bytes = append(s.messages, m), s.bytes+size
	}
	if n := len(s.messages); n > maxParts || n > 1 && s.bytes > maxPartBytes {
		reason := fmt.Sprintf("its upcasters make %d messages of %d bytes of it, and the most are %d of %d", n, s.bytes, maxParts, maxPartBytes)
		m, size := f.message(e, asRecorded(e.event, reason), 1, 1)
		return step{messages: []*nats.Msg{m}, bytes: size}, false
	}
	return s, ok
}

// framing is more than the protocol adds to what nats.go counts.
const framing = 64

// room is how many bytes a message may take, beside what a batch adds.
func (f *Feed) room() int { return int(f.config.Public.MaxPayload()) - batchRoom }

// newest gives an event in its newest form. A function of the domain that panics is an error.
func (f *Feed) newest(e recorded) (parts []shown, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("an upcaster of the event %s panicked: %v", e.event.Type, p)
		}
	}()
	def, ok := f.types[e.ref.Type]
	if !ok {
		return nil, fmt.Errorf("this node has no type %s", e.ref.Type)
	}
	event, err := persistence.DecodeEvent(def, e.event)
	if err != nil {
		return nil, err
	}
	list, err := def.Upcast(event)
	if err != nil {
		return nil, err
	}
	for _, event := range list {
		s, err := f.show(event)
		if err != nil {
			return nil, err
		}
		parts = append(parts, s)
	}
	return parts, nil
}

func (f *Feed) show(event holdfast.Event) (s shown, err error) {
	s.typ, s.contentType = string(proto.MessageName(event)), messages.TypeJSON
	if f.config.Protobuf {
		s.contentType = messages.TypeProtobuf
		s.data, err = proto.MarshalOptions{Deterministic: true}.Marshal(event)
	} else {
		s.data, err = showJSON(event)
	}
	if err != nil {
		err = fmt.Errorf("show the event %s: %w", s.typ, err)
	}
	return s, err
}

// showJSON gives an event as history shows it. protojson varies its spaces.
func showJSON(event holdfast.Event) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(event)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, text)
	return b.Bytes(), err
}

// asRecorded shows an event as it stands in the log, for a reason.
func asRecorded(e *messages.Event, reason string) shown {
	s := shown{typ: e.Type, contentType: messages.TypeProtobuf, data: e.Data, unread: reason}
	if e.KeyId != "" || e.Schema != messages.SchemaProtobuf {
		s.contentType = messages.TypeUnread
	}
	return s
}

// message makes one of the so many messages of an event, and says how large it is.
func (f *Feed) message(e recorded, s shown, part, of int) (m *nats.Msg, size int) {
	name := s.typ[strings.LastIndexByte(s.typ, '.')+1:]
	if _, err := messages.ParseName(name); err != nil || len(s.typ) > maxAttribute {
		name, s.typ = unreadName, unreadType
	}
	ref := messages.FormatRef(e.ref.Type, e.ref.ID)
	id := ref + "@" + strconv.FormatUint(e.version, 10)
	if of > 1 {
		id += "." + strconv.Itoa(part)
	}
	subject := messages.Subject{Context: e.ref.Context, Kind: messages.KindEvent, Type: e.ref.Type, ID: e.ref.ID, Name: name}
	m = &nats.Msg{Subject: inlet(subject), Data: s.data, Header: make(nats.Header, 16)}
	for _, h := range [...]struct{ name, value string }{
		{messages.HeaderEventSpec, messages.EventSpec},
		{messages.HeaderEventID, id},
		{messages.HeaderEventSource, "/" + string(e.ref.Context) + "/" + ref},
		{messages.HeaderEventType, attribute(s.typ)},
		{messages.HeaderEventTime, time.Unix(0, e.change.Time).UTC().Format(time.RFC3339Nano)},
		{messages.HeaderEventSubject, ref},
		{messages.HeaderEventContentType, s.contentType},
		{messages.HeaderContentType, s.contentType},
		{messages.HeaderEventSequence, fmt.Sprintf("%020d", e.version)},
		{messages.HeaderEventCorrelation, attribute(e.change.CorrelationId)},
		{messages.HeaderEventCausation, attribute(e.change.CausationId)},
		{messages.HeaderEventPosition, e.position.String()},
		{messages.HeaderUnread, sentence(s.unread)},
	} {
		if h.value != "" && len(h.value) <= maxAttribute {
			m.Header[h.name] = []string{h.value}
		}
	}
	return m, m.Size() + framing
}

// attribute gives a value of a CloudEvent as it stands in a header. What Holdfast records as
// an id stands for itself.
func attribute(s string) string {
	plain := func(b byte) bool { return b > ' ' && b <= '~' }
	var b strings.Builder
	for i := range min(len(s), maxAttribute+1) {
		if plain(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// sentence gives a reason as it may stand in a header.
func sentence(s string) string {
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s), "?")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
