package holdfasttest_test

import (
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/sagas"
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

// A story of a transfer, in which the last line expects too much.
func ExampleGivenSaga() {
	var t printer // in a test: its *testing.T
	defer func() { _ = recover() }()

	to := holdfasttest.To
	paid := holdfasttest.GivenSaga(t, bank.Transfer, "t-1", bank.Account).
		When(&pb.Transfer{From: "ada", To: "grace", Amount: 30}).ThenSends(to("account/ada", &pb.Withdraw{Amount: 30})).
		WhenAccepted("withdraw").ThenSends(to("account/grace", &pb.Deposit{Amount: 30}))

	paid.WhenAccepted("deposit").ThenStatus(sagas.Completed)
	paid.WhenFails("deposit", holdfast.CodeUnavailable).ThenWakesAfter(200 * time.Millisecond).
		After(200 * time.Millisecond).ThenSends(to("account/grace", &pb.Deposit{Amount: 30}))

	paid.WhenRejected("deposit", "closed", "the account was closed").
		ThenSends(to("account/ada", &pb.Deposit{Amount: 30}), to("account/grace", &pb.Deposit{Amount: 30}))

	// Output:
	// transfer/t-1, WhenRejected("deposit", "closed"):
	//   want  account/ada bank.v1.Deposit {"amount":"30"}
	//         account/grace bank.v1.Deposit {"amount":"30"}
	//   got   account/ada bank.v1.Deposit {"amount":"30"}
	//   it is compensating, because: closed: the account was closed
	//      on its way is withdraw: account/ada bank.v1.Deposit {"amount":"30"}
}

// A world in which two transfers find enough for one. Nothing is printed: whatever goes
// wrong, no money is made, and none is lost.
func ExampleSimulate() {
	var t printer // in a test: its *testing.T

	holdfasttest.Simulate(t, 100, holdfasttest.World{
		Types: []holdfast.Definition{bank.Account},
		Sagas: []*sagas.Saga{bank.Transfer},
		Story: func(s *holdfasttest.Sim) {
			s.Given("account/ada", &pb.OpenAccount{Owner: "Ada"}, &pb.Deposit{Amount: 100})
			s.Given("account/grace", &pb.OpenAccount{Owner: "Grace"})
			s.Send("transfer/t-1", &pb.Transfer{From: "ada", To: "grace", Amount: 30 + s.Rand().Int64N(60)})
			s.Send("transfer/t-2", &pb.Transfer{From: "ada", To: "grace", Amount: 80})
		},
		Check: func(s *holdfasttest.Sim) error {
			ada, grace := s.State("account/ada").(*pb.Account), s.State("account/grace").(*pb.Account)
			if ada.Balance+grace.Balance != 100 {
				return fmt.Errorf("ada has %d and grace %d, and they had 100", ada.Balance, grace.Balance)
			}
			return nil
		},
	})

	// Output:
}
