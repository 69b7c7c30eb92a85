package messages_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// The tests here hold docs/wire.md to what is so.

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "wire.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// fieldRow begins a row of a table of fields: number, name and type.
var fieldRow = regexp.MustCompile("^\\| (\\d+) \\| `(\\w+)` \\| ([^|]+) \\|")

// TestPageTellsTheFields: the table of each message lists its fields, all of them and
// no others.
func TestPageTellsTheFields(t *testing.T) {
	tables := map[string][]string{}
	current := ""
	for line := range strings.Lines(readPage(t)) {
		if name, ok := strings.CutPrefix(line, "<!-- fields of "); ok {
			current = strings.TrimSuffix(strings.TrimSpace(name), " -->")
		} else if line == "\n" && len(tables[current]) > 0 {
			current = "" // the table has ended
		}
		if m := fieldRow.FindStringSubmatch(line); m != nil && current != "" {
			tables[current] = append(tables[current], strings.Join(m[1:], " "))
		}
	}
	for _, file := range []protoreflect.FileDescriptor{messages.File_holdfast_v1_log_proto, messages.File_holdfast_v1_wire_proto} {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			var want []string
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				want = append(want, fmt.Sprintf("%d %s %s", f.Number(), f.Name(), typeName(f)))
			}
			if got := tables[string(m.FullName())]; !slices.Equal(got, want) {
				t.Errorf("docs/wire.md lists for %s\n  %s\nwant\n  %s", m.FullName(), strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		}
	}
}

func typeName(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	if f.Message() != nil {
		name = string(f.Message().Name())
	}
	if f.IsList() {
		name = "repeated " + name
	}
	if f.IsPacked() {
		name += ", packed"
	}
	return name
}

// TestPageShowsTheBytes: what it shows byte by byte is what the golden files hold.
func TestPageShowsTheBytes(t *testing.T) {
	page := readPage(t)
	for _, file := range []string{"chain.golden", "snapshot.golden"} {
		golden, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page, "```\n"+string(golden)+"```\n") {
			t.Errorf("docs/wire.md does not show testdata/%s as it is", file)
		}
	}
	if first := fmt.Sprintf("%x", firstPlainDigest("bank", "account/a-1")); !strings.Contains(page, `start.hex() == "`+first+`"`) {
		t.Errorf("docs/wire.md does not name the first digest, %s", first)
	}
}

// TestPageTellsTheHeaders: it has a row for each header.
func TestPageTellsTheHeaders(t *testing.T) {
	page := readPage(t)
	for _, h := range []string{
		messages.HeaderID, messages.HeaderContentType, messages.HeaderExpectedVersion, messages.HeaderCorrelationID, messages.HeaderCausationID,
		messages.HeaderUser, messages.HeaderAsOf, messages.HeaderAsOfVersion, messages.HeaderTrace, messages.HeaderVersion, messages.HeaderPosition,
		messages.HeaderDuplicate, messages.HeaderCommandID, messages.HeaderRef, messages.HeaderAfter,
		messages.HeaderEventSpec, messages.HeaderEventID, messages.HeaderEventSource, messages.HeaderEventType, messages.HeaderEventTime,
		messages.HeaderEventSubject, messages.HeaderEventContentType, messages.HeaderEventSequence, messages.HeaderEventPosition, messages.HeaderUnread,
	} {
		if !strings.Contains(page, "\n| `"+h+"` |") {
			t.Errorf("docs/wire.md has no row for the header %s", h)
		}
	}
}

// TestPageTellsTheErrors: it has a row for each code that the runtime gives.
func TestPageTellsTheErrors(t *testing.T) {
	page := readPage(t)
	for _, code := range []holdfast.Code{
		holdfast.CodeMalformed, holdfast.CodeUnknown, holdfast.CodeConflict, holdfast.CodeTooLarge, holdfast.CodeOverloaded,
		holdfast.CodeCorrupt, holdfast.CodeInternal, holdfast.CodeUnavailable, holdfast.CodeUncertain, holdfast.CodeBehind,
	} {
		if !regexp.MustCompile(`\n\| [45]\d\d \| ` + "`" + string(code) + "`" + ` \|`).MatchString(page) {
			t.Errorf("docs/wire.md has no row for the error %s", code)
		}
	}
}

