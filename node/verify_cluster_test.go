package node_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
)

// checkVerify runs verify on a node's folder and wants what it says in its output, as soon as
// all servers have heard of one another, and have caught up.
func checkVerify(t *testing.T, c node.Config, code int, says []string, args ...string) {
	t.Helper()
	args = append([]string{"verify", "--data", c.Data}, args...)
	out := eventually(t, code, says, args...)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); args[len(args)-1] == "--json" {
		for _, l := range lines {
			if !json.Valid([]byte(l)) {
				t.Errorf("no JSON: %s", l)
			}
		}
		if !strings.HasPrefix(lines[len(lines)-1], says[len(says)-1]) {
			t.Errorf("the last line is %s, want %s", lines[len(lines)-1], says[len(says)-1])
		}
	}
}

// spoil changes the one commit below a folder that has the text in it.
func spoil(t *testing.T, folder, text string) {
	t.Helper()
	spoilt := 0
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".blk") || !strings.Contains(path, "DEMO_LOG_0") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at := bytes.Index(b, []byte(text)); at >= 0 {
			b[at] ^= 0x10
			spoilt++
		}
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || spoilt != 1 {
		t.Fatalf("spoilt %d commits, %v", spoilt, err)
	}
}

// Of a log with replicas each is verified, and what cannot be is said.
func TestVerifyEachReplica(t *testing.T) {
	t.Parallel()
	const opening, deposit = "demo.cmd.account.ada.OpenAccount", "demo.cmd.account.ada.Deposit"
	configs := trio(t)
	nodes := startAll(t, configs...)
	nc := dial(t, nodes[0])
	send(t, nc, opening, "open", `{"owner":"Ada"}`)
	send(t, nc, deposit, "first-deposit", `{"amount":1}`)
	send(t, nc, deposit, "second-deposit", `{"amount":1}`)
	all := "3 commits with 3 events of 1 aggregates: nothing is wrong\n"
	checkVerify(t, configs[0], cli.ExitOK, []string{"n1: " + all, "n2: " + all, "n3: " + all, "Verified the log on n1, n2, n3: nothing is wrong.\n"})
	checkVerify(t, configs[1], cli.ExitOK, []string{
		`"replicas":[{"aggregates":1,"commits":3,"events":3,"findings":0,"replica":"n1"},`,
		`{"context":"demo","findings":0,"replicas":`,
	}, "account/ada", "--json")
	checkVerify(t, configs[0], cli.ExitFailure, []string{"nothing of account/bob is in the log of demo"}, "account/bob")

	stop(t, nodes[2])
	checkVerify(t, configs[0], cli.ExitFailure, []string{
		"n1: " + all, "n2: " + all, "n3: it could not be looked to the end: ", "its server is offline\n",
		"Verified the log on n1, n2: nothing is wrong. It could not be looked on n3.\n", "error: it could not be looked on n3\n",
	})
	checkVerify(t, configs[0], cli.ExitFailure, []string{
		`its server is offline","events":0,"findings":0,"replica":"n3"}`,
		`{"error":{"code":"failed","message":"it could not be looked on n3"}}`,
	}, "--json")
	stopAll(t, nodes[:2]...)

	spoil(t, configs[1].Data, "first-deposit")
	nodes = startAll(t, configs...)
	checkVerify(t, configs[0], 4, []string{
		"missing      account/ada              at 0-2 on n2: ", "n1: " + all, "n2: 2 commits with 2 events of 1 aggregates: 1 finding\n", "n3: " + all,
		"Verified the log on n1, n2, n3: 1 finding.\n",
	})
	checkVerify(t, configs[2], 4, []string{
		`{"finding":"missing","position":"0-2","ref":"account/ada","replica":"n2",`,
		`{"context":"demo","findings":1,`,
	}, "account/ada", "--json")

	// What docs/operations.md says is to be done.
	stop(t, nodes[1])
	if err := os.Rename(filepath.Join(configs[1].Data, "jetstream"), filepath.Join(configs[1].Data, "damaged")); err != nil {
		t.Fatal(err)
	}
	nodes[1] = startAll(t, configs[1])[0]
	checkVerify(t, configs[0], cli.ExitOK, []string{"n2: " + all, "Verified the log on n1, n2, n3: nothing is wrong.\n"})
	stopAll(t, nodes...)
}
