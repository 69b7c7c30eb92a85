package bank

import (
	"time"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/sagas"
)

// Transfer is the saga "transfer": the money arrives, or goes back to where it was.
//
// If the account that pays is closed while the money is on its way, and the other one does
// not take it, it can go neither way: the transfer is stuck. What becomes of it is decided
// by a person, who pays it out elsewhere, as when an account is closed, and then skips the
// step.
var Transfer = sagas.Define("transfer",
	sagas.Begin(transfer.begun),
	sagas.Check(transfer.check),
	sagas.Step("withdraw",
		sagas.Do("account", transfer.withdraw),
		sagas.Undo("account", transfer.payBack),
		sagas.Timeout(time.Minute)),
	sagas.Pivot("deposit", sagas.Do("account", transfer.deposit)),
)

// transfer is the data that the steps work with: what was asked for.
type transfer struct {
	from   string
	to     string
	amount int64
}

func (transfer) check(c *pb.Transfer) error {
	switch {
	case c.From == "" || c.To == "":
		return holdfast.Reject("invalid_account", "a transfer needs an account to pay and one to be paid")
	case c.From == c.To:
		return holdfast.Reject("same_account", "the account %s cannot pay itself", c.From)
	case c.Amount <= 0:
		return holdfast.Reject("invalid_amount", "the amount is %d; it must be positive", c.Amount)
	}
	return nil
}

func (transfer) begun(_ string, c *pb.Transfer) transfer {
	return transfer{from: c.From, to: c.To, amount: c.Amount}
}

func (t transfer) withdraw() (string, *pb.Withdraw) {
	return t.from, &pb.Withdraw{Amount: t.amount}
}

func (t transfer) payBack() (string, *pb.Deposit) {
	return t.from, &pb.Deposit{Amount: t.amount}
}

func (t transfer) deposit() (string, *pb.Deposit) {
	return t.to, &pb.Deposit{Amount: t.amount}
}
