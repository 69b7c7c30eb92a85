package messages_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// A name says how a field is called and how its value is shown.
type name struct {
	name string
	show string // number, text, bytes, packed (varints) or message
	in   map[int]name
}

var eventNames = map[int]name{1: {"type", "text", nil}, 2: {"schema", "number", nil}, 3: {"data", "bytes", nil}, 4: {"key_id", "text", nil}}

var changeNames = map[int]name{
	1: {"command_id", "text", nil}, 2: {"command", "text", nil}, 3: {"correlation_id", "text", nil}, 4: {"causation_id", "text", nil},
	5: {"user", "text", nil}, 6: {"trace", "text", nil}, 7: {"time", "number", nil}, 8: {"events", "message", eventNames},
}

var commitNames = map[int]name{
	1: {"format", "number", nil}, 2: {"id", "text", nil}, 3: {"first_version", "number", nil}, 4: {"last_version", "number", nil},
	5: {"previous", "number", nil}, 6: {"trail", "packed", nil}, 7: {"time", "number", nil}, 8: {"changes", "message", changeNames},
	15: {"digest", "bytes", nil},
}

var snapshotNames = map[int]name{
	1: {"format", "number", nil}, 2: {"fingerprint", "text", nil}, 3: {"version", "number", nil}, 4: {"sequence", "number", nil},
	5: {"trail", "packed", nil}, 6: {"digest", "bytes", nil}, 7: {"time", "number", nil}, 8: {"recent", "bytes", nil},
	9: {"state", "bytes", nil}, 10: {"key_id", "text", nil}, 15: {"checksum", "bytes", nil},
}

const perLine = 16

// render writes a message as a commented hex dump, a field a line: tag and length, the
// value, what it is.
func render(t *testing.T, body []byte, names map[int]name, depth int) string {
	t.Helper()
	fields, err := plainFields(body)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range fields {
		n, ok := names[f.number]
		if !ok {
			t.Fatalf("field %d has no name", f.number)
		}
		label := fmt.Sprintf("%d %s", f.number, n.name)
		switch n.show {
		case "number":
			label += fmt.Sprintf(" = %d", f.value)
		case "text":
			label += fmt.Sprintf(" = %q", f.data)
		case "packed":
			label += " = " + strings.Trim(fmt.Sprint(unpack(t, f.data)), "[]")
		default:
			label += fmt.Sprintf(", %d bytes", len(f.data))
		}
		if n.show == "message" {
			writeLines(&out, f.head, label, depth)
			out.WriteString(render(t, f.data, n.in, depth+1))
			continue
		}
		writeLines(&out, f.all, label, depth)
	}
	return out.String()
}

func unpack(t *testing.T, b []byte) (out []uint64) {
	t.Helper()
	for len(b) > 0 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatalf("% x is no list of numbers", b)
		}
		out, b = append(out, v), b[n:]
	}
	return out
}

func writeLines(out *strings.Builder, b []byte, label string, depth int) {
	indent := strings.Repeat("  ", depth)
	for first := true; len(b) > 0; first = false {
		n := min(len(b), perLine)
		hex := fmt.Sprintf("%s% x", indent, b[:n])
		if first {
			hex = fmt.Sprintf("%-54s# %s%s", hex, indent, label)
		}
		out.WriteString(hex + "\n")
		b = b[n:]
	}
}