// TestPageTellsTheNames: the ids, partitions and subjects that it shows are so.
func TestPageTellsTheNames(t *testing.T) {
	page := readPage(t)
	for raw, shown := range map[string]string{"o.1": "`o.1`", "*": "`*`", "a=b": "`a=b`", "ü": "`ü` in UTF-8"} {
		if row := fmt.Sprintf("\n| %s | `%s` |\n", shown, mustID(t, raw)); !strings.Contains(page, row) {
			t.Errorf("docs/wire.md has no row %s", row)
		}
	}
	for _, ref := range []string{"account.a-1", "order.o-1", "order.o=2E1", "family.=C3=BC"} {
		typ, encoded, _ := strings.Cut(ref, ".")
		id, err := messages.ParseID(encoded)
		if err != nil {
			t.Fatal(err)
		}
		row := fmt.Sprintf("\n| `%s` | %d | %d | %d |\n", ref, messages.PartitionOf(typ, id, 1), messages.PartitionOf(typ, id, 4), messages.PartitionOf(typ, id, 16))
		if !strings.Contains(page, row) {
			t.Errorf("docs/wire.md has no row %s", row)
		}
	}
	shown := regexp.MustCompile(`bank\.(cmd|get|history|evt|log|snap|inbox|accepted|outcome)\.[\w.=-]+`).FindAllString(page, -1)
	if len(shown) < 5 {
		t.Errorf("docs/wire.md shows only the subjects %q", shown)
	}
	for _, s := range shown {
		if _, err := messages.ParseSubject(s); err != nil {
			t.Errorf("docs/wire.md shows the subject %s: %v", s, err)
		}
	}
}

// TestPageTellsTheViews: so are those of read models.
func TestPageTellsTheViews(t *testing.T) {
	page := readPage(t)
	views := regexp.MustCompile(`shop\.view\.[\w.=-]+`).FindAllString(page, -1)
	desk := regexp.MustCompile(`shop\.projections\.[\w.=-]+`).FindAllString(page, -1)
	if len(views) < 1 || len(desk) < 1 {
		t.Errorf("docs/wire.md shows only the subjects %q and %q", views, desk)
	}
	for _, s := range views {
		if _, err := messages.ParseViewSubject(s); err != nil {
			t.Errorf("docs/wire.md shows the subject %s: %v", s, err)
		}
	}
	for _, s := range desk {
		if _, err := messages.ParseProjectionSubject(s); err != nil {
			t.Errorf("docs/wire.md shows the subject %s: %v", s, err)
		}
	}
	if !strings.Contains(page, `"bucket":"`+messages.Context("shop").ViewBucket("orders", 1)+`"`) {
		t.Error("docs/wire.md shows another bucket")
	}
}

// TestPageTellsTheIndex: so are those of the index, all of them.
func TestPageTellsTheIndex(t *testing.T) {
	page := readPage(t)
	for _, v := range []messages.IndexVerb{messages.IndexEvents, messages.IndexExplain} {
		if !strings.Contains(page, "\n| `"+strings.Replace(messages.IndexSubject("c", v), "c.", "<context>.", 1)+"` |") {
			t.Errorf("docs/wire.md has no row for %s", v)
		}
	}
	shown := regexp.MustCompile(`shop\.index\.[\w.=-]+`).FindAllString(page, -1)
	if len(shown) < 2 {
		t.Errorf("docs/wire.md shows only the subjects %q", shown)
	}
	for _, s := range shown {
		if _, _, err := messages.ParseIndexSubject(s); err != nil {
			t.Errorf("docs/wire.md shows the subject %s: %v", s, err)
		}
	}
}

// TestPageCountsTheBytes: the messages that it shows as they go over the socket have the
// lengths that it says.
func TestPageCountsTheBytes(t *testing.T) {
	messages := regexp.MustCompile(`(?s)\n(?:HPUB|HMSG) [^\n]* (\d+) (\d+)\n(NATS/1\.0\n.*?\n\n)([^\n]*)\n`).FindAllStringSubmatch(readPage(t), -1)
	if len(messages) != 2 {
		t.Fatalf("docs/wire.md shows %d messages of the protocol, want a request and its answer", len(messages))
	}
	for _, m := range messages {
		header := len(strings.ReplaceAll(m[3], "\n", "\r\n"))
		if m[1] != fmt.Sprint(header) || m[2] != fmt.Sprint(header+len(m[4])) {
			t.Errorf("docs/wire.md says %s bytes of headers, %s in all, want %d and %d:\n%s", m[1], m[2], header, header+len(m[4]), m[0])
		}
	}
}
