package holdfasttest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// gift is the data of a saga that takes 10 from the account bob, 5 from eve, and gives its
// owner 15.
type gift struct{ to string }

func (gift) begin(c *bankpb.OpenAccount) (gift, error) { return gift{to: c.Owner}, nil }

func (g gift) take() (string, *bankpb.Withdraw)       { return "bob", &bankpb.Withdraw{Amount: 10} }
func (g gift) giveBack() (string, *bankpb.Deposit)    { return "bob", &bankpb.Deposit{Amount: 10} }
func (g gift) takeToo() (string, *bankpb.Withdraw)    { return "eve", &bankpb.Withdraw{Amount: 5} }
func (g gift) giveBackToo() (string, *bankpb.Deposit) { return "eve", &bankpb.Deposit{Amount: 5} }
func (g gift) give() (string, *bankpb.Deposit)        { return g.to, &bankpb.Deposit{Amount: 15} }

func giving(undo ...sagas.Option) *sagas.Saga {
	retry := sagas.Retry(sagas.Backoff{First: time.Second, Max: time.Minute, Attempts: 8})
	return sagas.Define("gift",
		sagas.Begin(gift.begin),
		sagas.Step("bob", append(undo, sagas.Do("account", gift.take), retry, sagas.Timeout(time.Minute))...),
		sagas.Step("eve", sagas.Do("account", gift.takeToo), sagas.Undo("account", gift.giveBackToo), retry),
		sagas.Pivot("give", sagas.Do("account", gift.give), retry),
	)
}

func gifts(saga *sagas.Saga) holdfasttest.World {
	return holdfasttest.World{
		Types: []holdfast.Definition{bank.Account},
		Sagas: []*sagas.Saga{saga},
		Story: func(s *holdfasttest.Sim) {
			s.Given("account/bob", &bankpb.OpenAccount{Owner: "Bob"}, &bankpb.Deposit{Amount: 25})
			s.Given("account/eve", &bankpb.OpenAccount{Owner: "Eve"}, &bankpb.Deposit{Amount: 25})
			s.Given("account/ada", &bankpb.OpenAccount{Owner: "Ada"})
			for i := range 3 { // the third finds too little at bob's
				to := "ada"
				if s.Rand().IntN(3) == 0 {
					to = "nobody"
				}
				s.Send(fmt.Sprintf("gift/g-%d", i), &bankpb.OpenAccount{Owner: to})
			}
		},
		Check: func(s *holdfasttest.Sim) error {
			var sum int64
			s.Each("account", func(_ string, a holdfast.Event) { sum += a.(*bankpb.Account).Balance })
			if sum != 50 {
				return fmt.Errorf("there are %d, and there were 50", sum)
			}
			ended := 0
			s.Each("gift", func(_ string, g holdfast.Event) {
				if g.(*messages.SagaState).Status != "" {
					ended++
				}
			})
			if ended != 3 {
				return fmt.Errorf("%d of 3 gifts have begun", ended)
			}
			return nil
		},
	}
}

func TestSimulate(t *testing.T) {
	holdfasttest.Simulate(t, 2000, gifts(giving(sagas.Undo("account", gift.giveBack))))
}

func TestCrash(t *testing.T) {
	n := holdfasttest.Crash(t, gifts(giving(sagas.Undo("account", gift.giveBack))))
	if n < 50 {
		t.Errorf("only %d points", n)
	}
	t.Log(n, "points")
}
