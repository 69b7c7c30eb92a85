package holdfasttest_test

import (
	"fmt"
	"strings"
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

func (gift) begun(_ string, c *bankpb.OpenAccount) gift { return gift{to: c.Owner} }

func (g gift) take() (string, *bankpb.Withdraw)       { return "bob", &bankpb.Withdraw{Amount: 10} }
func (g gift) giveBack() (string, *bankpb.Deposit)    { return "bob", &bankpb.Deposit{Amount: 10} }
func (g gift) takeToo() (string, *bankpb.Withdraw)    { return "eve", &bankpb.Withdraw{Amount: 5} }
func (g gift) giveBackToo() (string, *bankpb.Deposit) { return "eve", &bankpb.Deposit{Amount: 5} }
func (g gift) give() (string, *bankpb.Deposit)        { return g.to, &bankpb.Deposit{Amount: 15} }

func giving(undo ...sagas.Option) *sagas.Saga {
	retry := sagas.Retry(sagas.Backoff{First: time.Second, Max: time.Minute, Attempts: 8})
	return sagas.Define("gift",
		sagas.Begin(gift.begun),
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

// Bob's money stays away when the last step fails: some run shows it, and shows it again.
func TestSimulateFindsAMissingCompensation(t *testing.T) {
	w := gifts(giving(sagas.NoUndo("it was forgotten")))
	said := verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Simulate(t, 1000, w) })
	wantSaid(t, said, "and there were 50", "account/bob: accepted bank.v1.Withdrawn", "in the World plays this again")
	var seed uint64
	if _, err := fmt.Sscanf(said, "seed %d:", &seed); err != nil {
		t.Fatal(err)
	}
	_, story, _ := strings.Cut(said, "\n")
	story, _, _ = strings.Cut(story, "\nSeed:")
	w.Seed = seed
	again := verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Simulate(t, 1, w) })
	wantSaid(t, again, story)
}

// What never ends is found, too.
func TestSimulateFindsWhatIsStuck(t *testing.T) {
	once := sagas.RetryUndo(sagas.Backoff{First: time.Second, Max: time.Second, Attempts: 1})
	w := gifts(giving(sagas.Undo("account", func(gift) (string, *bankpb.Withdraw) { return "nobody", &bankpb.Withdraw{Amount: 1} }), once))
	said := verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Simulate(t, 1000, w) })
	wantSaid(t, said, "is stuck, and nothing moves any more; bob undone: exhausted not_open", "an operator resumes gift/g-")
	said = verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Crash(t, w) })
	wantSaid(t, said, "crash at point 1")
}

func TestCrash(t *testing.T) {
	n := holdfasttest.Crash(t, gifts(giving(sagas.Undo("account", gift.giveBack))))
	if n < 50 {
		t.Errorf("only %d points", n)
	}
	t.Log(n, "points")
}
