package holdfasttest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	coop "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

func TestUnexpectedOutcomeIsTold(t *testing.T) {
	t.Parallel()
	given := func(t holdfasttest.TB) holdfasttest.Scenario { return holdfasttest.Given(t, bank.Account, opened) }
	for _, tt := range []struct {
		name string
		test func(t holdfasttest.TB)
		want string
	}{
		{"other events", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{Amount: 50}).Then(&pb.Deposited{Amount: 100}, &pb.AccountClosed{})
		}, `account, after 1 event: bank.v1.Deposit {"amount":"50"}:
  want  bank.v1.Deposited {"amount":"100"}
        bank.v1.AccountClosed {}
  got   bank.v1.Deposited {"amount":"50"}`},
		{"one more event", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{Amount: 50}).Then(&pb.Deposited{Amount: 50}, &pb.AccountClosed{})
		}, `account, after 1 event: bank.v1.Deposit {"amount":"50"}:
  want  bank.v1.Deposited {"amount":"50"}
        bank.v1.AccountClosed {}
  got   bank.v1.Deposited {"amount":"50"}`},
		{"a rejection instead of events", func(t holdfasttest.TB) {
			given(t).When(&pb.Withdraw{Amount: 50}).Then(&pb.Withdrawn{Amount: 50})
		}, `account, after 1 event: bank.v1.Withdraw {"amount":"50"}:
  want  bank.v1.Withdrawn {"amount":"50"}
  got   rejected "insufficient_funds": the balance is 0, which is less than 50`},
		{"events instead of nothing", func(t holdfasttest.TB) {
			given(t).When(&pb.CloseAccount{}).ThenNothing()
		}, `account, after 1 event: bank.v1.CloseAccount {}:
  want  nothing
  got   bank.v1.AccountClosed {}`},
		{"a rejection instead of nothing", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{}).ThenNothing()
		}, `account, after 1 event: bank.v1.Deposit {}:
  want  nothing
  got   rejected "invalid_amount": the amount is 0; it must be positive`},
		{"another rejection", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{}).ThenRejected("closed")
		}, `account, after 1 event: bank.v1.Deposit {}:
  want  rejected "closed"
  got   rejected "invalid_amount": the amount is 0; it must be positive`},
		{"events instead of a rejection", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{Amount: 50}).ThenRejected("closed")
		}, `account, after 1 event: bank.v1.Deposit {"amount":"50"}:
  want  rejected "closed"
  got   bank.v1.Deposited {"amount":"50"}`},
		{"another state", func(t holdfasttest.TB) {
			given(t).ThenState(&pb.Account{Owner: "Ida", Balance: 1})
		}, `account, after 1 event: the state is not the expected one:
  balance: want "1", got "0"
  open: want false, got true
  owner: want "Ida", got "Ada"`},
		{"another state afterwards", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{Amount: 50}).ThenState(&pb.Account{Owner: "Ada", Open: true, Balance: 100})
		}, `account, after 1 event: bank.v1.Deposit {"amount":"50"}: the state is not the expected one:
  balance: want "100", got "50"`},
		{"a rejection instead of a state", func(t holdfasttest.TB) {
			given(t).When(&pb.Deposit{}).ThenState(&pb.Account{Owner: "Ada", Open: true})
		}, `account, after 1 event: bank.v1.Deposit {}:
  want  a state
  got   rejected "invalid_amount": the amount is 0; it must be positive`},
		{"a state of another kind", func(t holdfasttest.TB) {
			given(t).ThenState(&coop.Family{})
		}, "account, after 1 event: the state is a bank.v1.Account, not a coop.v1.Family"},
		{"another list", func(t holdfasttest.TB) {
			def := define(nil, nil, holdfast.Snapshot(saved, loaded))
			holdfasttest.Given(t, def, &pb.Deposited{Amount: 7}).ThenState(&coop.Family{
				Outstanding: 7, Children: []*coop.Child{{ChildName: "0", Age: 8}, {ChildName: "1", Grade: "5"}},
			})
		}, `purse, after 1 event: the state is not the expected one:
  children[0].age: want 8, got 7
  children[1].age: want 0, got nothing
  children[1].child_name: want "1", got nothing
  children[1].grade: want "5", got nothing`},
		{"no state at all", func(t holdfasttest.TB) {
			holdfasttest.Given(t, define(nil, nil)).ThenState(&pb.Account{})
		}, "purse, when nothing has happened: the type has no Snapshot, so there is no state to look at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if said := verdictOn(t, tt.test); said != tt.want {
				t.Errorf("the kit said\n%s\nwant\n%s", said, tt.want)
			}
		})
	}
}

