package messages

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// KindView: <context>.view.<projection>.<key>, see [ViewSubject]. Its headers are those of
// [ParseRequestHeader].
const KindView Kind = "view"

// HeaderAfter is of a view request: the positions at which the read model must be.
const HeaderAfter = "Holdfast-After"

// A ViewSubject is what clients ask a read model on: <context>.view.<projection>.<key>.
type ViewSubject struct {
	Context    Context
	Projection string
	Key        ID
}

// String gives the subject as it stands on the wire.
func (s ViewSubject) String() string {
	return string(s.Context) + "." + string(KindView) + "." + s.Projection + "." + s.Key.encoded
}

// ParseViewSubject reads what String gives. Its error names the part that is wrong.
func ParseViewSubject(text string) (s ViewSubject, err error) {
	tokens := strings.Split(text, ".")
	if len(tokens) != 4 || tokens[1] != string(KindView) {
		return s, fmt.Errorf("subject %q: want <context>.view.<projection>.<key>, where a dot in a key is written =2E", text)
	}
	if s.Context, err = ParseContext(tokens[0]); err != nil {
		return s, err
	}
	if s.Projection, err = ParseProjection(tokens[2]); err != nil {
		return s, err
	}
	if s.Key, err = ParseID(tokens[3]); err != nil {
		return s, fmt.Errorf("key, which is written as an id: %w", err)
	}
	return s, nil
}

var projectionForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// ParseProjection reads the name of a projection: a small letter, then small letters, digits
// and '_', 40 at most.
func ParseProjection(s string) (string, error) {
	if !projectionForm.MatchString(s) {
		return "", fmt.Errorf("projection %s: want a small letter, then small letters, digits and '_', 40 at most", quote(s))
	}
	return s, nil
}

var positionForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,19})$`)

func readAfter(r *RequestHeader, v string) error {
	seen := map[string]bool{}
	for at := range strings.SplitSeq(v, ",") {
		at = strings.TrimSpace(at)
		m := positionForm.FindStringSubmatch(at)
		switch {
		case m == nil:
			return fmt.Errorf("want a position such as 0-42, of several partitions with commas between them")
		case seen[m[1]]:
			return fmt.Errorf("it has two positions of partition %s: give the later one", m[1])
		}
		seen[m[1]] = true
		r.After = append(r.After, at)
	}
	return nil
}

// A ProjectionVerb is what an operator wants of a context's projections.
type ProjectionVerb string

// The verbs. The first asks for all projections, ProjectionParked for all or one, the others
// for one.
const (
	ProjectionList    ProjectionVerb = "list"
	ProjectionParked  ProjectionVerb = "parked"
	ProjectionShow    ProjectionVerb = "show"
	ProjectionPause   ProjectionVerb = "pause"
	ProjectionResume  ProjectionVerb = "resume"
	ProjectionReset   ProjectionVerb = "reset"
	ProjectionRebuild ProjectionVerb = "rebuild"
	ProjectionCompare ProjectionVerb = "compare"
	ProjectionSwitch  ProjectionVerb = "switch"
	ProjectionBack    ProjectionVerb = "back"
	ProjectionDrop    ProjectionVerb = "drop"
	ProjectionRetry   ProjectionVerb = "retry"
	ProjectionSkip    ProjectionVerb = "skip"
)

var projectionVerbs = []ProjectionVerb{
	ProjectionList, ProjectionParked, ProjectionShow, ProjectionPause, ProjectionResume, ProjectionReset, ProjectionRebuild,
	ProjectionCompare, ProjectionSwitch, ProjectionBack, ProjectionDrop, ProjectionRetry, ProjectionSkip,
}

// A ProjectionSubject is what operators ask on: <context>.projections.<verb>.<projection>,
// without the last for all of them.
type ProjectionSubject struct {
	Context    Context
	Verb       ProjectionVerb
	Projection string
}

const projectionsToken = "projections"

// ProjectionSubjects are all that a context has.
func ProjectionSubjects(c Context) string { return string(c) + "." + projectionsToken + ".>" }

// String gives the subject as it stands on the wire.
func (s ProjectionSubject) String() string {
	text := string(s.Context) + "." + projectionsToken + "." + string(s.Verb)
	if s.Projection == "" {
		return text
	}
	return text + "." + s.Projection
}

// ParseProjectionSubject reads what String gives. Its error names the part that is wrong.
func ParseProjectionSubject(text string) (s ProjectionSubject, err error) {
	tokens := strings.Split(text, ".")
	if len(tokens) < 3 || tokens[1] != projectionsToken {
		return s, fmt.Errorf("subject %q: want <context>.projections.<verb>.…", text)
	}
	if s.Context, err = ParseContext(tokens[0]); err != nil {
		return s, err
	}
	if s.Verb = ProjectionVerb(tokens[2]); !slices.Contains(projectionVerbs, s.Verb) {
		return s, fmt.Errorf("subject %q: the verb %q is unknown: there are %s", text, tokens[2], strings.Trim(fmt.Sprint(projectionVerbs), "[]"))
	}
	rest := tokens[3:]
	switch {
	case len(rest) == 0 && (s.Verb == ProjectionList || s.Verb == ProjectionParked):
		return s, nil
	case s.Verb == ProjectionList:
		return s, fmt.Errorf("subject %q: want <context>.projections.list", text)
	case len(rest) != 1:
		return s, fmt.Errorf("subject %q: want <context>.projections.%s.<projection>", text, s.Verb)
	}
	s.Projection, err = ParseProjection(rest[0])
	return s, err
}
