package holdfasttest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// tithe is the data of a saga of reactions: a tenth of what comes to an account is taken from
// it, as long as its owner likes, which is a day at most.
type tithe struct{ taken int64 }

// tithing is the saga; deposited is nil for the right reaction.
func tithing(deposited func(tithe, *pb.Deposited, sagas.Source) sagas.Then) *sagas.Saga {
	if deposited == nil {
		deposited = tithe.deposited
	}
	return sagas.Define("tithe",
		sagas.On("account", whose, deposited),
		sagas.OnAnswer("take", tithe.answered),
		sagas.OnTime("over", tithe.over),
		sagas.OnCancel(func(_ tithe, why string) sagas.Then { return sagas.Then{Done: sagas.Cancelled, Because: why} }),
		sagas.Evolve(func(s tithe, e *pb.Withdrawn) tithe { return tithe{taken: s.taken + e.Amount} }),
	)
}

func whose(e *pb.Deposited, from sagas.Source) string {
	switch {
	case e.Amount < 0:
		panic("nobody deposits less than nothing")
	case e.Amount < 10:
		return ""
	}
	return from.Ref.ID
}

func (s tithe) deposited(e *pb.Deposited, from sagas.Source) sagas.Then {
	t := sagas.Then{
		Record: events{&pb.Withdrawn{Amount: e.Amount / 10}},
		Send: []sagas.Send{{
			Name: fmt.Sprintf("take:%d", from.Version), To: from.Ref, Command: &pb.Withdraw{Amount: e.Amount / 10},
		}},
	}
	if s.taken == 0 {
		t.Wake = []sagas.Wake{{Name: "over", After: 24 * time.Hour}}
	}
	return t
}

func (s tithe) answered(a sagas.Answer) sagas.Then {
	if a.Reason == "" {
		return sagas.Then{}
	}
	return sagas.Then{Done: sagas.Compensated, Because: a.Reason + ", " + a.Message}
}

func (s tithe) over() sagas.Then { return sagas.Then{Done: sagas.Completed} }

// tithed is a story of ada's account.
func tithed(t holdfasttest.TB) holdfasttest.SagaScenario {
	return holdfasttest.GivenSaga(t, tithing(nil), "ada", bank.Account)
}

// given is a gift to ada, of which 10 were taken from bob.
func given(t holdfasttest.TB) holdfasttest.SagaScenario {
	return holdfasttest.GivenSaga(t, giving(sagas.Undo("account", gift.giveBack)), "g-1", bank.Account).
		When(&pb.OpenAccount{Owner: "ada"}).ThenSends(fromBob).
		WhenAccepted("bob").ThenSends(fromEve)
}

var (
	fromBob = holdfasttest.To("account/bob", &pb.Withdraw{Amount: 10})
	toBob   = holdfasttest.To("account/bob", &pb.Deposit{Amount: 10})
	fromEve = holdfasttest.To("account/eve", &pb.Withdraw{Amount: 5})
	toEve   = holdfasttest.To("account/eve", &pb.Deposit{Amount: 5})
	toAda   = holdfasttest.To("account/ada", &pb.Deposit{Amount: 15})
	never   = holdfasttest.To("account/eve", &messages.Void{})
)

func adas(amount int64) holdfasttest.Sent {
	return holdfasttest.To("account/ada", &pb.Withdraw{Amount: amount})
}

func TestSagaOfSteps(t *testing.T) {
	t.Parallel()
	given := given(t)
	given.WhenAccepted("eve").ThenSends(toAda).
		WhenAccepted("give").ThenSends().ThenStatus(sagas.Completed).
		When(&messages.SagaCancel{Reason: "late"}).ThenRejected("over")
	given.WhenAccepted("eve").ThenSends(toAda).
		WhenRejected("give", "closed", "ada has gone").ThenSends(toEve).ThenReason("closed: ada has gone").
		WhenAccepted("eve").ThenSends(toBob).ThenStatus(sagas.Compensating).
		WhenAccepted("bob").ThenStatus(sagas.Compensated)
	given.WhenFails("eve", holdfast.CodeOverloaded).ThenSends().ThenWakesAfter(time.Second).
		After(time.Second).ThenSends(fromEve).
		WhenKeepsFailing("eve", holdfast.CodeUnavailable).ThenSends(toBob)
	given.When(&messages.SagaCancel{Reason: "unwanted"}).ThenSends().
		WhenAccepted("eve").ThenSends(toEve).
		WhenKeepsRejecting("eve", "closed", "eve has gone").ThenStatus(sagas.Stuck).ThenReason("eve: closed: eve has gone").
		When(&messages.SagaSkip{Step: "eve", Reason: "paid out"}).ThenSends(toBob).
		WhenAccepted("bob").ThenStatus(sagas.Cancelled)
	given.ThenState(&messages.SagaState{Status: "running", Steps: []*messages.SagaStep{{}, {
		Name: "eve", Do: &messages.SagaErrand{Phase: messages.SagaPhase_SAGA_PHASE_SENT, Attempt: 1},
	}}})
}

