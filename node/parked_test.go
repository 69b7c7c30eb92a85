package node_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/node/cli"
)

// What the inbox of a node has parked is seen and helped by operators, and by them only.
func TestParkedInTheInbox(t *testing.T) {
	var mended atomic.Bool
	c := config(t)
	c.NoIndex = true // so that there is no projection
	c.Types = []holdfast.Definition{holdfast.Define("till",
		holdfast.Decide(func(struct{}, *bankpb.Deposit) (holdfast.Events, error) {
			if !mended.Load() {
				return nil, errors.New("the till is stuck")
			}
			return holdfast.Events{&bankpb.Deposited{Amount: 1}}, nil
		}),
		holdfast.Evolve(func(s struct{}, _ *bankpb.Deposited) struct{} { return s }),
	)}
	n := start(t, c)
	nc := visitor(t, n)
	check := func(code int, says string, args ...string) {
		t.Helper()
		eventually(t, code, []string{says}, append(args, "--data", c.Data)...)
	}
	orders := func(says, done string, args ...string) {
		t.Helper()
		out, errs, got := run(append(args, "--data", c.Data)...)
		if got != cli.ExitOK || !strings.Contains(out, says+done) && !strings.Contains(out, says+"it is ordered, and not done yet") {
			t.Errorf("%v: exit code %d, want %q in:\n%s%s", args, got, says+done, out, errs)
		}
	}
	check(cli.ExitOK, "WHERE  KEY  PARKED", "parked")
	check(cli.ExitOK, "0                0", "inbox")
	for i := range 3 {
		if got := asked(t, nc, fmt.Sprintf("demo.inbox.till.a=2E%d.Deposit", i), `{"amount":1}`, "Nats-Msg-Id", fmt.Sprint("d-", i)); !strings.Contains(got, `"stream":"DEMO_INBOX"`) {
			t.Fatal(got)
		}
	}
	check(cli.ExitOK, `"parked":3}`, "inbox", "--json")
	check(cli.ExitOK, "inbox  till/a.1  1", "parked")
	check(cli.ExitOK, "the till is stuck; tried 5 times", "parked", "show", "inbox", "till/a.1")
	check(cli.ExitOK, `{"amount":"1"}`, "parked", "show", "inbox", "till/a.1")
	check(cli.ExitOK, "d-1 is parked: ", "parked", "retry", "inbox", "till/a.1", "--as", "ann")
	orders("inbox till/a.0 d-0: skip, by ann; ", "nothing is parked any more", "parked", "skip", "inbox", "till/a.0", "d-0", "--reason", "it was nothing", "--as", "ann")
	check(cli.ExitFailure, "conflict: the parked command of till/a=2E1 is d-1, not d-2: look again", "parked", "skip", "inbox", "till/a.1", "d-2", "--reason", "it was nothing")
	check(cli.ExitFailure, "unknown: till/a=2E0 has no parked command", "parked", "show", "inbox", "till/a.0")
	completes(t, "d-1\n", "parked", "skip", "--data", c.Data, "inbox", "till/a.1", "")
	mended.Store(true)
	orders("inbox till/a.1 d-1: retry, by ann; ", "nothing is parked any more", "parked", "retry", "inbox", "till/a.1", "--as", "ann")
	check(cli.ExitFailure, "unknown: till/a=2E1 has no parked command", "parked", "show", "inbox", "till/a.1")
	check(cli.ExitOK, "0-1       0", "feed")

	for _, subject := range []string{"demo.parked.list", "demo.parked.status", "demo.parked.show.till.a=2E2", "demo.parked.skip.till.a=2E2", "demo.feed.status"} {
		if m, err := nc.Request(subject, nil, 300*time.Millisecond); !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("a client asks %s: %v, %v", subject, m, err)
		}
	}
	stop(t, n)
	start(t, c) // it is tried again when a node starts
	check(cli.ExitOK, "0                0", "inbox")
}
