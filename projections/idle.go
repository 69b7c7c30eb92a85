package projections

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
)

// recordedAs is an event of a type, by its full name in the log.
type recordedAs struct{ typ, event string }

// findIdle finds the events of a type that nobody here handles. A retired one is not among
// them: what it becomes may depend on what it says.
func (p *Projection) findIdle(t holdfast.Definition) {
	for _, name := range t.Events() {
		if _, ok := p.handlers[protoreflect.FullName(name)]; ok {
			continue
		}
		p.idle[recordedAs{t.Name(), name}] = isNewest(t, name)
	}
}

// isNewest reports whether an event of that name is read as it was recorded.
func isNewest(t holdfast.Definition, name string) (newest bool) {
	defer func() {
		if recover() != nil { // it cannot do with an empty one
			newest = false
		}
	}()
	e, ok := t.NewEvent(name)
	if !ok {
		return false
	}
	all, err := t.Upcast(e)
	return err == nil && len(all) == 1 && string(all[0].ProtoReflect().Descriptor().FullName()) == name
}
