package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/node/cli"
)

// TestVerbs speak with a node, restarted at another address, and with another log.
func TestVerbs(t *testing.T) {
	c := config(t)
	n := start(t, c)
	file := filepath.Join(t.TempDir(), "ada.ndjson")
	err := os.WriteFile(file, []byte(`{"ref":"account/ada","command":"OpenAccount","data":{"owner":"Ada"},"user":"teller"}
{"ref":"account/ada","command":"Deposit","data":{"amount":100}}
{"ref":"account/ada","command":"Withdraw","data":{"amount":500}}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	check := func(code int, says string, args ...string) {
		t.Helper()
		out, errs, got := run(append(args, "--server", n.ClientURL())...)
		if got != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
	applied := func() {
		t.Helper()
		check(cli.ExitRejected, "rejected   line 3: account/ada Withdraw: insufficient_funds", "apply", file)
		check(cli.ExitOK, `"balance":"100"`, "get", "account/ada", "--json")
		check(cli.ExitOK, `"user":"teller"`, "history", "account/ada", "--json")
	}
	applied()
	check(cli.ExitOK, "version 3", "send", "account/ada", "Deposit", `{"amount": 1}`)
	if out, _, _ := run("__complete", "get", "--server", n.ClientURL(), ""); !strings.HasPrefix(out, "account/\n") {
		t.Errorf("completes to %q", out)
	}

	stop(t, n)
	n = start(t, c)
	check(cli.ExitRejected, "all 3 lines were settled before", "apply", file)
	check(cli.ExitOK, `"version":3`, "get", "account/ada", "--json")

	n = start(t, config(t))
	applied()
}
