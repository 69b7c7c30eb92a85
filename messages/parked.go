package messages

import (
	"fmt"
	"slices"
	"strings"
)

// A ParkedVerb is what an operator wants of the commands in a context's inbox.
type ParkedVerb string

// The verbs. The first two are about all of them, the others about the parked command of one
// aggregate.
const (
	ParkedStatus ParkedVerb = "status"
	ParkedList   ParkedVerb = "list"
	ParkedShow   ParkedVerb = "show"
	ParkedRetry  ParkedVerb = "retry"
	ParkedSkip   ParkedVerb = "skip"
)

var parkedVerbs = []ParkedVerb{ParkedStatus, ParkedList, ParkedShow, ParkedRetry, ParkedSkip}

// A ParkedSubject is what operators ask on: <context>.parked.<verb>, or
// <context>.parked.<verb>.<type>.<id>.
type ParkedSubject struct {
	Context Context
	Verb    ParkedVerb
	Type    string // not of ParkedStatus and ParkedList
	ID      ID     // nor this
}

const parkedToken = "parked"

// ParkedSubjects are all that a context has.
func ParkedSubjects(c Context) string { return string(c) + "." + parkedToken + ".>" }

func (v ParkedVerb) ofAll() bool { return v == ParkedStatus || v == ParkedList }

// String gives the subject as it stands on the wire.
func (s ParkedSubject) String() string {
	text := string(s.Context) + "." + parkedToken + "." + string(s.Verb)
	if s.Verb.ofAll() {
		return text
	}
	return text + "." + s.Type + "." + s.ID.encoded
}

// ParseParkedSubject reads what String gives. Its error names the part that is wrong.
func ParseParkedSubject(text string) (s ParkedSubject, err error) {
	tokens := strings.Split(text, ".")
	if len(tokens) < 3 || tokens[1] != parkedToken {
		return s, fmt.Errorf("subject %q: want <context>.parked.<verb>.…", text)
	}
	if s.Context, err = ParseContext(tokens[0]); err != nil {
		return s, err
	}
	if s.Verb = ParkedVerb(tokens[2]); !slices.Contains(parkedVerbs, s.Verb) {
		return s, fmt.Errorf("subject %q: the verb %q is unknown: there are %s", text, tokens[2], strings.Trim(fmt.Sprint(parkedVerbs), "[]"))
	}
	rest := tokens[3:]
	switch {
	case s.Verb.ofAll() && len(rest) > 0:
		return s, fmt.Errorf("subject %q: want <context>.parked.%s", text, s.Verb)
	case s.Verb.ofAll():
		return s, nil
	case len(rest) != 2:
		return s, fmt.Errorf("subject %q: want <context>.parked.%s.<type>.<id>, where a dot in an id is written =2E", text, s.Verb)
	}
	if s.Type, err = ParseType(rest[0]); err != nil {
		return s, err
	}
	s.ID, err = ParseID(rest[1])
	return s, err
}
