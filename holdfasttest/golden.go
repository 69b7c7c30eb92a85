package holdfasttest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// update is the variable that has Golden add what is missing.
const update = "HOLDFAST_UPDATE"

const goldenHead = `# Every event that this type has ever recorded: its full name, the bytes of a sample,
# and what they say. The log keeps such bytes for ever, so a line is never changed or
# taken away. HOLDFAST_UPDATE=1 go test adds lines.
`

// Golden keeps the golden file of the events that def has ever recorded, in the form
// that [holdfast.Recorded] reads: a line an event, its full name, the bytes of a sample
// in base64, and its fields in JSON. The samples are those that the file has or is to
// have, of retired events too, and between them every field of an event has a value.
//
// The test fails when an event of the file can no longer be read or evolved, or says
// something else than it did; when an event or a field of an event is in no line; and
// when a sample is not in the file. With HOLDFAST_UPDATE=1 in the environment samples
// that are not in the file are added to it; what is there is never changed. A file that
// is embedded must be there, if empty, before the first run.
//
// Of a saga it keeps the events that its reactions record, and not those of the runtime.
func Golden(t TB, def holdfast.Definition, path string, samples ...holdfast.Event) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !(errors.Is(err, os.ErrNotExist) && os.Getenv(update) != "") {
		t.Fatalf("%s: read golden file: %v; %s=1 go test writes it", def.Name(), err, update)
	}
	lines, problems := readGolden(def, path, string(text))
	var added []goldenLine
	for _, e := range samples {
		l, err := sampleLine(def, e)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		same := func(o goldenLine) bool { return o.event != nil && proto.Equal(o.event, l.event) }
		if slices.ContainsFunc(lines, same) {
			continue
		}
		lines, added = append(lines, l), append(added, l)
	}
	problems = append(problems, uncovered(def, lines)...)
	if os.Getenv(update) == "" {
		for _, l := range added {
			problems = append(problems, fmt.Sprintf("the sample %s is not in the file; %s=1 go test adds it", describe(l.event), update))
		}
	} else if err := appendGolden(path, string(text), added); err != nil {
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		t.Fatalf("%s: golden file %s:\n  %s", def.Name(), path, strings.Join(problems, "\n  "))
	}
}

// A goldenLine is one sample. Its event is nil when it can no longer be read.
type goldenLine struct {
	name  string
	event holdfast.Event
	text  string
}

func readGolden(def holdfast.Definition, path, text string) (lines []goldenLine, problems []string) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		l, err := parseGolden(def, line)
		if err != nil {
			problems = append(problems, fmt.Sprintf("line %d: %v", i+1, err))
		}
		lines = append(lines, l)
	}
	return lines, problems
}

func parseGolden(def holdfast.Definition, line string) (goldenLine, error) {
	parts := strings.SplitN(line, " ", 3)
	l := goldenLine{name: parts[0], text: line}
	if len(parts) != 3 {
		return l, errors.New("want an event's full name, its bytes in base64 and its fields in JSON, with one blank between them")
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1], emptyBytes))
	if err != nil {
		return l, fmt.Errorf("%s: its bytes are no base64: %w", l.name, err)
	}
	e, err := persistence.DecodeEvent(def, &messages.Event{Type: l.name, Schema: messages.SchemaProtobuf, Data: data})
	if err != nil {
		return l, err
	}
	if err := saysStill(parts[2], e); err != nil {
		return l, fmt.Errorf("%s: %w", l.name, err)
	}
	l.event = e
	return l, evolves(def, e)
}

// emptyBytes stands in a golden line for no bytes at all.
const emptyBytes = "-"

// saysStill checks that an event which was read says what it said when it was written.
func saysStill(written string, e holdfast.Event) error {
	var was, is any
	if err := json.Unmarshal([]byte(written), &was); err != nil {
		return fmt.Errorf("its fields are no JSON: %w", err)
	}
	now := fields(e)
	if json.Unmarshal([]byte(now), &is) != nil || !reflect.DeepEqual(was, is) {
		return fmt.Errorf("its bytes mean something else than they did, so the log does too; put its fields back, and make a new event instead:\n    was  %s\n    is   %s", written, now)
	}
	return nil
}

// evolves checks that e has an end in an Evolve, which bears it whatever came before.
func evolves(def holdfast.Definition, e holdfast.Event) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: evolving it when nothing has happened panics, and evolving must never fail: %v", proto.MessageName(e), r)
		}
	}()
	if _, err := def.Apply(def.Zero(), e); err != nil {
		return fmt.Errorf("%s cannot be evolved: %w", proto.MessageName(e), err)
	}
	return nil
}

func sampleLine(def holdfast.Definition, e holdfast.Event) (goldenLine, error) {
	if e == nil || !e.ProtoReflect().IsValid() {
		return goldenLine{}, errors.New("a sample is nil")
	}
	name := string(proto.MessageName(e))
	if _, ok := def.NewEvent(name); !ok {
		return goldenLine{}, fmt.Errorf("the sample %s has neither Evolve nor Upcast", name)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		return goldenLine{}, fmt.Errorf("the sample %s cannot be recorded: %w", name, err)
	}
	coded := base64.StdEncoding.EncodeToString(data)
	if coded == "" {
		coded = emptyBytes
	}
	l := goldenLine{name: name, event: e, text: name + " " + coded + " " + fields(e)}
	return l, evolves(def, proto.Clone(e))
}

// appendGolden adds lines to a golden file whose text so far is given.
func appendGolden(path, text string, added []goldenLine) error {
	if len(added) == 0 {
		return nil
	}
	if text == "" {
		text = goldenHead
	} else if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for _, l := range added {
		text += l.text + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write golden file: %w", err)
	}
	return nil
}
