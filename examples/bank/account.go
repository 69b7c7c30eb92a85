// Package bank is the example to copy from: one aggregate, one file. account.go reads from
// top to bottom as every aggregate does: the definition, the state, what each command
// decides, what each event makes of the state, and the form in which it is shown.
// transfer.go is the smallest saga; a larger one is in examples/shop.
package bank

import (
	_ "embed"
	"math"
	"strings"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

//go:embed account.golden
var recorded string

// Account is the aggregate type "account". Amounts are whole minor units (cents).
var Account = holdfast.Define("account",
	holdfast.Decide(account.openAccount),
	holdfast.Decide(account.deposit),
	holdfast.Decide(account.withdraw),
	holdfast.Decide(account.closeAccount),

	holdfast.Evolve(account.opened),
	holdfast.Evolve(account.deposited),
	holdfast.Evolve(account.withdrawn),
	holdfast.Evolve(account.closed),

	holdfast.Snapshot(account.save, load),
	holdfast.Recorded[account](recorded),
)

// account is the state that decisions depend on, and nothing more. An account that has
// an owner and is not open was closed.
type account struct {
	owner   string
	balance int64
	open    bool
}

func (a account) openAccount(c *pb.OpenAccount) (holdfast.Events, error) {
	switch {
	case a.open:
		return nil, holdfast.Reject("already_open", "the account is open already; its owner is %s", a.owner)
	case a.owner != "":
		return nil, holdfast.Reject("closed", "the account was closed, and stays so; open another one")
	case strings.TrimSpace(c.Owner) == "":
		return nil, holdfast.Reject("invalid_owner", "an account needs an owner")
	}
	return holdfast.Events{&pb.AccountOpened{Owner: c.Owner}}, nil
}

func (a account) deposit(c *pb.Deposit) (holdfast.Events, error) {
	if err := a.check(c.Amount); err != nil {
		return nil, err
	}
	if c.Amount > math.MaxInt64-a.balance {
		return nil, holdfast.Reject("invalid_amount", "the balance of %d cannot grow by %d", a.balance, c.Amount)
	}
	return holdfast.Events{&pb.Deposited{Amount: c.Amount}}, nil
}

func (a account) withdraw(c *pb.Withdraw) (holdfast.Events, error) {
	if err := a.check(c.Amount); err != nil {
		return nil, err
	}
	if c.Amount > a.balance {
		return nil, holdfast.Reject("insufficient_funds", "the balance is %d, which is less than %d", a.balance, c.Amount)
	}
	return holdfast.Events{&pb.Withdrawn{Amount: c.Amount}}, nil
}

// closeAccount of a closed account finds nothing to do: that is no mistake.
func (a account) closeAccount(*pb.CloseAccount) (holdfast.Events, error) {
	switch {
	case a.owner == "":
		return nil, notOpen()
	case !a.open:
		return nil, nil
	}
	return holdfast.Events{&pb.AccountClosed{}}, nil
}

// check says whether that amount can be moved at all.
func (a account) check(amount int64) error {
	switch {
	case a.owner == "":
		return notOpen()
	case !a.open:
		return holdfast.Reject("closed", "the account was closed")
	case amount <= 0:
		return holdfast.Reject("invalid_amount", "the amount is %d; it must be positive", amount)
	}
	return nil
}

func notOpen() error {
	return holdfast.Reject("not_open", "the account has not been opened")
}

func (a account) opened(e *pb.AccountOpened) account {
	a.owner, a.open = e.Owner, true
	return a
}

func (a account) deposited(e *pb.Deposited) account {
	a.balance += e.Amount
	return a
}

func (a account) withdrawn(e *pb.Withdrawn) account {
	a.balance -= e.Amount
	return a
}

func (a account) closed(*pb.AccountClosed) account {
	a.open = false
	return a
}

func (a account) save() *pb.Account {
	return &pb.Account{Owner: a.owner, Balance: a.balance, Open: a.open}
}

func load(p *pb.Account) account {
	return account{owner: p.Owner, balance: p.Balance, open: p.Open}
}
