package sagas

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// An account that knows a command and two events, of which one is retired.
var account = holdfast.Define("account",
	holdfast.Decide(func(struct{}, *bankpb.Withdraw) (holdfast.Events, error) { return nil, nil }),
	holdfast.Decide(func(struct{}, *bankpb.Deposit) (holdfast.Events, error) { return nil, nil }),
	holdfast.Evolve(func(s struct{}, _ *bankpb.Deposited) struct{} { return s }),
	holdfast.Upcast[struct{}](func(e *bankpb.Withdrawn) holdfast.Events {
		return holdfast.Events{&bankpb.Deposited{Amount: -e.Amount}, &bankpb.Deposited{Amount: 1}}
	}),
)

func TestBooksThatDoNotFit(t *testing.T) {
	types := []holdfast.Definition{account}
	heard := func(typ string) *Saga {
		return Define("s", begin, ok("a"), Hear(typ, func(*bankpb.AccountOpened, Source) string { return "" }, func(t trip, _ *bankpb.AccountOpened, _ Source) trip { return t }))
	}
	for want, b := range map[string]struct {
		types []holdfast.Definition
		saga  *Saga
	}{
		`two types are called "account"`:                                             {types, Define("account", begin, ok("a"))},
		`saga "s", step "a" at check_internal_test.go`:                               {nil, Define("s", begin, ok("a"))},
		`there is no aggregate type "account"`:                                       {nil, Define("s", begin, ok("a"))},
		`Do: the type "account" knows no command bank.v1.OpenAccount`:                {types, Define("s", begin, Pivot("a", Do("account", func(trip) (string, *bankpb.OpenAccount) { return "", nil })))},
		`Undo: the type "account" knows no command bank.v1.CloseAccount`:             {types, Define("s", begin, Step("a", take, Undo("account", func(trip) (string, *bankpb.CloseAccount) { return "", nil })))},
		`Hear(*bankpb.AccountOpened) at book_internal_test.go`:                       {types, heard("account")},
		`the type "account" has no event bank.v1.AccountOpened`:                      {types, heard("account")},
		`there is no aggregate type "other"`:                                         {types, heard("other")},
		`the event bank.v1.Withdrawn is retired: listen to what has taken its place`: {types, Define("s", obeys, On("account", func(*bankpb.Withdrawn, Source) string { return "" }, func(trip, *bankpb.Withdrawn, Source) Then { return Then{} }))},
	} {
		if _, err := NewBook(b.types, b.saga); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if b, err := NewBook(types, journey, guard); err != nil || len(b.Types()) != 3 || b.Saga("guard") != guard {
		t.Errorf("%v, %v", b, err)
	}
}
