package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
)

var sentinels = map[holdfast.Code]error{
	holdfast.CodeMalformed:   holdfast.ErrMalformed,
	holdfast.CodeUnknown:     holdfast.ErrUnknown,
	holdfast.CodeConflict:    holdfast.ErrConflict,
	holdfast.CodeTooLarge:    holdfast.ErrTooLarge,
	holdfast.CodeOverloaded:  holdfast.ErrOverloaded,
	holdfast.CodeUnavailable: holdfast.ErrUnavailable,
	holdfast.CodeUncertain:   holdfast.ErrUncertain,
	holdfast.CodeCorrupt:     holdfast.ErrCorrupt,
	holdfast.CodeInternal:    holdfast.ErrInternal,
}

func TestErrorIsTheSentinelOfItsCode(t *testing.T) {
	t.Parallel()
	for code := range sentinels {
		err := fmt.Errorf("load account/a-1: %w", holdfast.Errorf(code, "commit at %s: %w", "0-42", io.ErrUnexpectedEOF))
		for other, sentinel := range sentinels {
			if errors.Is(err, sentinel) != (other == code) {
				t.Errorf("%s is the sentinel of %s: %t", code, other, other != code)
			}
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s has lost its cause", code)
		}
		if got := holdfast.CodeOf(err); got != code {
			t.Errorf("the code of %v is %s", err, got)
		}
		if want := "load account/a-1: " + string(code) + ": commit at 0-42: unexpected EOF"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

// What is uncertain must not pass for "certainly not executed" because of its cause.
func TestErrorHasOneCode(t *testing.T) {
	t.Parallel()
	first := holdfast.Errorf(holdfast.CodeConflict, "first: %w", io.EOF)
	second := holdfast.Errorf(holdfast.CodeUnavailable, "second: %w", fmt.Errorf("in between: %w", first))
	err := holdfast.Errorf(holdfast.CodeUncertain, "third: %w", second)
	if !errors.Is(err, holdfast.ErrUncertain) || !errors.Is(err, io.EOF) {
		t.Errorf("%v has lost its code or its cause", err)
	}
	if errors.Is(err, holdfast.ErrUnavailable) || errors.Is(err, holdfast.ErrConflict) {
		t.Errorf("%v has the code of a cause", err)
	}
	if want := "uncertain: third: unavailable: second: in between: conflict: first: EOF"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestErrorIsNoOtherErrorOfItsCode(t *testing.T) {
	t.Parallel()
	one := holdfast.Errorf(holdfast.CodeConflict, "one")
	for _, other := range []error{
		holdfast.Errorf(holdfast.CodeConflict, "other"),
		&holdfast.Error{Code: holdfast.CodeConflict, Cause: io.EOF},
		io.EOF,
	} {
		if errors.Is(one, other) {
			t.Errorf("%v is %v", one, other)
		}
	}
	if !errors.Is(one, one) {
		t.Error("an error is not itself")
	}
}

func TestErrorWithoutAMessage(t *testing.T) {
	t.Parallel()
	if got := holdfast.ErrConflict.Error(); got != "conflict" {
		t.Errorf("got %q", got)
	}
	if err := holdfast.Errorf(holdfast.CodeConflict, "no cause"); errors.Unwrap(err) != nil {
		t.Errorf("%v has the cause %v", err, errors.Unwrap(err))
	}
}

func TestCodeOf(t *testing.T) {
	t.Parallel()
	no := holdfast.Reject("closed", "no")
	for _, tt := range []struct {
		err  error
		want holdfast.Code
	}{
		{nil, ""},
		{no, holdfast.CodeRejected},
		{fmt.Errorf("decide: %w", no), holdfast.CodeRejected},
		{errors.Join(io.EOF, holdfast.ErrTooLarge), holdfast.CodeTooLarge},
		{errors.New("boom"), holdfast.CodeInternal},
		{context.DeadlineExceeded, holdfast.CodeInternal},
	} {
		if got := holdfast.CodeOf(tt.err); got != tt.want {
			t.Errorf("the code of %v is %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestReject(t *testing.T) {
	t.Parallel()
	err := holdfast.Reject("insufficient_funds", "the balance is %d", 7)
	var r *holdfast.Rejection
	if !errors.As(err, &r) || r.Reason != "insufficient_funds" || r.Message != "the balance is 7" {
		t.Errorf("got %#v", err)
	}
	if want := "insufficient_funds: the balance is 7"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestReasonOfARejection(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]bool{
		"closed": true, "not_open": true, "a": true, "sku_12": true, strings.Repeat("a", 64): true,
		"": false, "Closed": false, "not-open": false, "not open": false, "_open": false, "1st": false, "é": false,
		"closed\n": false, strings.Repeat("a", 65): false,
	} {
		if got := (&holdfast.Rejection{Reason: reason}).Valid(); got != want {
			t.Errorf("the reason %q is valid: %t", reason, got)
		}
	}
}
