package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/node/cli"
)

// TestVerbs speak with a node, with the same restarted at another address, and with a
// new one that has another log, about the example that the README names.
func TestVerbs(t *testing.T) {
	commands, err := os.ReadFile("../examples/bank/commands.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "commands.ndjson") // the progress is kept beside it
	if err := os.WriteFile(file, commands, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(t)
	n := start(t, c)
	check := func(code int, says string, args ...string) {
		t.Helper()
		out, errs, got := run(append(args, "--server", n.ClientURL())...)
		if got != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
	applied := func() {
		t.Helper()
		check(cli.ExitRejected, "rejected   line 6: account/alan Withdraw: insufficient_funds", "apply", file)
		check(cli.ExitOK, `"balance":"70"`, "get", "account/grace", "--json")
		check(cli.ExitOK, `"user":"teller"`, "history", "account/grace", "--json")
	}
	applied()
	check(cli.ExitOK, "version 4", "send", "account/grace", "Deposit", `{"amount": 1}`)
	completes(t, "account/\n", "get", "--server", n.ClientURL(), "")

	stop(t, n)
	n = start(t, c)
	check(cli.ExitRejected, "all 6 lines were settled before", "apply", file)
	check(cli.ExitOK, `"version":4`, "get", "account/grace", "--json")

	stop(t, n)
	n = start(t, config(t))
	applied()
}
