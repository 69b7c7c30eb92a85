package holdfasttest_test

import (
	"fmt"

	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

// A printer stands in for the *testing.T that an example does not have.
type printer struct{}

func (printer) Helper()                           {}
func (printer) Cleanup(func())                    {}
func (printer) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (p printer) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	panic(stopped{})
}

// A test of an account, in which the last line expects too little: what the kit prints
// then is the failure of the test.
func ExampleGiven() {
	var t printer // in a test: its *testing.T
	defer func() { _ = recover() }()

	account := holdfasttest.Given(t, bank.Account, &pb.AccountOpened{Owner: "Ada"}, &pb.Deposited{Amount: 100})

	account.When(&pb.Withdraw{Amount: 101}).ThenRejected("insufficient_funds")
	account.When(&pb.Withdraw{Amount: 30}).Then(&pb.Withdrawn{Amount: 30}).
		ThenState(&pb.Account{Owner: "Ada", Balance: 70, Open: true})
	account.When(&pb.CloseAccount{}).Then(&pb.AccountClosed{}).
		When(&pb.CloseAccount{}).ThenNothing()

	account.When(&pb.Deposit{Amount: 50}).Then(&pb.Deposited{Amount: 5})

	// Output:
	// account, after 2 events: bank.v1.Deposit {"amount":"50"}:
	//   want  bank.v1.Deposited {"amount":"5"}
	//   got   bank.v1.Deposited {"amount":"50"}
}
