package sagas

import (
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// watch is the data of a guard: a saga of reactions, which takes away what is given to an
// account, until it has taken ten.
type watch struct {
	takes int
	taken int64
}

// broken has a guard fail on everything that it hears.
var broken bool

var guard = Define("guard",
	OnCommand(watch.begin),
	On("account", func(*bankpb.Deposited, Source) string { return "g-1" }, watch.deposited),
	OnAnswer("take", watch.answered),
	OnTime("late", watch.late),
	OnCancel(watch.cancelled),
	Evolve(watch.took),
	Upcast(func(*bankpb.AccountClosed) holdfast.Events { return holdfast.Events{&bankpb.Withdrawn{}} }),
	Retries(short),
)

func (w watch) begin(c *bankpb.OpenAccount) (Then, error) {
	if c.Owner == "" {
		return Then{}, holdfast.Reject("no_owner", "there is nobody to guard")
	}
	return Then{
		Send: []Send{{Name: "greet", To: holdfast.Ref{Type: "account", ID: c.Owner}, Command: &bankpb.Deposit{Amount: 1}}},
		Wake: []Wake{{Name: "late", After: 10 * time.Second}},
	}, nil
}

func (w watch) deposited(e *bankpb.Deposited, from Source) Then {
	if broken {
		panic("the guard is broken")
	}
	if e.Amount == 0 {
		return Then{}
	}
	t := Then{
		Record: holdfast.Events{&bankpb.Withdrawn{Amount: e.Amount}},
		Send:   []Send{{Name: fmt.Sprintf("take:%d", w.takes+1), To: from.Ref, Command: &bankpb.Withdraw{Amount: e.Amount}}},
	}
	if w.taken+e.Amount >= 10 {
		t.Wake = []Wake{{Name: "late"}}
		t.Done, t.Because = Completed, "ten were taken"
	}
	return t
}

func (w watch) took(e *bankpb.Withdrawn) watch {
	w.takes++
	w.taken += e.Amount
	return w
}

func (w watch) answered(a Answer) Then {
	if a.Reason != "" {
		return Then{Done: Compensated, Because: a.Name + " was refused: " + a.Reason + ", " + a.Message}
	}
	return Then{}
}

func (w watch) late() Then {
	return Then{
		Send: []Send{{Name: "remind", To: holdfast.Ref{Type: "account", ID: "ada"}, Command: &bankpb.Deposit{Amount: 5}}},
		Wake: []Wake{{Name: "late", After: time.Hour}},
	}
}

func (w watch) cancelled(reason string) Then { return Then{Done: Cancelled, Because: reason} }
