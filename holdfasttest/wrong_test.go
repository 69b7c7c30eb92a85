package holdfasttest_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	coop "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	coopv2 "github.com/holdfast-run/holdfast/examples/coop/coopv2pb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

// purse is a state with all that can be shared by mistake.
type purse struct {
	coins  []int64
	names  map[string]int64
	note   *string
	worth  int64
	filled bool
}

type part = holdfast.Part[purse]

type events = holdfast.Events

// define makes a purse of one deposit decision and one evolution; nil means the right
// one.
func define(deposit func(purse, *pb.Deposit) (events, error), deposited func(purse, *pb.Deposited) purse, more ...part) *holdfast.Type[purse] {
	if deposit == nil {
		deposit = func(_ purse, c *pb.Deposit) (events, error) { return events{&pb.Deposited{Amount: c.Amount}}, nil }
	}
	if deposited == nil {
		deposited = func(s purse, e *pb.Deposited) purse {
			s.coins = append(slices.Clip(s.coins), e.Amount)
			s.worth += e.Amount
			return s
		}
	}
	return holdfast.Define("purse", append(more, holdfast.Decide(deposit), holdfast.Evolve(deposited))...)
}

// filled is what gives a purse its map and its pointer.
func filled() part {
	return holdfast.Evolve(func(s purse, e *pb.AccountOpened) purse {
		s.names = map[string]int64{e.Owner: 1, "b": 2, "c": 3}
		s.note = &e.Owner
		s.coins = []int64{1, 2, 3}
		return s
	})
}

var opened = &pb.AccountOpened{Owner: "Ada"}

// deposit tests a purse in the simplest way: one command after what was given.
func deposit(def holdfast.Definition, given ...holdfast.Event) func(holdfasttest.TB) {
	return func(t holdfasttest.TB) {
		holdfasttest.Given(t, def, given...).When(&pb.Deposit{Amount: 5}).Then(&pb.Deposited{Amount: 5})
	}
}

type wrong struct {
	name string
	test func(holdfasttest.TB)
	want []string
}

func found(t *testing.T, cases []wrong) {
	t.Helper()
	t.Parallel()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantSaid(t, verdictOn(t, tt.test), tt.want...)
		})
	}
}

func TestRightDomainPasses(t *testing.T) {
	t.Parallel()
	if said := verdictOn(t, deposit(define(nil, nil, filled()), opened)); said != "" {
		t.Error(said)
	}
}

func one(amount int64) events { return events{&pb.Deposited{Amount: amount}} }

func TestImpureDecisionIsFound(t *testing.T) {
	calls := int64(0)
	counter := func(_ purse, c *pb.Deposit) (events, error) {
		calls++
		return one(c.Amount + calls), nil
	}
	refusals := 0
	refuser := func(purse, *pb.Deposit) (events, error) {
		refusals++
		return nil, holdfast.Reject("no", "for the %d. time", refusals)
	}
	moods := 0
	moody := func(_ purse, c *pb.Deposit) (events, error) {
		if moods++; moods > 1 {
			return nil, errors.New("not again")
		}
		return one(c.Amount), nil
	}
	byMap := func(s purse, _ *pb.Deposit) (out events, _ error) {
		for name := range s.names {
			out = append(out, &pb.AccountOpened{Owner: name})
		}
		return out, nil
	}
	clock := func(purse, *pb.Deposit) (events, error) { return one(time.Now().UnixNano()), nil }
	date := func(purse, *pb.Deposit) (events, error) { return one(int64(time.Now().Year())), nil }
	deadline := func(_ purse, c *pb.Deposit) (events, error) {
		if time.Now().Year() < 2020 {
			return nil, errors.New("too early")
		}
		return one(c.Amount), nil
	}
	var known *string
	byAddress := func(s purse, c *pb.Deposit) (events, error) {
		if known == nil {
			known = s.note
		}
		if known != s.note {
			return nil, nil
		}
		return one(c.Amount), nil
	}
	again := "purse, after 1 event: bank.v1.Deposit {\"amount\":\"5\"}: the decision is not the same when it is made again"
	found(t, []wrong{
		{"counter", deposit(define(counter, nil, filled()), opened), []string{again, `first   bank.v1.Deposited {"amount":"6"}`, `then    bank.v1.Deposited {"amount":"7"}`}},
		{"rejection that differs", deposit(define(refuser, nil, filled()), opened), []string{again, `first   rejected "no": for the 1. time`}},
		{"error the second time", deposit(define(moody, nil)), []string{"a bug of the domain: not again"}},
		{"order of a map", deposit(define(byMap, nil, filled()), opened), []string{again, "the order of a map"}},
		{"clock", deposit(define(clock, nil, filled()), opened), []string{again}},
		{"date", deposit(define(date, nil)), []string{"the decision reads the clock; take the time from the command's meta", `then    bank.v1.Deposited {"amount":"2000"}`}},
		{"error on another day", deposit(define(deadline, nil)), []string{"too early"}},
		{"address in memory", deposit(define(byAddress, nil, filled()), opened), []string{"the decision is another one on the same state folded anew", "then    nothing"}},
	})
}

