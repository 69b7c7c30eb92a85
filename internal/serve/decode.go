package serve

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// Decode reads a body into an empty message. The error is ErrMalformed and names the
// field.
func Decode(body []byte, m proto.Message, protobuf bool) error {
	var err error
	if protobuf {
		err = decodeProtobuf(body, m)
	} else {
		err = decodeJSON(body, m)
	}
	if err != nil {
		return holdfast.Errorf(holdfast.CodeMalformed, "body: %w", err)
	}
	return nil
}

func decodeProtobuf(body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("it is not a protobuf %s: %s", proto.MessageName(m), Plain(err))
	}
	return checkKnown(m.ProtoReflect())
}

func decodeJSON(body []byte, m proto.Message) error {
	if Blank(body) {
		if m.ProtoReflect().Descriptor().Fields().Len() > 0 {
			return fmt.Errorf("it is empty: send {} for a %s without values", proto.MessageName(m))
		}
		return nil
	}
	if err := protojson.Unmarshal(body, m); err != nil {
		return fmt.Errorf("it is not a %s in JSON (protobuf needs the header %s: %s): %s",
			proto.MessageName(m), messages.HeaderContentType, messages.TypeProtobuf, Plain(err))
	}
	return nil
}

// Blank reports whether a body holds nothing but white space.
func Blank(body []byte) bool { return len(bytes.TrimSpace(body)) == 0 }

// checkKnown says which field of m, or of a message in it, is not known here.
func checkKnown(m protoreflect.Message) error {
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		number, _, _ := protowire.ConsumeTag(unknown)
		return fmt.Errorf("a %s has no field number %d", m.Descriptor().FullName(), number)
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					err = checkKnown(v.Message())
					return err == nil
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := 0; err == nil && i < v.List().Len(); i++ {
				err = checkKnown(v.List().Get(i).Message())
			}
		default:
			err = checkKnown(v.Message())
		}
		return err == nil
	})
	return err
}

// NewCommand makes an empty command that clients may send. What nodes and operators tell a
// saga is none.
func NewCommand(def holdfast.Definition, name string) (holdfast.Command, bool) {
	c, ok := def.NewCommand(name)
	return c, ok && !messages.Own(c)
}

// Commands are the names of those that clients may send, for people.
func Commands(def holdfast.Definition) string {
	return strings.Join(slices.DeleteFunc(def.Commands(), func(name string) bool {
		_, ok := NewCommand(def, name)
		return !ok
	}), ", ")
}
