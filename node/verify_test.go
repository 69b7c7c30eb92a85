package node_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node/cli"
)

func TestVerify(t *testing.T) {
	c := config(t)
	n := start(t, c)
	open(t, n)
	check := func(what string, code int, says string, args ...string) {
		t.Helper()
		out, errs, got := run(append([]string{"verify", "--data", c.Data}, args...)...)
		if got != code || !strings.Contains(out+errs, says) {
			t.Errorf("%s: exit code %d, want %d, and %q in:\n%s%s", what, got, code, says, out, errs)
		}
	}
	check("while it runs", cli.ExitOK, "Verified 1 commits with 1 events of 1 aggregates: nothing is wrong.")
	stop(t, n)
	check("while it does not", cli.ExitOK, "nothing is wrong")
	check("a type", cli.ExitOK, "1 commits", "account")
	check("a type that nothing is of", cli.ExitFailure, "nothing of order is in the log of demo", "order")
	check("an aggregate that is not there", cli.ExitFailure, "nothing of account/bob is in the log of demo", "account/bob")
	check("one that is not there, as JSON", cli.ExitFailure, `{"error":{"code":"failed","message":"nothing of account/bob is`, "account/bob", "--json")
	check("an aggregate, as JSON", cli.ExitOK, `"findings":0`, "account/ada", "--json")
	check("another context", cli.ExitFailure, `no log of a context "other" here: name the context with --context`, "--context", "other")
	check("a bad context", cli.ExitUsage, "No", "--context", "No")
	check("a bad type", cli.ExitUsage, "No", "No/1")
	check("too many arguments", cli.ExitUsage, "accepts at most 1", "a", "b")
	if out, errs, code := run("verify", "--data", c.Data+"/none"); code != cli.ExitFailure || !strings.Contains(errs, "--data") {
		t.Errorf("no such folder: %d\n%s%s", code, out, errs)
	}

	forge(t, c.Data)
	check("after a forgery", 4, "undecodable")
	check("after a forgery, as JSON", 4, `"finding":"undecodable"`, "--json")
	check("another", cli.ExitFailure, "nothing of account/bob", "account/bob")
}

// forge writes to the log of a folder that no node runs on.
func forge(t *testing.T, folder string) {
	t.Helper()
	onFolder(t, folder, func(js natsjs.JetStream) error {
		_, err := js.Publish(within(t, time.Minute), "demo.log.0.account.ada", []byte("rubbish"))
		return err
	})
}

// onFolder does something with the streams of a folder that no node runs on.
func onFolder(t *testing.T, folder string, do func(natsjs.JetStream) error) {
	t.Helper()
	server, err := natsd.Start(context.Background(), natsd.Config{DataDir: folder, Context: "demo", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	nc, err := server.Connect(natsd.Node, nats.Name("test"))
	if err != nil {
		t.Fatal(err)
	}
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(js); err != nil {
		t.Fatal(err)
	}
}

// Verifying a log changes nothing, not even by making what is missing.
func TestVerifyWritesNothing(t *testing.T) {
	c := config(t)
	n := start(t, c)
	open(t, n)
	stop(t, n)
	onFolder(t, c.Data, func(js natsjs.JetStream) error { return js.DeleteStream(within(t, time.Minute), "DEMO_SNAPSHOTS") })
	if out, errs, code := run("verify", "--data", c.Data); code != cli.ExitOK {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	onFolder(t, c.Data, func(js natsjs.JetStream) error {
		if _, err := js.Stream(within(t, time.Minute), "DEMO_SNAPSHOTS"); !errors.Is(err, natsjs.ErrStreamNotFound) {
			t.Errorf("the snapshots: %v, want them missing still", err)
		}
		return nil
	})
}

// A folder that another verify reads is in use, and by whom is told.
func TestVerifyTellsWhoHasTheFolder(t *testing.T) {
	folder := t.TempDir()
	server, err := natsd.Start(context.Background(), natsd.Config{DataDir: folder, Context: "demo", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	_, errs, code := run("verify", "--data", folder)
	if want := fmt.Sprintf("belongs to the process with pid %d", os.Getpid()); code != cli.ExitFailure || !strings.Contains(errs, want) {
		t.Errorf("exit code %d, %q, want %q", code, errs, want)
	}
}

// What the server would not survive reading is told with its place.
func TestVerifyFindsADamagedBlock(t *testing.T) {
	c := config(t)
	n := start(t, c)
	open(t, n)
	for range 3 {
		sent(t, n, ada, &bankpb.Deposit{Amount: 1}, holdfast.Meta{})
	}
	stop(t, n)
	block := filepath.Join(c.Data, "jetstream", "CORE", "streams", "DEMO_LOG_0", "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	second := binary.LittleEndian.Uint32(b) &^ (1 << 31) // the first record's size
	b[second+4+2] ^= 0x40                                // in the third byte of its sequence
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := run("verify", "--data", c.Data); code != 4 || !strings.Contains(errs, block) || !strings.Contains(errs, fmt.Sprintf("offset %d", second)) {
		t.Errorf("exit code %d, want the place in\n%s%s", code, out, errs)
	}
}

// A client's login may not read the log, and is told what would.
func TestVerifyNeedsARealLogin(t *testing.T) {
	n := start(t, config(t))
	open(t, n)
	const want = "the NATS server does not let this login read the log"
	if out, errs, code := run("verify", "--nats", n.ClientURL()); code != cli.ExitFailure || !strings.HasPrefix(errs, "error: "+want) {
		t.Errorf("exit code %d, want %q in\n%s%s", code, want, out, errs)
	}
	out, errs, code := run("verify", "--nats", n.ClientURL(), "--json")
	if code != cli.ExitFailure || errs != "" || !strings.HasPrefix(out, `{"error":{"code":"failed","message":"`+want) {
		t.Errorf("as JSON: exit code %d, want %q in\n%s and nothing in\n%s", code, want, out, errs)
	}
}

func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"verify", ""}, "account\norder\npayment\nstock\nshipment\nmail\ntransfer\ncheckout\nfulfilment\n:4\n"},
		{[]string{"verify", "account", ""}, ":4\n"},
		{[]string{"run", ""}, ":4\n"},
		{[]string{"run", "--log-level", ""}, "debug\ninfo\nwarn\nerror\n:4\n"},
		{[]string{"run", "--log-format", ""}, "text\njson\n:4\n"},
	} {
		if out, _, code := run(append([]string{"__complete"}, c.args...)...); code != cli.ExitOK || out != c.want {
			t.Errorf("%v: exit code %d, completes to %q, want %q", c.args, code, out, c.want)
		}
	}
}