func TestChangedStateIsFoundInDecision(t *testing.T) {
	const want = "the decision changes the state that it was given"
	found(t, []wrong{
		{"map", deposit(define(func(s purse, c *pb.Deposit) (events, error) {
			s.names["Ada"] += c.Amount
			return one(c.Amount), nil
		}, nil, filled()), opened), []string{want, `names["Ada"]: 1, then 6`}},
		{"slice", deposit(define(func(s purse, c *pb.Deposit) (events, error) {
			slices.Reverse(s.coins)
			return one(c.Amount), nil
		}, nil, filled()), opened), []string{want, "coins[0]: 1, then 3"}},
		{"pointer", deposit(define(func(s purse, c *pb.Deposit) (events, error) {
			*s.note = "Babbage"
			return one(c.Amount), nil
		}, nil, filled()), opened), []string{want, `note: "Ada", then "Babbage"`}},
		{"command", deposit(define(func(_ purse, c *pb.Deposit) (events, error) {
			c.Amount *= 2
			return one(c.Amount), nil
		}, nil)), []string{"the decision changes the command", `before  bank.v1.Deposit {"amount":"5"}`, `after   bank.v1.Deposit {"amount":"10"}`}},
	})
}

func TestSharedEventIsFound(t *testing.T) {
	shared := &pb.Deposited{Amount: 5}
	found(t, []wrong{
		{"twice in one decision", deposit(define(func(_ purse, c *pb.Deposit) (events, error) {
			e := &pb.Deposited{Amount: c.Amount}
			return events{e, e}, nil
		}, nil)), []string{"gives one and the same bank.v1.Deposited twice in memory"}},
		{"in two decisions", deposit(define(func(purse, *pb.Deposit) (events, error) {
			return events{shared}, nil
		}, nil)), []string{"two decisions gave one and the same bank.v1.Deposited in memory"}},
	})
}

func TestBugInDecisionIsFound(t *testing.T) {
	decides := func(e holdfast.Event, err error) func(holdfasttest.TB) {
		return deposit(define(func(purse, *pb.Deposit) (events, error) {
			if e != nil {
				return events{proto.Clone(e)}, err
			}
			return events{nil}, err
		}, nil, filled()))
	}
	found(t, []wrong{
		{"invalid reason", decides(nil, holdfast.Reject("Not Open", "no")), []string{`the reason "Not Open" is not valid`}},
		{"no rejection", decides(nil, errors.New("boom")), []string{"an error that is no rejection, which is a bug of the domain: boom"}},
		{"event without Evolve", decides(&pb.Withdrawn{}, nil), []string{"bank.v1.Withdrawn, which has no Evolve"}},
		{"nil event", decides(nil, nil), []string{"nil event"}},
		{"event that cannot be recorded", decides(&pb.AccountOpened{Owner: "\xff"}, nil), []string{"it decides bank.v1.AccountOpened", "the event cannot be recorded", "UTF-8"}},
	})
}

