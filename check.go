package holdfast

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkUpcasts follows every upcaster from an empty message to its end.
func (t *Type[S]) checkUpcasts() error {
	for _, name := range sortedNames(t.events) {
		e := t.events[protoreflect.FullName(name)]
		if err := t.follow(e, e.typ.New().Interface(), nil); err != nil {
			return err
		}
	}
	return nil
}

// follow follows e, a message of ev's type to which the upcasters on the path have led.
func (t *Type[S]) follow(ev event[S], e Event, path []event[S]) error {
	if ev.upcast == nil {
		return nil
	}
	path = append(slices.Clip(path), ev)
	successors, err := upcastEmpty(ev.upcast, e)
	if err != nil {
		return fmt.Errorf("the upcast of %s %w", route(path), err)
	}
	for _, next := range successors {
		if next == nil || !next.ProtoReflect().IsValid() {
			return fmt.Errorf("the upcast of %s returns a nil event", route(path))
		}
		name := next.ProtoReflect().Descriptor().FullName()
		to, ok := t.events[name]
		if !ok {
			return fmt.Errorf("the upcast of %s ends at %s, which has neither Evolve nor Upcast", route(path), name)
		}
		if slices.ContainsFunc(path, func(on event[S]) bool { return on.name() == name }) {
			return fmt.Errorf("the upcasts of %s → %s go round in a circle", route(path), name)
		}
		if err := t.follow(to, next, path); err != nil {
			return err
		}
	}
	return nil
}

// route tells a path of upcasts, each with its place.
func route[S any](path []event[S]) string {
	steps := make([]string, len(path))
	for i, ev := range path {
		steps[i] = fmt.Sprintf("%s (%s)", ev.name(), ev.where)
	}
	return strings.Join(steps, " → ")
}

func upcastEmpty(f func(Event) Events, e Event) (out Events, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panics on an empty message: %v", r)
		}
	}()
	return f(e), nil
}

// checkSnapshot checks that what is said of snapshots is said of a type that has them.
func (t *Type[S]) checkSnapshot() error {
	if p := t.snapshot.needed; p.what != "" && t.snapshot.typ == nil {
		return fmt.Errorf("%s at %s: there is no Snapshot", p.what, p.where)
	}
	return nil
}

func (t *Type[S]) checkRecorded() error {
	for _, r := range t.recorded {
		if _, ok := t.events[r.name]; !ok {
			return fmt.Errorf("Recorded at %s: the log may hold %s, which has neither Evolve nor Upcast", r.where, r.name)
		}
	}
	return nil
}

// describeForm writes the form of a message: what must stay for old bytes to mean the
// same. The order of the fields in the source does not matter.
func describeForm(w io.Writer, d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) {
	if seen[d.FullName()] {
		return
	}
	seen[d.FullName()] = true
	fmt.Fprintf(w, "message %s\n", d.FullName())
	fields := make([]protoreflect.FieldDescriptor, d.Fields().Len())
	for i := range fields {
		fields[i] = d.Fields().Get(i)
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	for _, f := range fields {
		fmt.Fprintf(w, "%d %s %s %s", f.Number(), f.Name(), f.Cardinality(), f.Kind())
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
			fmt.Fprintf(w, " oneof %s", one.Name())
		}
		switch {
		case f.Message() != nil:
			fmt.Fprintf(w, " %s", f.Message().FullName())
		case f.Enum() != nil:
			fmt.Fprintf(w, " %s", enumForm(f.Enum()))
		}
		fmt.Fprintln(w)
	}
	for _, f := range fields {
		if m := f.Message(); m != nil {
			describeForm(w, m, seen)
		}
	}
}

func enumForm(d protoreflect.EnumDescriptor) string {
	values := make([]string, d.Values().Len())
	for i := range values {
		v := d.Values().Get(i)
		values[i] = fmt.Sprintf("%s=%d", v.Name(), v.Number())
	}
	slices.Sort(values)
	return fmt.Sprintf("%s%v", d.FullName(), values)
}