// Closely, a Void stands between a failure and what follows from it.
func TestSagaLookedAtClosely(t *testing.T) {
	t.Parallel()
	failed := given(t).Closely().WhenRejected("eve", "closed", "eve has gone").ThenSends(never)
	failed.WhenAccepted("eve").ThenSends(toBob)
	failed.WhenExecuted("eve", &pb.Withdrawn{Amount: 5}).ThenSends(toAda)
	failed.WhenFails("eve", holdfast.CodeUnavailable).ThenSends().ThenWakesAfter(time.Second).
		After(time.Second).ThenSends(never)
}

func TestSagaOfReactions(t *testing.T) {
	t.Parallel()
	begun := tithed(t).At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)).As("ada").
		WhenHears("account/ada", &pb.Deposited{Amount: 5}).ThenNothing().
		WhenHears("account/bob", &pb.Deposited{Amount: 500}).ThenNothing().
		WhenHears("account/ada", &pb.Deposited{Amount: 100}).
		ThenRecords(&pb.Withdrawn{Amount: 10}).ThenSends(adas(10)).ThenWakesAfter(24 * time.Hour)
	begun.WhenAccepted("take:2").ThenSends().ThenGoesOn().
		After(time.Hour).
		WhenHears("account/ada", &pb.Deposited{Amount: 20}, &pb.Deposited{Amount: 30}).ThenSends(adas(2), adas(3)).
		WhenAccepted("take:3").ThenSends().
		After(22*time.Hour).
		After(time.Hour).ThenStatus(sagas.Running).
		WhenHears("account/ada", &pb.Deposited{Amount: 20}).ThenNothing().
		WhenAccepted("take:4").ThenStatus(sagas.Completed)
	begun.WhenRejected("take:2", "closed", "it is closed").ThenStatus(sagas.Compensated).ThenReason("closed, it is closed")
	begun.When(&messages.SagaCancel{Reason: "she has moved"}).ThenSends().
		WhenAccepted("take:2").ThenStatus(sagas.Cancelled)
}

