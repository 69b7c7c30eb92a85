package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/persistence"
)

// tell has an error among the JSON documents, if these are wanted.
func (v *verification) tell(err error) error {
	if err == nil {
		return nil
	}
	if _, told := errors.AsType[*foundError](err); told {
		return cli.End(exitFindings, true, err)
	}
	code := cli.ExitFailure
	if errors.Is(err, natsd.ErrDamagedBlock) {
		code = exitFindings
	}
	if v.json {
		if err := writeJSON(v.out, map[string]any{"error": map[string]any{"code": "failed", "message": err.Error()}}); err != nil {
			return err
		}
	}
	return cli.End(code, v.json, err)
}

// exitFindings is verify's exit code when something is wrong with the log.
const exitFindings = 4

// A foundError says that there are findings, which have been told.
type foundError struct{ findings uint64 }

func (e *foundError) Error() string { return found(e.findings) }

// report tells of a finding, on a replica if there are several.
func (v *verification) report(f persistence.Finding, replica string) error {
	ref := ""
	if f.Ref.ID != "" {
		if id, err := messages.EncodeID(f.Ref.ID); err == nil {
			ref = messages.FormatRef(f.Ref.Type, id)
		}
	}
	if v.json {
		doc := map[string]any{"finding": f.Fault, "ref": ref, "position": f.Position.String(), "what": f.What}
		if replica != "" {
			doc["replica"] = replica
		}
		return writeJSON(v.out, doc)
	}
	at := f.Position.String()
	if replica != "" {
		at += " on " + replica
	}
	_, err := fmt.Fprintf(v.out, "%-12s %-24s at %s: %s\n", f.Fault, ref, at, f.What)
	return err
}

// summarise ends the report on a log of which there is one copy.
func (v *verification) summarise(l look) error {
	if err := v.checkThere(l); err != nil {
		return err
	}
	if v.json {
		doc := l.doc()
		doc["context"] = v.context
		if err := writeJSON(v.out, doc); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintf(v.out, "Verified %s.\n", l); err != nil {
		return err
	}
	if l.seen.Findings > 0 {
		return &foundError{l.seen.Findings}
	}
	return nil
}

// summariseAll ends the report on a log of which there are several replicas: it says of
// which of them it is.
func (v *verification) summariseAll(looks []look) error {
	if err := v.checkThere(looks...); err != nil {
		return err
	}
	var findings uint64
	var seen, unseen []string
	docs := make([]map[string]any, len(looks))
	for i, l := range looks {
		findings += l.seen.Findings
		docs[i] = l.doc()
		docs[i]["replica"] = l.replica
		if l.failed == nil {
			seen = append(seen, l.replica)
			continue
		}
		unseen = append(unseen, l.replica)
		docs[i]["error"] = l.failed.Error()
	}
	if err := v.writeAll(looks, docs, seen, unseen, findings); err != nil {
		return err
	}
	switch {
	case findings > 0:
		return &foundError{findings}
	case len(unseen) > 0:
		return fmt.Errorf("it could not be looked on %s", names(unseen))
	}
	return nil
}

func (v *verification) writeAll(looks []look, docs []map[string]any, seen, unseen []string, findings uint64) error {
	if v.json {
		return writeJSON(v.out, map[string]any{"context": v.context, "findings": findings, "replicas": docs})
	}
	var text strings.Builder
	for _, l := range looks {
		fmt.Fprintf(&text, "%s: %s\n", l.replica, l)
	}
	fmt.Fprintf(&text, "Verified the log on %s: %s.", names(seen), found(findings))
	if len(unseen) > 0 {
		fmt.Fprintf(&text, " It could not be looked on %s.", names(unseen))
	}
	_, err := fmt.Fprintln(v.out, text.String())
	return err
}

// checkThere refuses to call well what is not there.
func (v *verification) checkThere(looks ...look) error {
	if v.filter.All() || slices.ContainsFunc(looks, look.mayHave) {
		return nil
	}
	return fmt.Errorf("nothing of %s is in the log of %s", v.argument, v.context)
}

func (l look) mayHave() bool { return l.failed != nil || l.seen.Commits > 0 || l.seen.Findings > 0 }

func (l look) doc() map[string]any {
	return map[string]any{"commits": l.seen.Commits, "events": l.seen.Events, "aggregates": l.seen.Aggregates, "findings": l.seen.Findings}
}

func (l look) String() string {
	if l.failed != nil {
		return fmt.Sprintf("it could not be looked to the end: %v", l.failed)
	}
	return fmt.Sprintf("%d commits with %d events of %d aggregates: %s", l.seen.Commits, l.seen.Events, l.seen.Aggregates, found(l.seen.Findings))
}

func found(n uint64) string {
	switch n {
	case 0:
		return "nothing is wrong"
	case 1:
		return "1 finding"
	}
	return fmt.Sprintf("%d findings", n)
}

// names lists servers.
func names(servers []string) string {
	if len(servers) == 0 {
		return "none of its replicas"
	}
	return strings.Join(servers, ", ")
}
