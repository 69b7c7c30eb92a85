package node_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/projections"
)

// inFile does something to the file of a projection while no node runs, and gives what stands
// in its documents.
func inFile(t *testing.T, data, projection string, generation int, statement string) string {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(data, "views", fmt.Sprintf("%s.%d.db", projection, generation)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if statement != "" {
		if r, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		} else if n, err := r.RowsAffected(); err != nil || n != 1 {
			t.Fatalf("%s: %d rows, %v", statement, n, err)
		}
	}
	var body string
	if err := db.QueryRow(`SELECT body FROM holdfast_documents`).Scan(&body); err != nil {
		t.Fatal(err)
	}
	return body
}

// A file that is of another context, of a newer build, or ahead of the log is not touched, and
// neither is what a projection leaves behind that was renamed: each says so, and the others go
// on. Once it is set right, all is there.
func TestFilesOfOthers(t *testing.T) {
	c := config(t)
	none := func(*bankpb.Deposited) error { return nil }
	names := []string{"newer", "other", "ahead", "named"}
	for _, name := range names {
		c.Projections = append(c.Projections, counting(name, none))
	}
	a := &oneAccount{t: t, node: start(t, c)}
	a.nc = visitor(t, a.node)
	open(t, a.node)
	at := a.deposit(1)
	for _, name := range names {
		a.shows(name, at, 1)
	}
	stop(t, a.node)
	inFile(t, c.Data, "newer", 1, `UPDATE holdfast_meta SET value = '99' WHERE name = 'format'`)
	inFile(t, c.Data, "other", 1, `UPDATE holdfast_meta SET value = 'shop' WHERE name = 'context'`)
	inFile(t, c.Data, "ahead", 1, `UPDATE holdfast_checkpoints SET done = 99`)

	renamed := c
	renamed.Projections = append([]*projections.Projection{counting("renamed", none)}, c.Projections[:3]...)
	a.node = start(t, renamed)
	a.nc = visitor(t, a.node)
	at = a.deposit(2)
	a.shows("renamed", at, 3)
	for name, says := range map[string]string{
		"newer": "was made by a newer build (format 99, and this one knows 1): use that build, or move it away to have it built anew",
		"other": "belongs to the context shop, and this is demo: give each context a place of its own",
		"ahead": "the checkpoint 0-99 is ahead of the log, which ends at 0-3: the log has lost what stood there, or it is another one. Nothing is touched: restore the log, or rebuild the projection",
		"named": "this build has no such projection: was it renamed?",
	} {
		told(t, c.Data, name, func(s standing) bool { return s.State == "stopped" && strings.Contains(s.Reason, says) })
	}
	rebuilt(t, c.Data, "ahead")
	a.shows("ahead", at, 3)
	stop(t, a.node)
	for _, name := range names {
		if got := inFile(t, c.Data, name, 1, ""); got != `{"Sum":1}` {
			t.Errorf("%s was touched: it has %s", name, got)
		}
	}

	inFile(t, c.Data, "newer", 1, `UPDATE holdfast_meta SET value = '1' WHERE name = 'format'`)
	inFile(t, c.Data, "other", 1, `UPDATE holdfast_meta SET value = 'demo' WHERE name = 'context'`)
	a.node = start(t, c)
	a.nc = visitor(t, a.node)
	at = a.deposit(4)
	for _, name := range names {
		a.shows(name, at, 7)
		told(t, c.Data, name, live)
	}
}

// rebuilt has a projection built anew, and that serve.
func rebuilt(t *testing.T, data, name string) {
	t.Helper()
	for _, args := range [][]string{{"rebuild", name, "--wait"}, {"switch", name, "--force"}} {
		if out, errs, code := run(append(append([]string{"projections"}, args...), "--data", data)...); code != cli.ExitOK {
			t.Fatalf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}