func TestUnexpectedConsequenceIsTold(t *testing.T) {
	story := func(f func(holdfasttest.SagaScenario)) func(holdfasttest.TB) {
		return func(t holdfasttest.TB) { f(given(t)) }
	}
	reactions := func(f func(holdfasttest.SagaScenario)) func(holdfasttest.TB) {
		return func(t holdfasttest.TB) { f(tithed(t)) }
	}
	found(t, []wrong{
		{"another command", story(func(s holdfasttest.SagaScenario) { s.WhenAccepted("eve").ThenSends(toBob, toAda) }), []string{`gift/g-1, WhenAccepted("eve"):
  want  account/bob bank.v1.Deposit {"amount":"10"}
        account/ada bank.v1.Deposit {"amount":"15"}
  got   account/ada bank.v1.Deposit {"amount":"15"}
  it is running
     on its way is give: account/ada bank.v1.Deposit {"amount":"15"}`}},
		{"to somebody else", story(func(s holdfasttest.SagaScenario) {
			s.WhenAccepted("eve").ThenSends(holdfasttest.To("account/bob", &pb.Deposit{Amount: 15}))
		}), []string{`want  account/bob bank.v1.Deposit {"amount":"15"}`, `got   account/ada`}},
		{"a command instead of none", story(func(s holdfasttest.SagaScenario) { s.WhenAccepted("eve").ThenNothing() }), []string{
			"want  nothing", `got   it sends account/ada bank.v1.Deposit {"amount":"15"}`,
		}},
		{"only a note", story(func(s holdfasttest.SagaScenario) { s.WhenFails("eve", holdfast.CodeOverloaded).ThenNothing() }), []string{
			"want  nothing", "got   it takes note of that",
		}},
		{"nothing instead of a refusal", reactions(func(s holdfasttest.SagaScenario) {
			s.WhenHears("account/ada", &pb.Deposited{Amount: 5}).ThenRejected("small")
		}), []string{`want  rejected "small"`, "got   nothing"}},
		{"a refusal", story(func(s holdfasttest.SagaScenario) {
			s.When(&messages.SagaCancel{}).ThenSends()
		}), []string{"want  nothing", `got   rejected "no_reason": say why`}},
		{"another time", story(func(s holdfasttest.SagaScenario) {
			s.WhenFails("eve", holdfast.CodeOverloaded).ThenWakesAfter(2 * time.Second)
		}), []string{"want  a timer, after 2s", "got   a timer, after 925.75ms"}},
		{"no timer", story(func(s holdfasttest.SagaScenario) { s.WhenAccepted("eve").ThenWakesAfter(time.Second) }), []string{"got   no timer"}},
		{"another status", story(func(s holdfasttest.SagaScenario) { s.ThenStatus(sagas.Completed) }), []string{
			`gift/g-1, WhenAccepted("bob"):`, "want  completed", "got   running",
		}},
		{"another reason", story(func(s holdfasttest.SagaScenario) { s.ThenReason("closed") }), []string{"want  closed", "got   no reason"}},
		{"another state", story(func(s holdfasttest.SagaScenario) {
			s.ThenState(&messages.SagaState{Steps: []*messages.SagaStep{{Name: "eve"}, {Turn: 2}, {}, {Name: "x"}}})
		}), []string{`want  steps[0].name: "eve"
        steps[1].turn: 2
        steps[3].name: "x"
  got   steps[0].name: "bob"
        steps[1].turn: 0
        steps[3].name: nothing`}},
		{"over", story(func(s holdfasttest.SagaScenario) {
			s.When(&messages.SagaForce{Status: "completed", Reason: "enough"}).ThenGoesOn()
		}), []string{"want  a saga that goes on", "it is completed, because: enough"}},
		{"other records", reactions(func(s holdfasttest.SagaScenario) {
			s.WhenHears("account/ada", &pb.Deposited{Amount: 50}).ThenRecords(&pb.Withdrawn{Amount: 50})
		}), []string{`want  bank.v1.Withdrawn {"amount":"50"}`, `got   bank.v1.Withdrawn {"amount":"5"}`}},
		{"another saga's", reactions(func(s holdfasttest.SagaScenario) {
			s.WhenHears("account/bob", &pb.Deposited{Amount: 50}).ThenSends(adas(5))
		}), []string{"got   nothing", "it is not begun", "told of it is tithe/bob"}},
		{"nobody looked", story(func(s holdfasttest.SagaScenario) { s.WhenAccepted("eve") }), []string{"saga_test.go:", `WhenAccepted("eve") has no Then`}},
		{"nobody looked at a timer", story(func(s holdfasttest.SagaScenario) {
			s.WhenFails("eve", holdfast.CodeOverloaded).ThenSends().After(time.Second)
		}), []string{"saga_test.go:", "After(1s) has no Then"}},
	})
}

