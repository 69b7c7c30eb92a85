package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/inbox"
)

var errBug = holdfast.Errorf(holdfast.CodeInternal, "a bug in the domain")

// failing has the commands with an id fail.
func failing(id string, err error) func(context.Context, holdfast.Ref, holdfast.Command, holdfast.Delivery) error {
	return func(_ context.Context, _ holdfast.Ref, _ holdfast.Command, d holdfast.Delivery) error {
		if d.Meta.ID == id {
			return err
		}
		return nil
	}
}

func command(t *testing.T, name, body string) holdfast.Command {
	t.Helper()
	c, ok := bank.Account.NewCommand(name)
	if !ok {
		t.Fatalf("there is no command %s", name)
	}
	if err := protojson.Unmarshal([]byte(body), c); err != nil {
		t.Fatal(err)
	}
	return c
}

var ada = holdfast.Ref{Type: "account", ID: "ada"}

// A command that fails by a bug is parked, with all later ones behind it; others go on; and
// when the bug is mended and an operator has it tried again, all follow in order.
func TestParkedAndDrained(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.clerk.hook(failing("bad", errBug), nil)
	r := w.run()
	w.left("account.ada.OpenAccount", "o", open)
	w.left("account.ada.Deposit", "bad", deposit)
	want := []string{"o", "bad"}
	for i := range 5 {
		w.left("account.ada.Deposit", fmt.Sprint("later-", i), deposit)
		want = append(want, fmt.Sprint("later-", i))
	}
	w.left("account.eve.OpenAccount", "e", open)
	p := w.parked(1)[0]
	check(t, "outcome of another", w.outcome("e").Status, "")
	if p.Ref != "account/ada" || p.Command != "Deposit" || p.CommandID != "bad" || p.Sequence != 2 || p.Code != "internal" ||
		!strings.Contains(p.Reason, "a bug in the domain") || p.Attempts != 5 || p.Accepted.IsZero() || p.Since.Before(p.Accepted) || p.Wish != nil {
		t.Errorf("parked is %+v", p)
	}
	w.eventually(func() error {
		if s := r.Status(); s.Parked != 1 || s.Waiting != 6 || !strings.Contains(s.Trouble, "a bug") {
			return fmt.Errorf("status is %+v: %w", s, errNotYet)
		}
		return nil
	})
	shown, err := w.inbox.Show(within(t), ada)
	if err != nil || string(shown.Data) == "" || !strings.Contains(strings.ReplaceAll(string(shown.Data), " ", ""), `"amount":"100"`) || len(shown.Behind) != 5 || shown.Behind[4].CommandID != "later-4" || shown.More {
		t.Errorf("shown is %+v, %v", shown, err)
	}
	if err := w.inbox.Retry(within(t), ada, "bad", "otto"); err != nil { // the bug is still there
		t.Fatal(err)
	}
	w.eventually(func() error {
		if p := w.parked(1)[0]; p.Attempts != 6 || p.Wish != nil {
			return fmt.Errorf("parked is %+v: %w", p, errNotYet)
		}
		return nil
	})
	if did := w.clerk.did("ada"); !slices.Equal(did, want[:1]) {
		t.Errorf("done is %v", did)
	}
	w.clerk.hook(nil, nil)
	if err := w.inbox.Retry(within(t), ada, "", "otto"); err != nil {
		t.Fatal(err)
	}
	w.empty()
	w.parked(0)
	if did := w.clerk.did("ada"); !slices.Equal(did, want) {
		t.Errorf("done is %v", did)
	}
	check(t, "outcome", w.outcome("bad").Version, 2)
}

// What is parked is tried once when a runner begins, which may be of another build.
func TestParkedUntilAnotherBegins(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.clerk.hook(failing("bad", errBug), nil)
	r := w.run()
	w.left("account.ada.OpenAccount", "bad", open)
	w.left("account.ada.Deposit", "later", deposit)
	w.parked(1)
	r.Stop()
	w.clerk.hook(nil, nil)
	w.run()
	check(t, "outcome", w.outcome("later").Version, 2)
	w.empty()
	w.parked(0)
}

