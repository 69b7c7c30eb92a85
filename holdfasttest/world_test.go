package holdfasttest_test

import (
	"flag"
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

var runs = flag.Int("runs", 2000, "how many runs are simulated")

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
	holdfasttest.Simulate(t, *runs, gifts(giving(sagas.Undo("account", gift.giveBack))))
}

// What has no patience is often done though it was given up, and always undone.
func TestSimulateInHaste(t *testing.T) {
	t.Parallel()
	retry := sagas.Retry(sagas.Backoff{First: 2 * time.Second, Max: time.Minute, Attempts: 8})
	w := gifts(sagas.Define("gift",
		sagas.Begin(gift.begun),
		sagas.Step("bob", sagas.Do("account", gift.take), sagas.Undo("account", gift.giveBack), retry, sagas.Timeout(time.Second)),
		sagas.Step("eve", sagas.Do("account", gift.takeToo), sagas.Undo("account", gift.giveBackToo), retry, sagas.Timeout(time.Second)),
		sagas.Pivot("give", sagas.Do("account", func(gift) (string, *bankpb.Deposit) { return "nobody", &bankpb.Deposit{Amount: 15} })),
	))
	holdfasttest.Simulate(t, 4**runs, w)
}

// Bob's money stays away when the last step fails: some run shows it, and shows it again.
func TestSimulateFindsAMissingCompensation(t *testing.T) {
	w := gifts(giving(sagas.NoUndo("it was forgotten")))
	said := verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Simulate(t, 1000, w) })
	wantSaid(t, said, "and there were 50", `bob, for account/bob: bank.v1.Withdraw {"amount":"10"} → bank.v1.Withdrawn`, "in the World plays this again")
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

// A seed always plays the same run.
func TestSimulateRepeats(t *testing.T) {
	t.Parallel()
	w := gifts(giving(sagas.Undo("account", gift.giveBack)))
	for w.Seed = 1; w.Seed <= 30; w.Seed++ {
		once := func() string {
			return verdictOn(t, func(t holdfasttest.TB) { holdfasttest.Simulate(t, 1, w) })
		}
		if first, again := once(), once(); first != again {
			t.Fatalf("seed %d tells two stories:\n%s\n%s", w.Seed, first, again)
		}
	}
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

// diary is the data of a saga that writes down what comes to an account, until it is full.
type diary struct{ pages int }

const pages = 6

var keeping = sagas.Define("diary",
	sagas.On("account", func(_ *bankpb.Deposited, from sagas.Source) string { return from.Ref.ID }, diary.deposited),
	sagas.Evolve(func(d diary, _ *bankpb.Deposited) diary { return diary{d.pages + 1} }),
)

func (d diary) deposited(e *bankpb.Deposited, _ sagas.Source) sagas.Then {
	t := sagas.Then{Record: events{e}}
	if d.pages+1 == pages {
		t.Done = sagas.Completed
	}
	return t
}

// A saga is told of an aggregate's events in the order in which they happened, and of each
// once: what stands in the diary is what stands in the log.
func TestSimulateTellsInOrder(t *testing.T) {
	t.Parallel()
	holdfasttest.Simulate(t, 2000, holdfasttest.World{
		Types: []holdfast.Definition{bank.Account},
		Sagas: []*sagas.Saga{keeping},
		Story: func(s *holdfasttest.Sim) {
			s.Given("account/ada", &bankpb.OpenAccount{Owner: "Ada"})
			for i := range pages {
				s.Send("account/ada", &bankpb.Deposit{Amount: int64(i) + 1})
			}
		},
		Check: func(s *holdfasttest.Sim) error {
			var got []holdfast.Event
			for _, r := range s.State("diary/ada").(*messages.SagaState).Recorded {
				e, err := r.UnmarshalNew()
				if err != nil {
					return err
				}
				got = append(got, e)
			}
			if want := s.Events("account/ada")[1:]; fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("in the diary stands %v, and in the log %v", got, want)
			}
			return nil
		},
	})
}

// watch is the data of a saga that never sleeps.
type watch struct{}

var watching = sagas.Define("watch",
	sagas.OnCommand(func(watch, *bankpb.OpenAccount) (sagas.Then, error) { return watch{}.awake(), nil }),
	sagas.OnTime("again", watch.awake),
)

func (watch) awake() sagas.Then {
	return sagas.Then{Wake: []sagas.Wake{{Name: "again", After: time.Hour}}}
}

func TestWrongWorldIsFound(t *testing.T) {
	world := func(change func(*holdfasttest.World)) func(holdfasttest.TB) {
		w := gifts(giving(sagas.Undo("account", gift.giveBack)))
		change(&w)
		return func(t holdfasttest.TB) { holdfasttest.Simulate(t, 10, w) }
	}
	story := func(f func(*holdfasttest.Sim)) func(holdfasttest.TB) {
		return world(func(w *holdfasttest.World) { w.Story = f })
	}
	found(t, []wrong{
		{"a command that is refused", story(func(s *holdfasttest.Sim) { s.Given("account/bob", &bankpb.CloseAccount{}) }), []string{
			"seed 1: account/bob, bank.v1.CloseAccount {}: not_open",
		}},
		{"no such type", story(func(s *holdfasttest.Sim) { s.Given("purse/bob", &bankpb.CloseAccount{}) }), []string{`the world has no type "purse"`}},
		{"no ref", story(func(s *holdfasttest.Sim) { s.Send("bob", &bankpb.CloseAccount{}) }), []string{"want type/id"}},
		{"an aggregate type is missing", world(func(w *holdfasttest.World) { w.Types = nil }), []string{`there is no aggregate type "account": add it`}},
		{"wrong on the way", world(func(w *holdfasttest.World) {
			w.Always = func(s *holdfasttest.Sim) error {
				if bob := s.State("account/bob").(*bankpb.Account); bob.Balance < 25 {
					return fmt.Errorf("bob has %d", bob.Balance)
				}
				return nil
			}
		}), []string{"bob has 15", "account/bob"}},
		{"a check that panics", world(func(w *holdfasttest.World) {
			w.Check = func(s *holdfasttest.Sim) error { return fmt.Errorf("%v", s.State("account/nobody").(*bankpb.Account)) }
		}), []string{"seed 1: panic: interface conversion", "world_test.go"}},
		{"no end", world(func(w *holdfasttest.World) {
			w.Sagas = []*sagas.Saga{watching}
			w.Story = func(s *holdfasttest.Sim) { s.Send("watch/w-1", &bankpb.OpenAccount{Owner: "ada"}) }
		}), []string{"it does not come to an end", "watch/w-1 is woken → SagaRang, SagaAlarmed", "lines are left out"}},
	})
}
