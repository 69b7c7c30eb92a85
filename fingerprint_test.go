package holdfast_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/coop"
	coopv1 "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
)

// A fingerprint that moves has every snapshot ignored and every aggregate replayed. It may
// move only when a snapshot message does, or with the release notes saying so.
func TestFingerprintIsStable(t *testing.T) {
	t.Parallel()
	for want, def := range map[string]holdfast.Definition{
		"4be0d3517674d925": bank.Account,
		"cd9cca3752c27505": coop.Family,
	} {
		if got := def.Fingerprint(); got != want {
			t.Errorf("%s has the fingerprint %s, want %s", def.Name(), got, want)
		}
	}
}

func TestFingerprintOfARevision(t *testing.T) {
	t.Parallel()
	of := func(parts ...part) string {
		parts = append(parts, holdfast.Evolve(deposited), holdfast.Snapshot(save, load))
		return holdfast.Define("purse", parts...).Fingerprint()
	}
	first := of()
	if again := of(holdfast.SnapshotEvery[purse](7)); again != first {
		t.Error("a snapshot policy moves the fingerprint")
	}
	if again := of(holdfast.Revision[purse](0)); again != first {
		t.Error("revision 0 is not the first")
	}
	if second := of(holdfast.Revision[purse](1)); second == first || second == of(holdfast.Revision[purse](2)) {
		t.Error("a revision does not move the fingerprint")
	}
}

// form is what the file of a made-up snapshot message says.
const form = `
name: "made_up.proto" package: "made.up" syntax: "proto3"
message_type { name: "State"
  field { name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "left" number: 2 type: TYPE_MESSAGE type_name: ".made.up.Part" label: LABEL_OPTIONAL }
  field { name: "right" number: 3 type: TYPE_MESSAGE type_name: ".made.up.Piece" label: LABEL_OPTIONAL }
  field { name: "kind" number: 4 type: TYPE_ENUM type_name: ".made.up.Kind" label: LABEL_OPTIONAL }
  field { name: "a" number: 5 type: TYPE_INT32 label: LABEL_OPTIONAL oneof_index: 0 }
  oneof_decl { name: "choice" } }
message_type { name: "Part"
  field { name: "size" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "within" number: 2 type: TYPE_MESSAGE type_name: ".made.up.Part" label: LABEL_OPTIONAL } }
message_type { name: "Piece"
  field { name: "size" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL } }
enum_type { name: "Kind" value { name: "NONE" number: 0 } value { name: "BIG" number: 1 } }`

// madeUp is a message of the form that a test makes up last.
type madeUp struct{}

var madeUpForm protoreflect.MessageDescriptor

func (*madeUp) ProtoReflect() protoreflect.Message { return dynamicpb.NewMessage(madeUpForm) }

func madeUpFile(t *testing.T) *descriptorpb.FileDescriptorProto {
	t.Helper()
	file := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(form), file); err != nil {
		t.Fatal(err)
	}
	return file
}

func fingerprintOf(t *testing.T, file *descriptorpb.FileDescriptorProto) string {
	t.Helper()
	d, err := protodesc.NewFile(file, new(protoregistry.Files))
	if err != nil {
		t.Fatal(err)
	}
	madeUpForm = d.Messages().ByName("State")
	return holdfast.Define("made-up",
		holdfast.Evolve(func(s purse, _ *coopv1.ChildAdded) purse { return s }),
		holdfast.Snapshot(func(purse) *madeUp { return nil }, func(*madeUp) purse { return purse{} }),
	).Fingerprint()
}

func TestFingerprintOfAForm(t *testing.T) { // not parallel: its forms follow one another
	field := func(f *descriptorpb.FileDescriptorProto, message, field int) *descriptorpb.FieldDescriptorProto {
		return f.MessageType[message].Field[field]
	}
	first := fingerprintOf(t, madeUpFile(t))
	for _, tt := range []struct {
		name   string
		change func(*descriptorpb.FileDescriptorProto)
		moves  bool
	}{
		{"nothing", func(*descriptorpb.FileDescriptorProto) {}, false},
		{"the order of the fields", func(f *descriptorpb.FileDescriptorProto) {
			slices.Reverse(f.MessageType[0].Field)
		}, false},
		{"the order of the messages", func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType[1], f.MessageType[2] = f.MessageType[2], f.MessageType[1]
		}, false},
		{"a message that is not in the state", func(f *descriptorpb.FileDescriptorProto) {
			name := "Other"
			f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: &name})
		}, false},
		{"a new field", func(f *descriptorpb.FileDescriptorProto) {
			name, number, label, kind := "new", int32(9), descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_TYPE_BOOL
			f.MessageType[2].Field = append(f.MessageType[2].Field, &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Label: &label, Type: &kind})
		}, true},
		{"a field that is gone", func(f *descriptorpb.FileDescriptorProto) { f.MessageType[0].Field = f.MessageType[0].Field[1:] }, true},
		{"a field's name", func(f *descriptorpb.FileDescriptorProto) { *field(f, 0, 0).Name = "name" }, true},
		{"a field's number", func(f *descriptorpb.FileDescriptorProto) { *field(f, 0, 0).Number = 9 }, true},
		{"a field's kind", func(f *descriptorpb.FileDescriptorProto) {
			*field(f, 1, 0).Type = descriptorpb.FieldDescriptorProto_TYPE_SINT64
		}, true},
		{"a field that becomes a list", func(f *descriptorpb.FileDescriptorProto) {
			*field(f, 1, 0).Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		}, true},
		{"two fields that change their messages", func(f *descriptorpb.FileDescriptorProto) {
			left, right := field(f, 0, 1), field(f, 0, 2)
			left.TypeName, right.TypeName = right.TypeName, left.TypeName
		}, true},
		{"a field that enters a oneof", func(f *descriptorpb.FileDescriptorProto) { field(f, 0, 3).OneofIndex = new(int32) }, true},
		{"an enum's number", func(f *descriptorpb.FileDescriptorProto) { *f.EnumType[0].Value[1].Number = 2 }, true},
		{"an enum's name", func(f *descriptorpb.FileDescriptorProto) { *f.EnumType[0].Value[1].Name = "LARGE" }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := madeUpFile(t)
			tt.change(file)
			if moved := fingerprintOf(t, file) != first; moved != tt.moves {
				t.Errorf("the fingerprint moves: %t, want %t", moved, tt.moves)
			}
		})
	}
}
