package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The demo tells its story to the end, and leaves nothing behind.
func TestDemo(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	if err := runDemo(ctx, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, says := range []string{
		"✓ FamilyEnrolled, version 1",
		"✗ rejected: payment_overdue",
		"↻ the first answer again: PaymentReceived, version 8",
		"The node is stopped without ceremony",
		"WithdrawalReversed       ← ReverseWithdrawal story-013",
		"as of version 10 status withdrawn",
		"now              status enrolled",
		"counted: all 50 are enrolled",
		"Verified ",
		"nothing is wrong",
		"go run ./cmd/node run",
	} {
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
}
