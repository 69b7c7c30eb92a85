package actors_test

import (
	"errors"
	"sync/atomic"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// ledger is an account that can misbehave: a deposit of 13 panics, one of 666 is a bug,
// one of 404 records an event that evolving panics on, one of 0 changes nothing, one of 7
// records two events, and one of 999 is accepted every other time.
type ledger struct {
	open    bool
	owner   string
	balance int64
}

var ledgerType = holdfast.Define("account",
	holdfast.Decide(ledger.openAccount),
	holdfast.Decide(ledger.deposit),
	holdfast.Decide(ledger.withdraw),
	holdfast.Evolve(ledger.opened),
	holdfast.Evolve(ledger.deposited),
	holdfast.Evolve(ledger.withdrawn),
	holdfast.Snapshot(ledger.save, loadLedger),
	holdfast.SnapshotEvery[ledger](20),
	holdfast.SnapshotWhen(func(l ledger) bool { return l.balance == 1000 }),
)

var fickle atomic.Int64

func (l ledger) openAccount(c *bankpb.OpenAccount) (holdfast.Events, error) {
	if l.open {
		return nil, holdfast.Reject("already_open", "the account is open")
	}
	return holdfast.Events{&bankpb.AccountOpened{Owner: c.Owner}}, nil
}

func (l ledger) deposit(c *bankpb.Deposit) (holdfast.Events, error) {
	switch c.Amount {
	case 0:
		return nil, nil
	case 7:
		return holdfast.Events{&bankpb.Deposited{Amount: 3}, &bankpb.Deposited{Amount: 4}}, nil
	case 13:
		panic("thirteen")
	case 666:
		return nil, errors.New("not a rejection")
	case 999:
		if fickle.Add(1)%2 == 0 {
			return nil, holdfast.Reject("not_today", "a decision that is not pure")
		}
	case 667:
		return nil, holdfast.Reject("Bad Reason", "a reason of the wrong form")
	}
	return holdfast.Events{&bankpb.Deposited{Amount: c.Amount}}, nil
}

func (l ledger) withdraw(c *bankpb.Withdraw) (holdfast.Events, error) {
	if c.Amount > l.balance {
		return nil, holdfast.Reject("insufficient_funds", "there are %d", l.balance)
	}
	return holdfast.Events{&bankpb.Withdrawn{Amount: c.Amount}}, nil
}

func (l ledger) opened(e *bankpb.AccountOpened) ledger {
	l.open, l.owner = true, e.Owner
	return l
}

func (l ledger) deposited(e *bankpb.Deposited) ledger {
	if e.Amount == 404 {
		panic("four hundred and four")
	}
	l.balance += e.Amount
	return l
}

func (l ledger) withdrawn(e *bankpb.Withdrawn) ledger {
	l.balance -= e.Amount
	return l
}

func (l ledger) save() *bankpb.Account {
	return &bankpb.Account{Owner: l.owner, Balance: l.balance, Open: l.open}
}

func loadLedger(a *bankpb.Account) ledger {
	return ledger{open: a.Open, owner: a.Owner, balance: a.Balance}
}
