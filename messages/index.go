package messages

import (
	"fmt"
	"strings"
)

// An IndexVerb is what operators ask of a context's index.
type IndexVerb string

// The verbs: <context>.index.<verb>.
const (
	IndexEvents  IndexVerb = "events"
	IndexExplain IndexVerb = "explain"
)

const indexToken = "index"

// IndexSubjects are all that a context has.
func IndexSubjects(c Context) string { return string(c) + "." + indexToken + ".*" }

// IndexSubject is what operators ask on.
func IndexSubject(c Context, v IndexVerb) string {
	return string(c) + "." + indexToken + "." + string(v)
}

// ParseIndexSubject reads what IndexSubject gives. Its error names the part that is wrong.
func ParseIndexSubject(text string) (c Context, v IndexVerb, err error) {
	tokens := strings.Split(text, ".")
	if len(tokens) != 3 || tokens[1] != indexToken {
		return "", "", fmt.Errorf("subject %q: want <context>.index.<verb>", text)
	}
	switch v = IndexVerb(tokens[2]); v {
	case IndexEvents, IndexExplain:
	default:
		return "", "", fmt.Errorf("subject %q: the verb %q is unknown: there are %s and %s", text, v, IndexEvents, IndexExplain)
	}
	c, err = ParseContext(tokens[0])
	return c, v, err
}
