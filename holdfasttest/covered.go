package holdfasttest

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
)

// runtimes reports whether an event is one that the runtime has sagas record, and which it keeps
// readable itself.
func runtimes(name string) bool { return strings.HasPrefix(name, "holdfast.v1.Saga") }

// uncovered names the events of def that are in no line, and the fields of events that
// have no value in any: a mistake there would not show.
func uncovered(def holdfast.Definition, lines []goldenLine) []string {
	inFile := map[string]bool{}
	seen := fieldSet{}
	for _, l := range lines {
		inFile[l.name] = true
		if l.event != nil {
			seen.addValues(l.event.ProtoReflect())
		}
	}
	var problems []string
	for _, name := range def.Events() {
		if !inFile[name] && runtimes(name) {
			continue
		}
		if !inFile[name] {
			problems = append(problems, fmt.Sprintf("the event %s is in no line; give a sample of it and run %s=1 go test", name, update))
			continue
		}
		e, _ := def.NewEvent(name)
		for _, field := range seen.missing(e.ProtoReflect().Descriptor(), map[protoreflect.FullName]bool{}) {
			problems = append(problems, fmt.Sprintf("the field %s has a value in no line; give a sample that has one and run %s=1 go test", field, update))
		}
	}
	return problems
}

// A fieldSet holds the full names of fields.
type fieldSet map[protoreflect.FullName]bool

func (s fieldSet) addValues(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		s[f.FullName()] = true
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				s.addValues(v.List().Get(i).Message())
			}
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					s.addValues(v.Message())
					return true
				})
			}
		case f.Message() != nil:
			s.addValues(v.Message())
		}
		return true
	})
}

// missing gives the fields of a message, and of messages in it, that s lacks. The
// well-known types of protobuf need no proof.
func (s fieldSet) missing(d protoreflect.MessageDescriptor, visited map[protoreflect.FullName]bool) []protoreflect.FullName {
	if visited[d.FullName()] || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return nil
	}
	visited[d.FullName()] = true
	var names []protoreflect.FullName
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		value := f
		if f.IsMap() {
			value = f.MapValue()
		}
		switch {
		case !s[f.FullName()]:
			names = append(names, f.FullName())
		case value.Message() != nil:
			names = append(names, s.missing(value.Message(), visited)...)
		}
	}
	return names
}
