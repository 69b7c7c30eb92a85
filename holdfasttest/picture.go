package holdfasttest

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// A picture tells a value, unexported fields included, as one line a leaf. Two values
// of one picture are equal for a decision: nil and empty slices and maps look the same.
type picture struct {
	lines  []line
	arrays []array
}

type line struct{ path, value string }

// An array is what a slice in the value stands on.
type array struct {
	path string
	at   uintptr
	len  int
}

func pictureOf(v any) picture {
	p := &painter{above: map[visit]bool{}}
	p.paint("", addressable(reflect.ValueOf(v)))
	return p.picture
}

// differences gives the lines in which q differs from p, each written as format says
// of path, p's value and q's; nothing when the two are equal.
func (p picture) differences(format string, q picture) string {
	if slices.Equal(p.lines, q.lines) {
		return ""
	}
	before, after := p.byPath(), q.byPath()
	paths := maps.Clone(before)
	maps.Copy(paths, after)
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		was, is := cmp.Or(before[path], "nothing"), cmp.Or(after[path], "nothing")
		if was != is {
			fmt.Fprintf(&b, "\n  "+format, cmp.Or(path, "state"), was, is)
		}
	}
	return b.String()
}

func (p picture) byPath() map[string]string {
	m := make(map[string]string, len(p.lines))
	for _, l := range p.lines {
		m[l.path] = l.value
	}
	return m
}

// grownInPlace finds a slice of p that q extends in the same array: what p's other
// successors would append there overwrites what q has.
func (p picture) grownInPlace(q picture) (path string, found bool) {
	for _, was := range p.arrays {
		for _, is := range q.arrays {
			if is.path == was.path && is.at == was.at && is.len > was.len {
				return is.path, true
			}
		}
	}
	return "", false
}

type visit struct {
	at  uintptr
	typ reflect.Type
}

type painter struct {
	picture
	above map[visit]bool // pointers on the way to here, against circles
}

// addressable gives a copy of v that can be looked into.
func addressable(v reflect.Value) reflect.Value {
	if !v.IsValid() {
		return v
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

func (p *painter) add(path, format string, args ...any) {
	p.lines = append(p.lines, line{path, fmt.Sprintf(format, args...)})
}

func (p *painter) paint(path string, v reflect.Value) {
	if !v.IsValid() {
		p.add(path, "nil")
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		p.add(path, "%s", x.Format(time.RFC3339Nano))
		return
	case proto.Message:
		p.add(path, "%s", describe(x))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		p.paintStruct(path, v)
	case reflect.Pointer, reflect.Interface:
		p.paintReference(path, v)
	case reflect.Array, reflect.Slice:
		p.paintList(path, v)
	case reflect.Map:
		p.paintMap(path, v)
	case reflect.String:
		p.add(path, "%q", v.String())
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		p.add(path, "%s %#x", v.Type(), v.Pointer())
	default:
		p.add(path, "%v", v.Interface())
	}
}

func (p *painter) paintStruct(path string, v reflect.Value) {
	if v.NumField() == 0 {
		p.add(path, "{}")
	}
	for i := range v.NumField() {
		field := v.Field(i)
		if !field.CanInterface() {
			field = reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem()
		}
		name := v.Type().Field(i).Name
		if path != "" {
			name = path + "." + name
		}
		p.paint(name, field)
	}
}

func (p *painter) paintReference(path string, v reflect.Value) {
	if v.IsNil() {
		p.add(path, "nil")
		return
	}
	if v.Kind() == reflect.Interface {
		p.add(path+".("+v.Elem().Type().String()+")", "set")
		p.paint(path, addressable(v.Elem()))
		return
	}
	if p.enter(path, v) {
		p.paint(path, v.Elem())
		p.leave(v)
	}
}

// enter notes that the painter looks into v from now on, unless it does so already.
func (p *painter) enter(path string, v reflect.Value) bool {
	here := visit{v.Pointer(), v.Type()}
	if p.above[here] {
		p.add(path, "a circle")
		return false
	}
	p.above[here] = true
	return true
}

func (p *painter) leave(v reflect.Value) { delete(p.above, visit{v.Pointer(), v.Type()}) }

func (p *painter) paintList(path string, v reflect.Value) {
	if v.Kind() == reflect.Slice && v.Cap() > 0 && v.Type().Elem().Size() > 0 {
		p.arrays = append(p.arrays, array{path, v.Pointer(), v.Len()})
	}
	if v.Len() == 0 {
		p.add(path, "empty")
		return
	}
	if v.Kind() == reflect.Slice && !p.enter(path, v) {
		return
	}
	for i := range v.Len() {
		p.paint(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
	}
	if v.Kind() == reflect.Slice {
		p.leave(v)
	}
}

func (p *painter) paintMap(path string, v reflect.Value) {
	if v.Len() == 0 {
		p.add(path, "empty")
		return
	}
	if !p.enter(path, v) {
		return
	}
	for it := v.MapRange(); it.Next(); {
		p.paint(fmt.Sprintf("%s[%#v]", path, it.Key().Interface()), addressable(it.Value()))
	}
	p.leave(v)
}
