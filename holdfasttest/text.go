package holdfasttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
)

// describe gives a message as its full name and its fields in JSON, always in the same
// form: bank.v1.Deposited {"amount":"100"}.
func describe(m proto.Message) string {
	if m == nil {
		return "nil"
	}
	return string(proto.MessageName(m)) + " " + fields(m)
}

// fields gives a message's fields in JSON. protojson spreads blanks at random, so that
// nobody relies on them; compact takes them out.
func fields(m proto.Message) string {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Sprintf("(cannot be encoded: %v)", err)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Sprintf("(has no JSON form: %v; bytes %x)", err, wire)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return fmt.Sprintf("(bytes %x)", wire)
	}
	if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		fmt.Fprintf(&b, " and unknown fields %x", []byte(unknown))
	}
	return b.String()
}

// below begins the next line of a list of which a failure tells.
const below = "\n        "

// list writes events one a line.
func list(events []holdfast.Event) string {
	if len(events) == 0 {
		return "nothing"
	}
	return strings.Join(described(events), below)
}

func described(messages []proto.Message) []string {
	texts := make([]string, len(messages))
	for i, m := range messages {
		texts[i] = describe(m)
	}
	return texts
}

func sameEvents(a, b []holdfast.Event) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !proto.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// fieldsOf gives a message's fields, those without a value too, as a picture.
func fieldsOf(m proto.Message) picture {
	return drawn(m, protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true})
}

// saidIn gives those of a message's fields that have a value.
func saidIn(m proto.Message) picture { return drawn(m, protojson.MarshalOptions{UseProtoNames: true}) }

func drawn(m proto.Message, form protojson.MarshalOptions) picture {
	var p picture
	text, err := form.Marshal(m)
	var value any
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	if err != nil {
		return picture{lines: []line{{"", fields(m)}}}
	}
	p.addJSON("", value)
	return p
}

func (p *picture) addJSON(path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			if path != "" {
				name = path + "." + name
			}
			p.addJSON(name, field)
		}
	case []any:
		for i, element := range v {
			p.addJSON(fmt.Sprintf("%s[%d]", path, i), element)
		}
	case string:
		p.lines = append(p.lines, line{path, fmt.Sprintf("%q", v)})
	default:
		p.lines = append(p.lines, line{path, fmt.Sprint(v)})
	}
}
