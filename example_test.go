package holdfast_test

import (
	"fmt"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// Account is the state that an account's decisions depend on, and nothing more.
type Account struct{ balance int64 }

// Type is the aggregate: one small function a message, bound by method expressions.
var Type = holdfast.Define("account",
	holdfast.Decide(Account.Deposit),
	holdfast.Decide(Account.Withdraw),
	holdfast.Evolve(Account.Deposited),
	holdfast.Evolve(Account.Withdrawn),
)

func (a Account) Deposit(c *pb.Deposit) (holdfast.Events, error) {
	if c.Amount <= 0 {
		return nil, holdfast.Reject("invalid_amount", "the amount is %d; it must be positive", c.Amount)
	}
	return holdfast.Events{&pb.Deposited{Amount: c.Amount}}, nil
}

func (a Account) Withdraw(c *pb.Withdraw) (holdfast.Events, error) {
	switch {
	case c.Amount <= 0:
		return nil, holdfast.Reject("invalid_amount", "the amount is %d; it must be positive", c.Amount)
	case c.Amount > a.balance:
		return nil, holdfast.Reject("insufficient_funds", "the balance is %d", a.balance)
	}
	return holdfast.Events{&pb.Withdrawn{Amount: c.Amount}}, nil
}

func (a Account) Deposited(e *pb.Deposited) Account { return Account{a.balance + e.Amount} }

func (a Account) Withdrawn(e *pb.Withdrawn) Account { return Account{a.balance - e.Amount} }

// An aggregate of two commands and two events. A node sends commands to it and records
// what it decides; here the two steps are made by hand.
func ExampleDefine() {
	state := Type.Zero()
	for _, command := range []holdfast.Command{&pb.Deposit{Amount: 100}, &pb.Withdraw{Amount: 30}, &pb.Withdraw{Amount: 80}} {
		events, err := Type.Decide(state, command, holdfast.Meta{})
		if err != nil {
			fmt.Println(err)
			continue
		}
		for _, e := range events {
			state, _ = Type.Apply(state, e)
			fmt.Println(e.ProtoReflect().Descriptor().Name(), "→", state)
		}
	}
	// Output:
	// Deposited → {100}
	// Withdrawn → {70}
	// insufficient_funds: the balance is 70
}