func TestWrongStoryIsFound(t *testing.T) {
	story := func(f func(holdfasttest.SagaScenario)) func(holdfasttest.TB) {
		return func(t holdfasttest.TB) { f(given(t)) }
	}
	hears := func(ref string, e ...holdfast.Event) func(holdfasttest.TB) {
		return func(t holdfasttest.TB) { tithed(t).WhenHears(ref, e...).ThenNothing() }
	}
	found(t, []wrong{
		{"nothing on its way", story(func(s holdfasttest.SagaScenario) { s.WhenAccepted("give").ThenNothing() }), []string{
			`WhenAccepted("give"): nothing is on its way under this name; is running`, `on its way is eve: account/eve bank.v1.Withdraw {"amount":"5"}`,
		}},
		{"no Void", story(func(s holdfasttest.SagaScenario) { s.WhenExecuted("eve", opened).ThenNothing() }), []string{"it is no Void that is on its way"}},
		{"executed without a trace", story(func(s holdfasttest.SagaScenario) {
			s.Closely().WhenRejected("eve", "no", "no").ThenSends(never).WhenExecuted("eve").ThenNothing()
		}), []string{"say with which events"}},
		{"for ever", story(func(s holdfasttest.SagaScenario) {
			s.Closely().WhenRejected("eve", "no", "no").ThenSends(never).WhenKeepsFailing("eve", holdfast.CodeUnavailable).ThenNothing()
		}), []string{"attempts it is not given up"}},
		{"another time", story(func(s holdfasttest.SagaScenario) { s.At(time.Now()) }), []string{"let time pass with After"}},
		{"too early", func(t holdfasttest.TB) { tithed(t).ThenSends() }, []string{"tithe/ada: nothing has happened yet"}},
		{"no ref", hears("ada", opened), []string{"want type/id"}},
		{"no such type", hears("purse/ada", opened), []string{`there is no aggregate type "purse" among those that GivenSaga was given`}},
		{"of itself", hears("tithe/ada", &messages.SagaAlarmed{Name: "over", At: 1}), []string{"of itself a saga is not told"}},
		{"no such event", hears("account/ada", &pb.Deposit{}), []string{`the type "account" has no event bank.v1.Deposit`}},
		{"no event", hears("account/ada", nil), []string{"an event is nil"}},
		{"no such command", story(func(s holdfasttest.SagaScenario) { s.When(&pb.Deposit{}).ThenNothing() }), []string{
			`gift/g-1, When(bank.v1.Deposit {}): the type gift has no Decide for the command bank.v1.Deposit`,
		}},
		{"an aggregate type is missing", func(t holdfasttest.TB) {
			holdfasttest.GivenSaga(t, giving(sagas.Undo("account", gift.giveBack)), "g-1")
		}, []string{`there is no aggregate type "account": add it to the types`}},
	})
}

func TestWrongSagaIsFound(t *testing.T) {
	calls := int64(0)
	reacts := func(react func(tithe, *pb.Deposited, sagas.Source) sagas.Then) func(holdfasttest.TB) {
		return func(t holdfasttest.TB) {
			holdfasttest.GivenSaga(t, tithing(react), "ada", bank.Account).WhenHears("account/ada", &pb.Deposited{Amount: 50}).ThenGoesOn()
		}
	}
	send := func(s ...sagas.Send) sagas.Then { return sagas.Then{Send: s} }
	taking := sagas.Send{Name: "take:1", To: holdfast.Ref{Type: "account", ID: "ada"}, Command: &pb.Withdraw{Amount: 1}}
	found(t, []wrong{
		{"a reaction that counts", reacts(func(tithe, *pb.Deposited, sagas.Source) sagas.Then {
			calls++
			return sagas.Then{Record: events{&pb.Withdrawn{Amount: calls}}}
		}), []string{`tithe/ada, WhenHears(account/ada, bank.v1.Deposited {"amount":"50"}): the decision is not the same when it is made again`}},
		{"a reaction that panics", reacts(func(tithe, *pb.Deposited, sagas.Source) sagas.Then { panic("boom") }), []string{"it cannot be taken in, and is parked: boom"}},
		{"the same name twice", reacts(func(tithe, *pb.Deposited, sagas.Source) sagas.Then { return send(taking, taking) }), []string{`sends "take:1" for the second time`}},
		{"an alarm without an OnTime", reacts(func(tithe, *pb.Deposited, sagas.Source) sagas.Then {
			return sagas.Then{Wake: []sagas.Wake{{Name: "soon", After: time.Second}}}
		}), []string{`wants to be woken for "soon"`}},
		{"a record without an Evolve", reacts(func(tithe, *pb.Deposited, sagas.Source) sagas.Then {
			return sagas.Then{Record: events{&pb.AccountClosed{}}}
		}), []string{"records a bank.v1.AccountClosed, for which it has no Evolve"}},
		{"which saga cannot be said", func(t holdfasttest.TB) {
			tithed(t).WhenHears("account/ada", &pb.Deposited{Amount: -1}).ThenNothing()
		}, []string{"which saga the event concerns cannot be said: nobody deposits less than nothing"}},
		{"a step that counts", func(t holdfasttest.TB) {
			d := sagas.Define("gift", sagas.Begin(gift.begun), sagas.Pivot("give", sagas.Do("account", func(gift) (string, *pb.Deposit) {
				calls++
				return "ada", &pb.Deposit{Amount: calls}
			})))
			holdfasttest.GivenSaga(t, d, "g-1", bank.Account).When(&pb.OpenAccount{Owner: "ada"}).ThenGoesOn()
		}, []string{"the decision is not the same when it is made again"}},
	})
}
