package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The nodes of a demo are processes of this very binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"run", "demo"}, os.Args[1]) {
		main()
	}
	os.Exit(m.Run())
}

// play tells the story to the end, and finds that it leaves nothing behind.
func play(t *testing.T, nodes int, says ...string) (told string) {
	t.Helper()
	defer noGoroutine(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("HOLDFAST_NATS", "nats://127.0.0.1:1") // what is set for other nodes does not count
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	if err := runDemo(ctx, &out, nodes); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, says := range append([]string{
		"✓ FamilyEnrolled, version 1",
		"✗ rejected: payment_overdue",
		"↻ the first answer again: PaymentReceived, version 8",
		"WithdrawalReversed       ← ReverseWithdrawal story-013",
		"as of version 10 status withdrawn",
		"now              status enrolled",
		"counted: all 50 are enrolled",
		"checkout/o-1 is completed: paid 990, given back 0",
		"checkout/o-2 is compensated: paid 990, given back 990",
		"of 5 teas 4 are on the shelf, and 1 has gone",
		"turns back: no_such_address",
		`asked for the read model as it is after `,
		`"overdue":4200`,
		" aggregates: nothing is wrong",
		"go run ./cmd/node run",
	}, says...) {
		if !strings.Contains(out.String(), says) {
			t.Errorf("it does not say %q", says)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind: %v", left, err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
	return out.String()
}

// noGoroutine waits until none is left: Proto.Actor counts dead letters for a second, and
// the stop without ceremony has some.
func noGoroutine(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	err := goleak.Find()
	for err != nil && time.Now().Before(deadline) {
		err = goleak.Find()
	}
	if err != nil {
		t.Error(err)
	}
}

// The demo tells its story to the end, and leaves nothing behind.
func TestDemo(t *testing.T) {
	play(t, 1, "The node is stopped without ceremony", "ceremony in the middle, and the import sent again",
		"the printer has no letter 'Ó'", `They drained by themselves, in order: {"name":"Ó Briain","children":1}`)
}