func TestWrongCommandIsFound(t *testing.T) {
	when := func(c holdfast.Command) func(holdfasttest.TB) {
		def := holdfast.Define("account",
			holdfast.Decide(func(purse, *pb.OpenAccount) (events, error) { return nil, nil }),
			holdfast.Decide(func(purse, *coop.PaymentReceived) (events, error) { return nil, nil }),
		)
		return func(t holdfasttest.TB) { holdfasttest.Given(t, def).When(c).ThenNothing() }
	}
	var none *pb.OpenAccount
	found(t, []wrong{
		{"unknown", when(&pb.Deposit{}), []string{"account: the type account has no Decide for the command bank.v1.Deposit; it has [OpenAccount PaymentReceived]"}},
		{"of that name in another package", when(&coopv2.PaymentReceived{}), []string{"no Decide for the command coop.v2.PaymentReceived"}},
		{"nil", when(nil), []string{"the command is nil"}},
		{"nil of a type", when(none), []string{"the command is nil"}},
		{"not UTF-8", when(&pb.OpenAccount{Owner: "\xff"}), []string{"the command cannot be sent", "UTF-8"}},
	})
}

func TestChangedStateIsFoundInEvolution(t *testing.T) {
	const want = "evolving bank.v1.Deposited changes the state that it was given; copy"
	evolve := func(f func(purse, *pb.Deposited) purse) func(holdfasttest.TB) {
		return deposit(define(nil, f, filled()), opened)
	}
	found(t, []wrong{
		{"map", evolve(func(s purse, e *pb.Deposited) purse {
			s.names["d"] = e.Amount
			return s
		}), []string{`purse, after 1 event: bank.v1.Deposit {"amount":"5"}: it decides bank.v1.Deposited {"amount":"5"}, and: ` + want, `names["d"]: nothing, then 5`}},
		{"slice", evolve(func(s purse, e *pb.Deposited) purse {
			s.coins[0] = e.Amount
			return s
		}), []string{want, "coins[0]: 1, then 5"}},
		{"slice made shorter in place", evolve(func(s purse, _ *pb.Deposited) purse {
			s.coins = slices.Delete(s.coins, 0, 1)
			return s
		}), []string{want, "coins[2]: 3, then 0"}},
		{"pointer", evolve(func(s purse, _ *pb.Deposited) purse {
			*s.note += "!"
			return s
		}), []string{want, `note: "Ada", then "Ada!"`}},
		{"event", evolve(func(s purse, e *pb.Deposited) purse {
			e.Amount++
			return s
		}), []string{"evolving bank.v1.Deposited changes the event", `after   bank.v1.Deposited {"amount":"6"}`}},
	})
}

func TestAppendToSharedArrayIsFound(t *testing.T) {
	t.Parallel()
	def := define(nil, func(s purse, e *pb.Deposited) purse {
		s.coins = append(s.coins, e.Amount)
		return s
	}, holdfast.Evolve(func(s purse, _ *pb.AccountOpened) purse {
		s.coins = make([]int64, 0, 8)
		return s
	}))
	wantSaid(t, verdictOn(t, deposit(def, opened)),
		"evolving bank.v1.Deposited appends to the array of the state that it was given, so that two states share coins; append to slices.Clip")
}

func TestImpureEvolutionIsFound(t *testing.T) {
	calls := int64(0)
	decided := false
	noticing := func(_ purse, c *pb.Deposit) (events, error) {
		decided = true
		return one(c.Amount), nil
	}
	found(t, []wrong{
		{"counter", deposit(define(nil, func(s purse, _ *pb.Deposited) purse {
			calls++
			s.worth = calls
			return s
		})), []string{"evolving bank.v1.Deposited from one state twice gives two states", "worth: 1, then 2"}},
		{"date", deposit(define(nil, func(s purse, _ *pb.Deposited) purse {
			s.worth = int64(time.Now().Year())
			return s
		}), &pb.Deposited{}), []string{"purse, after 1 event: an evolution reads the clock", "then 2000"}},
		{"date, of what was decided", deposit(define(nil, func(s purse, _ *pb.Deposited) purse {
			s.worth = int64(time.Now().Year())
			return s
		})), []string{"purse, when nothing has happened: bank.v1.Deposit", "an evolution reads the clock"}},
		{"variable", deposit(define(noticing, nil, holdfast.Evolve(func(s purse, _ *pb.AccountOpened) purse {
			s.filled = decided
			return s
		})), opened), []string{"folding the same events anew gives another state", "filled: false, then true"}},
		{"what the wire does not tell", func(t holdfasttest.TB) {
			def := define(func(purse, *pb.Deposit) (events, error) {
				return events{&wrapperspb.BytesValue{Value: []byte{}}}, nil
			}, nil, holdfast.Evolve(func(s purse, e *wrapperspb.BytesValue) purse {
				s.filled = e.Value != nil
				return s
			}))
			holdfasttest.Given(t, def).When(&pb.Deposit{}).ThenNothing()
		}, []string{"gives two states", "filled: true, then false"}},
	})
}

