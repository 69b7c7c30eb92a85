package messages

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// A DeskVerb is what an operator wants of a context's sagas.
type DeskVerb string

// The verbs. All but the first two are actions on one saga.
const (
	DeskList   DeskVerb = "list"
	DeskShow   DeskVerb = "show"
	DeskRetry  DeskVerb = "retry"
	DeskSkip   DeskVerb = "skip"
	DeskEdit   DeskVerb = "edit"
	DeskResume DeskVerb = "resume"
	DeskCancel DeskVerb = "cancel"
	DeskForce  DeskVerb = "force"
)

var deskVerbs = []DeskVerb{DeskList, DeskShow, DeskRetry, DeskSkip, DeskEdit, DeskResume, DeskCancel, DeskForce}

// A DeskSubject is what operators ask on: <context>.sagas.list, or
// <context>.sagas.<verb>.<saga>.<id>.
type DeskSubject struct {
	Context Context
	Verb    DeskVerb
	Saga    string // not of DeskList
	ID      ID     // nor this
}

// DeskSubjects are all that a context has.
func DeskSubjects(c Context) string { return string(c) + "." + deskToken + ".>" }

const deskToken = "sagas"

// String gives the subject as it stands on the wire.
func (s DeskSubject) String() string {
	text := string(s.Context) + "." + deskToken + "." + string(s.Verb)
	if s.Verb == DeskList {
		return text
	}
	return text + "." + s.Saga + "." + s.ID.encoded
}

// ParseDeskSubject reads what String gives. Its error names the part that is wrong.
func ParseDeskSubject(text string) (s DeskSubject, err error) {
	tokens := strings.Split(text, ".")
	if len(tokens) < 3 || tokens[1] != deskToken {
		return s, fmt.Errorf("subject %q: want <context>.sagas.<verb>.…", text)
	}
	if s.Context, err = ParseContext(tokens[0]); err != nil {
		return s, err
	}
	if s.Verb = DeskVerb(tokens[2]); !slices.Contains(deskVerbs, s.Verb) {
		return s, fmt.Errorf("subject %q: the verb %q is unknown: there are %s", text, tokens[2], strings.Trim(fmt.Sprint(deskVerbs), "[]"))
	}
	rest := tokens[3:]
	switch {
	case s.Verb == DeskList && len(rest) > 0:
		return s, fmt.Errorf("subject %q: want <context>.sagas.list", text)
	case s.Verb == DeskList:
		return s, nil
	case len(rest) != 2:
		return s, fmt.Errorf("subject %q: want <context>.sagas.%s.<saga>.<id>, where a dot in an id is written =2E", text, s.Verb)
	}
	if s.Saga, err = ParseType(rest[0]); err != nil {
		return s, err
	}
	s.ID, err = ParseID(rest[1])
	return s, err
}

// Own reports whether a message is one of the runtime's own, which no client may send as a
// command: it could tell a saga what has not happened.
func Own(m proto.Message) bool {
	return m.ProtoReflect().Descriptor().ParentFile().Package() == File_holdfast_v1_saga_proto.Package()
}
