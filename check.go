package holdfast

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkUpcasts follows every upcaster from an empty message to its end.
func (t *Type[S]) checkUpcasts() error {
	for _, name := range sortedNames(t.events) {
		if err := t.follow(t.events[protoreflect.FullName(name)].typ.New().Interface(), nil); err != nil {
			return err
		}
	}
	return nil
}

func (t *Type[S]) follow(e Event, path []string) error {
	if e == nil || !e.ProtoReflect().IsValid() {
		return fmt.Errorf("the upcast of %s returned a nil event", strings.Join(path, " → "))
	}
	name := e.ProtoReflect().Descriptor().FullName()
	ev, ok := t.events[name]
	if len(path) > 0 && !ok {
		return fmt.Errorf("the upcast of %s ends at %s, which has neither Evolve nor Upcast", strings.Join(path, " → "), name)
	}
	if slices.Contains(path, string(name)) {
		return fmt.Errorf("the upcasts %s → %s go round in a circle", strings.Join(path, " → "), name)
	}
	if ev.upcast == nil {
		return nil
	}
	successors, err := upcastEmpty(ev.upcast, e)
	if err != nil {
		return fmt.Errorf("Upcast(%s) at %s: %w", name, ev.where, err)
	}
	for _, next := range successors {
		if err := t.follow(next, append(slices.Clip(path), string(name))); err != nil {
			return err
		}
	}
	return nil
}

func upcastEmpty(f func(Event) Events, e Event) (out Events, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it panics on an empty message: %v", r)
		}
	}()
	return f(e), nil
}

func (t *Type[S]) checkRecorded() error {
	for _, r := range t.recorded {
		if _, ok := t.events[r.name]; !ok {
			return fmt.Errorf("Recorded at %s: the log may hold %s, which has neither Evolve nor Upcast", r.where, r.name)
		}
	}
	return nil
}

// describeForm writes the wire form of a message: what must stay for old bytes to
// mean the same.
func describeForm(w io.Writer, d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) {
	if seen[d.FullName()] {
		return
	}
	seen[d.FullName()] = true
	fmt.Fprintf(w, "message %s\n", d.FullName())
	fields := d.Fields()
	lines := make([]string, fields.Len())
	for i := range lines {
		f := fields.Get(i)
		lines[i] = fmt.Sprintf("%d %s %s %s\n", f.Number(), f.Name(), f.Cardinality(), f.Kind())
	}
	slices.Sort(lines)
	for _, line := range lines {
		io.WriteString(w, line)
	}
	for i := range fields.Len() {
		if m := fields.Get(i).Message(); m != nil {
			describeForm(w, m, seen)
		}
	}
}