func TestEventThatCannotBeEvolvedIsFound(t *testing.T) {
	given := func(def holdfast.Definition, e ...holdfast.Event) func(holdfasttest.TB) {
		return func(t holdfasttest.TB) { holdfasttest.Given(t, def, e...) }
	}
	deadEnd := holdfast.Upcast[purse](func(old *pb.Withdrawn) events {
		if old.Amount > 0 { // which an empty message does not show
			return events{&pb.AccountClosed{}}
		}
		return nil
	})
	var none *pb.Deposited
	found(t, []wrong{
		{"unknown", given(define(nil, nil), opened), []string{"purse, event 1 of what was given: the event bank.v1.AccountOpened cannot be evolved", "neither Evolve nor Upcast"}},
		{"dead end", given(define(nil, nil, deadEnd), &pb.Deposited{}, &pb.Withdrawn{Amount: 1}), []string{"event 2 of what was given: the event bank.v1.Withdrawn cannot be evolved", "bank.v1.AccountClosed"}},
		{"nil", given(define(nil, nil), nil), []string{"an event is nil"}},
		{"nil of a type", given(define(nil, nil), none), []string{"an event is nil"}},
		{"not UTF-8", given(define(nil, nil, filled()), &pb.AccountOpened{Owner: "\xff"}), []string{"the event cannot be recorded"}},
	})
}

func saved(s purse) *coop.Family {
	f := &coop.Family{Outstanding: s.worth}
	for i, c := range s.coins {
		f.Children = append(f.Children, &coop.Child{ChildName: fmt.Sprint(i), Age: int32(c)})
	}
	return f
}

func loaded(f *coop.Family) purse {
	s := purse{worth: f.Outstanding}
	for _, c := range f.Children {
		s.coins = append(s.coins, int64(c.Age))
	}
	return s
}

func TestWrongSnapshotIsFound(t *testing.T) {
	saves := int64(0)
	found(t, []wrong{
		{"forgets", deposit(define(nil, nil, holdfast.Snapshot(saved, func(f *coop.Family) purse {
			s := loaded(f)
			s.worth = 0
			return s
		}))), []string{"load(save(state)) is not the state", "worth: 5, loaded as 0"}},
		{"is wrong of nothing", deposit(define(nil, nil, holdfast.Snapshot(saved, func(f *coop.Family) purse {
			s := loaded(f)
			s.filled = true
			return s
		}))), []string{"purse, when nothing has happened: load(save(state)) is not the state", "filled: false, loaded as true"}},
		{"is another each time", deposit(define(nil, nil, holdfast.Snapshot(func(s purse) *coop.Family {
			saves++
			return &coop.Family{Outstanding: saves}
		}, loaded))), []string{"saving one state twice gives two snapshots", `outstanding: "1", then "2"`}},
		{"changes the state", deposit(define(nil, nil, holdfast.Snapshot(func(s purse) *coop.Family {
			f := saved(s)
			if len(s.coins) > 0 {
				s.coins[0] = 0
				f.Children[0].Age = 0
			}
			return f
		}, loaded))), []string{"saving or loading a snapshot changes the state", "coins[0]: 5, then 0"}},
		{"cannot be encoded", deposit(define(nil, nil, holdfast.Snapshot(func(purse) *coop.Family {
			return &coop.Family{Status: "\xff"}
		}, loaded))), []string{"the snapshot cannot be encoded"}},
		{"makes another decision", deposit(define(func(s purse, c *pb.Deposit) (events, error) {
			if s.coins == nil { // which a snapshot does not tell from an empty one
				return nil, holdfast.Reject("empty", "no coins")
			}
			return one(c.Amount), nil
		}, nil, holdfast.Snapshot(saved, loaded), holdfast.Evolve(func(s purse, _ *pb.AccountOpened) purse {
			s.coins = []int64{}
			return s
		})), opened), []string{"another one on the same state loaded from its snapshot", `then    rejected "empty": no coins`}},
	})
}
