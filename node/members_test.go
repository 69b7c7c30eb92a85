package node_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/node/cli"
)

// What an operator asks of a node that runs on its own.
func TestMembers(t *testing.T) {
	c := config(t)
	c.Name = "n1"
	check := func(code int, says string, args ...string) {
		t.Helper()
		if out, errs, got := run(append(args, "--data", c.Data)...); got != code || !strings.Contains(out+errs, says) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
	check(cli.ExitFailure, "no node runs on the folder", "members")
	open(t, start(t, c))
	check(cli.ExitOK, "NAME  STATE  ADDRESS", "members")
	check(cli.ExitOK, "n1    up     127.0.0.1:", "members")
	check(cli.ExitOK, `"name":"n1"`, "members", "--json")
	check(cli.ExitOK, "account/ada is owned by n1 at 127.0.0.1:", "where", "account/ada")
	check(cli.ExitOK, `"ref":"account/ada"`, "where", "account/ada", "--json")
	check(cli.ExitFailure, "no node hosts the type order", "where", "order/1")
	check(cli.ExitUsage, "ada", "where", "ada")
	check(cli.ExitFailure, `no node of a context "other"`, "members", "--context", "other")
	check(cli.ExitFailure, "there is no node n2: there are n1", "leave", "n2")
	check(cli.ExitUsage, "arg", "leave")
}
