package holdfast_test

import (
	"math"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
)

func TestRef(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]holdfast.Ref{
		"account/a-1":   {Type: "account", ID: "a-1"},
		"account/a/b":   {Type: "account", ID: "a/b"},
		"account//":     {Type: "account", ID: "/"},
		"account/\x00ä": {Type: "account", ID: "\x00ä"},
	} {
		got, err := holdfast.ParseRef(s)
		if err != nil || got != want {
			t.Errorf("%q is read as %#v, %v", s, got, err)
		}
		if got.String() != s {
			t.Errorf("%q is written %q", s, got)
		}
	}
	for _, s := range []string{"", "account", "account/", "/a-1", "/"} {
		if got, err := holdfast.ParseRef(s); err == nil || got != (holdfast.Ref{}) || !strings.Contains(err.Error(), "want type/id") {
			t.Errorf("%q is read as %#v, %v", s, got, err)
		}
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]holdfast.Position{
		"0-0":                             {},
		"0-42":                            holdfast.NewPosition(0, 42),
		"7-1":                             holdfast.NewPosition(7, 1),
		"4294967295-18446744073709551615": holdfast.NewPosition(math.MaxUint32, math.MaxUint64),
	} {
		got, err := holdfast.ParsePosition(s)
		if err != nil || got != want {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
		if got.String() != s {
			t.Errorf("%q is written %q", s, got)
		}
		if again := holdfast.NewPosition(got.Partition(), got.Sequence()); again != got {
			t.Errorf("%v is made of %d and %d, which make %v", got, got.Partition(), got.Sequence(), again)
		}
	}
	for _, s := range []string{
		"", "-", "42", "0-", "-42", "0--1", "+0-1", "0-+1", "00-1", "0-01", "0-1 ", " 0-1", "0-1-2", "a-1", "0-a",
		"0x1-1", "4294967296-1", "0-18446744073709551616",
	} {
		if got, err := holdfast.ParsePosition(s); err == nil || got != (holdfast.Position{}) || !strings.Contains(err.Error(), `want partition-sequence, as in "0-42"`) {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
	}
}

func TestPositionsInOrder(t *testing.T) {
	t.Parallel()
	at := holdfast.NewPosition
	for _, tt := range []struct {
		p, q holdfast.Position
		want bool
	}{
		{at(0, 1), at(0, 2), true},
		{at(0, 2), at(0, 2), false},
		{at(0, 2), at(0, 1), false},
		{at(0, 1), at(1, 2), false},
		{at(1, 2), at(0, 1), false},
		{holdfast.Position{}, at(0, 1), true},
	} {
		if got := tt.p.Before(tt.q); got != tt.want {
			t.Errorf("%v before %v: %t", tt.p, tt.q, got)
		}
	}
	if !(holdfast.Position{}).IsZero() || !at(3, 0).IsZero() || at(0, 1).IsZero() {
		t.Error("IsZero is wrong about what stands before everything")
	}
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	if d := holdfast.NewDelivery(); d.Expected != nil || d.Meta != (holdfast.Meta{}) {
		t.Errorf("without options it is %+v", d)
	}
	d := holdfast.NewDelivery(
		holdfast.WithUser("gone"),
		holdfast.WithMeta(holdfast.Meta{ID: "gone", CorrelationID: "story-1", User: "ada"}),
		holdfast.WithID("command-1"),
		holdfast.ExpectVersion(0),
	)
	if want := (holdfast.Meta{ID: "command-1", CorrelationID: "story-1", User: "ada"}); d.Meta != want {
		t.Errorf("the meta is %+v, want %+v", d.Meta, want)
	}
	if d.Expected == nil || *d.Expected != 0 {
		t.Errorf("the expected version is %v, want 0", d.Expected)
	}
	if d = holdfast.NewDelivery(holdfast.WithUser("ada"), holdfast.ExpectVersion(7)); d.Meta.User != "ada" || *d.Expected != 7 {
		t.Errorf("it is %+v", d)
	}
}