// A command that this build does not know is parked at once, and executed by one that does.
func TestAnotherBuild(t *testing.T) {
	t.Parallel()
	plain := holdfast.Define("account",
		holdfast.Decide(func(struct{}, *bankpb.CloseAccount) (holdfast.Events, error) { return nil, nil }),
	)
	other := holdfast.Define("other",
		holdfast.Decide(func(struct{}, *bankpb.CloseAccount) (holdfast.Events, error) { return nil, nil }),
	)
	w := setup(t)
	w.serve()
	w.left("account.ada.OpenAccount", "o", open)
	w.left("account.ada.Deposit", "d", deposit)
	for want, def := range map[string]holdfast.Definition{
		"type account knows no command OpenAccount in this build": plain,
		"this build knows no type account":                        other,
	} {
		old, err := inbox.Open(within(t), inbox.Config{
			Context: "bank", Core: w.core, Public: w.core, Types: []holdfast.Definition{def}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := old.Run(inbox.RunnerConfig{Sender: w.clerk, Seats: chair{}})
		if err != nil {
			t.Fatal(err)
		}
		w.eventually(func() error {
			if p := w.parked(1)[0]; !strings.Contains(p.Reason, want) {
				return fmt.Errorf("parked is %+v: %w", p, errNotYet)
			}
			return nil
		})
		r.Stop()
		shown, err := old.Show(within(t), ada)
		if err != nil || shown.Data != nil || len(shown.Behind) != 1 {
			t.Errorf("a build that does not know it shows %+v, %v", shown, err)
		}
	}
	w.run()
	w.empty()
	w.parked(0)
	if did := w.clerk.did("ada"); !slices.Equal(did, []string{"o", "d"}) {
		t.Errorf("done is %v", did)
	}
}

// A command that is skipped has an outcome that says so, and what waits behind it follows. A
// wish is done by the next runner if there is none.
func TestSkip(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.clerk.hook(failing("bad", errBug), nil)
	r := w.run()
	w.left("account.ada.OpenAccount", "bad", open)
	w.left("account.ada.OpenAccount", "later", open)
	w.parked(1)
	r.Stop()
	if err := w.inbox.Skip(within(t), ada, "bad", "otto", "it was a mistake"); err != nil {
		t.Fatal(err)
	}
	if p := w.parked(1)[0]; p.Wish == nil || !p.Wish.Skip || p.Wish.By != "otto" || p.Wish.At.IsZero() {
		t.Errorf("parked is %+v", p)
	}
	w.clerk.hook(nil, nil)
	w.killAt("tell", "bad")
	w.killAt("remove", "bad")
	w.killAt("clear", "bad")
	w.run()
	w.empty()
	w.parked(0)
	o := w.outcome("bad")
	check(t, "status", o.Status, "410")
	check(t, "code", o.Error.Code, "skipped")
	check(t, "sentence", o.Error.Message, "skipped by otto: it was a mistake")
	check(t, "outcomes", len(w.outcomes("bad")), 1)
	if did := w.clerk.did("ada"); !slices.Equal(did, []string{"later"}) {
		t.Errorf("done is %v", did)
	}
}

// What cannot be had for the moment is tried again without being parked, and a panic is parked.
func TestWhatParks(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	var tried atomic.Int64
	codes := []holdfast.Code{holdfast.CodeUnavailable, holdfast.CodeOverloaded, holdfast.CodeUncertain}
	w.clerk.hook(func(_ context.Context, to holdfast.Ref, _ holdfast.Command, _ holdfast.Delivery) error {
		switch to.ID {
		case "patient":
			if n := tried.Add(1); n <= 6 {
				return holdfast.Errorf(codes[n%3], "not now")
			}
		case "panics":
			panic("nobody thought of it")
		case "damaged":
			return holdfast.Errorf(holdfast.CodeCorrupt, "a gap")
		case "odd":
			return &holdfast.Rejection{Reason: "Not a reason"}
		}
		return nil
	}, nil)
	w.run()
	for _, account := range []string{"patient", "panics", "damaged", "odd"} {
		w.left("account."+account+".OpenAccount", account, open)
	}
	check(t, "outcome", w.outcome("patient").Version, 1)
	got := []string{}
	for _, p := range w.parked(3) {
		got = append(got, p.Ref+" "+p.Code)
	}
	if want := []string{"account/damaged corrupt", "account/odd rejected", "account/panics internal"}; !slices.Equal(got, want) {
		t.Errorf("parked are %v", got)
	}
}

// Pages of what is parked, and what can be wrong with operators' wishes.
func TestOperators(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.clerk.hook(func(context.Context, holdfast.Ref, holdfast.Command, holdfast.Delivery) error { return errBug }, nil)
	w.run()
	for _, account := range []string{"c", "a", "b"} {
		w.left("account."+account+".OpenAccount", "of-"+account, open)
	}
	w.parked(3)
	ctx := within(t)
	first, next, err := w.inbox.Parked(ctx, inbox.Filter{Type: "account", Command: "OpenAccount", Code: "internal"}, inbox.Page{Limit: 2})
	if err != nil || len(first) != 2 || first[0].Ref != "account/a" || next != "account/b" {
		t.Errorf("the first page is %v, %s, %v", first, next, err)
	}
	rest, next, err := w.inbox.Parked(ctx, inbox.Filter{}, inbox.Page{Limit: 1, After: next})
	if err != nil || len(rest) != 1 || rest[0].Ref != "account/c" || next != "" {
		t.Errorf("the last page is %v, %s, %v", rest, next, err)
	}
	for _, f := range []inbox.Filter{{Type: "order"}, {Command: "Deposit"}, {Code: "corrupt"}} {
		if list, _, err := w.inbox.Parked(ctx, f, inbox.Page{}); err != nil || len(list) > 0 {
			t.Errorf("%+v picks %v, %v", f, list, err)
		}
	}
	a := holdfast.Ref{Type: "account", ID: "a"}
	for what, err := range map[string]error{
		"malformed: limit: it is 1001":                                func() error { _, _, err := w.inbox.Parked(ctx, inbox.Filter{}, inbox.Page{Limit: 1001}); return err }(),
		"malformed: limit: it is -1":                                  func() error { _, _, err := w.inbox.Parked(ctx, inbox.Filter{}, inbox.Page{Limit: -1}); return err }(),
		"malformed: type \"Account\"":                                 func() error { _, err := w.inbox.Show(ctx, holdfast.Ref{Type: "Account", ID: "a"}); return err }(),
		"malformed: id: it is empty":                                  func() error { _, err := w.inbox.Show(ctx, holdfast.Ref{Type: "account"}); return err }(),
		"unknown: account/z has no parked":                            func() error { _, err := w.inbox.Show(ctx, holdfast.Ref{Type: "account", ID: "z"}); return err }(),
		"conflict: the parked command of account/a is of-a, not of-b": w.inbox.Retry(ctx, a, "of-b", "otto"),
		"malformed: operator: it has 0 bytes":                         w.inbox.Retry(ctx, a, "of-a", ""),
		"malformed: commandId: it is empty":                           w.inbox.Skip(ctx, a, "", "otto", "why not"),
		"malformed: reason: it has 1 bytes":                           w.inbox.Skip(ctx, a, "of-a", "otto", " "),
		"malformed: reason: it has 1025 bytes":                        w.inbox.Skip(ctx, a, "of-a", "otto", strings.Repeat("x", 1025)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), what) {
			t.Errorf("want %s, got %v", what, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := w.inbox.Parked(ctx, inbox.Filter{}, inbox.Page{}); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("without time the list is answered with %v", err)
	}
}