func TestWhenWithoutThenIsFound(t *testing.T) {
	t.Parallel()
	said := verdictOn(t, func(t holdfasttest.TB) {
		holdfasttest.Given(t, bank.Account, opened).When(&pb.Deposit{Amount: 50})
	})
	wantSaid(t, said, "scenario_test.go:", `When(bank.v1.Deposit {"amount":"50"}) has no Then`)
}

// metaOf defines a type that puts the meta that it sees into its event.
func metaOf() holdfast.Definition {
	return holdfast.Define("witness",
		holdfast.DecideMeta(func(_ purse, _ *pb.Deposit, m holdfast.Meta) (events, error) {
			return events{&pb.AccountOpened{Owner: fmt.Sprint(m.ID, " ", m.CorrelationID, " ", m.User, " ", m.At.Format(time.RFC3339))}}, nil
		}),
		holdfast.Evolve(func(s purse, _ *pb.AccountOpened) purse { return s }),
	)
}

func TestMetaReachesTheDecision(t *testing.T) {
	t.Parallel()
	seen := func(s string) *pb.AccountOpened { return &pb.AccountOpened{Owner: s} }
	holdfasttest.Given(t, metaOf()).
		When(&pb.Deposit{}).Then(seen("command-1 command-1  2020-06-01T12:00:00Z")).
		At(time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)).As("teller").
		When(&pb.Deposit{}).Then(seen("command-2 command-2 teller 2026-02-03T04:05:06Z"))
}

func TestStoriesStartFromOneScenario(t *testing.T) {
	t.Parallel()
	start := holdfasttest.Given(t, bank.Account, opened, &pb.Deposited{Amount: 100})
	start.When(&pb.Withdraw{Amount: 100}).Then(&pb.Withdrawn{Amount: 100})
	start.When(&pb.CloseAccount{}).Then(&pb.AccountClosed{}).
		When(&pb.Withdraw{Amount: 100}).ThenRejected("closed")
	start.ThenState(&pb.Account{Owner: "Ada", Balance: 100, Open: true})
}

func TestGivenLeavesItsEventsAlone(t *testing.T) {
	t.Parallel()
	hoard := define(nil, nil, holdfast.Evolve(func(s purse, e *pb.AccountOpened) purse {
		s.note = &e.Owner
		return s
	}), holdfast.Decide(func(s purse, _ *pb.CloseAccount) (events, error) {
		*s.note = "gone"
		return nil, nil
	}))
	mine := &pb.AccountOpened{Owner: "Ada"}
	wantSaid(t, verdictOn(t, func(t holdfasttest.TB) {
		holdfasttest.Given(t, hoard, mine).When(&pb.CloseAccount{}).ThenNothing()
	}), `note: "Ada", then "gone"`)
	if mine.Owner != "Ada" {
		t.Errorf("the event that was given has become %v", mine)
	}
}

// In a test with a clock of its own the kit leaves the clock alone and works.
func TestWithinSynctest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		holdfasttest.Given(t, bank.Account, opened).When(&pb.Deposit{Amount: 1}).Then(&pb.Deposited{Amount: 1})
	})
}
