package bank_test

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

var runs = flag.Int("runs", 2000, "how many runs are simulated")

// What a transfer of 30 from Ada to Grace sends.
var (
	toWithdraw = holdfasttest.To("account/ada", &pb.Withdraw{Amount: 30})
	toPayBack  = holdfasttest.To("account/ada", &pb.Deposit{Amount: 30})
	toDeposit  = holdfasttest.To("account/grace", &pb.Deposit{Amount: 30})
)

func given(t *testing.T) holdfasttest.SagaScenario {
	t.Helper()
	return holdfasttest.GivenSaga(t, bank.Transfer, "t-1", bank.Account)
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	withdrawing := given(t).When(&pb.Transfer{From: "ada", To: "grace", Amount: 30}).ThenSends(toWithdraw).ThenWakesAfter(time.Minute)
	withdrawing.WhenRejected("withdraw", "insufficient_funds", "the balance is 20").ThenSends().
		ThenStatus(sagas.Compensated).ThenReason("insufficient_funds: the balance is 20")
	withdrawing.WhenKeepsFailing("withdraw", holdfast.CodeUnavailable).ThenSends().ThenStatus(sagas.Compensated)

	depositing := withdrawing.WhenAccepted("withdraw").ThenSends(toDeposit)
	depositing.WhenAccepted("deposit").ThenSends().ThenStatus(sagas.Completed)
	depositing.When(&messages.SagaCancel{Reason: "too late"}).ThenRejected("past_pivot")
	depositing.WhenRejected("deposit", "closed", "the account was closed").ThenSends(toPayBack).
		WhenAccepted("withdraw").ThenStatus(sagas.Compensated).ThenReason("closed: the account was closed")
}

func TestTransferRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		when *pb.Transfer
		want string
	}{
		{&pb.Transfer{To: "grace", Amount: 30}, "invalid_account"},
		{&pb.Transfer{From: "ada", Amount: 30}, "invalid_account"},
		{&pb.Transfer{From: "ada", To: "ada", Amount: 30}, "same_account"},
		{&pb.Transfer{From: "ada", To: "grace"}, "invalid_amount"},
		{&pb.Transfer{From: "ada", To: "grace", Amount: math.MinInt64}, "invalid_amount"},
	} {
		given(t).When(tt.when).ThenRejected(tt.want).ThenStatus("")
	}
}

// Both accounts are closed while the money is on its way: it can go neither on nor back until
// a person has paid it out.
func TestTransferStuck(t *testing.T) {
	t.Parallel()
	given(t).When(&pb.Transfer{From: "ada", To: "grace", Amount: 30}).ThenSends(toWithdraw).
		WhenAccepted("withdraw").ThenSends(toDeposit).
		WhenRejected("deposit", "closed", "the account was closed").ThenSends(toPayBack).
		WhenKeepsRejecting("withdraw", "closed", "it was, too").ThenStatus(sagas.Stuck).ThenReason("withdraw: closed: it was, too").
		When(&messages.SagaResume{Reason: "to see whether it is open again"}).ThenSends(toPayBack).
		WhenKeepsRejecting("withdraw", "closed", "it was, too").ThenStatus(sagas.Stuck).
		When(&messages.SagaSkip{Step: "withdraw", Reason: "paid out to Ada over the counter"}).ThenSends().
		ThenStatus(sagas.Compensated).ThenReason("closed: the account was closed")
}

// accounts are Ada's with 100, and Grace's with 20.
func accounts(s *holdfasttest.Sim) {
	s.Given("account/ada", &pb.OpenAccount{Owner: "Ada"}, &pb.Deposit{Amount: 100})
	s.Given("account/grace", &pb.OpenAccount{Owner: "Grace"}, &pb.Deposit{Amount: 20})
}

// Wherever everything dies, a transfer ends as it would have without.
func TestTransferEnds(t *testing.T) {
	t.Parallel()
	fromAda := &pb.Transfer{From: "ada", To: "grace", Amount: 30}
	for _, tt := range []struct {
		name       string
		before     map[string]holdfast.Command
		when       *pb.Transfer
		status     sagas.Status
		reason     string
		ada, grace int64
	}{
		{"completed", nil, fromAda, sagas.Completed, "", 70, 50},
		{"all", nil, &pb.Transfer{From: "ada", To: "grace", Amount: 100}, sagas.Completed, "", 0, 120},
		{"too much", nil, &pb.Transfer{From: "ada", To: "grace", Amount: 101}, sagas.Compensated, "insufficient_funds: ", 100, 20},
		{"from nobody", nil, &pb.Transfer{From: "alan", To: "grace", Amount: 30}, sagas.Compensated, "not_open: ", 100, 20},
		{"to nobody", nil, &pb.Transfer{From: "ada", To: "alan", Amount: 30}, sagas.Compensated, "not_open: ", 100, 20},
		{"from a closed account", map[string]holdfast.Command{"account/ada": &pb.CloseAccount{}}, fromAda, sagas.Compensated, "closed: ", 100, 20},
		{"to a closed account", map[string]holdfast.Command{"account/grace": &pb.CloseAccount{}}, fromAda, sagas.Compensated, "closed: ", 100, 20},
		{
			"more than fits",
			map[string]holdfast.Command{"account/grace": &pb.Deposit{Amount: math.MaxInt64 - 49}},
			fromAda, sagas.Compensated, "invalid_amount: ", 100, math.MaxInt64 - 29,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			holdfasttest.Crash(t, holdfasttest.World{
				Types: []holdfast.Definition{bank.Account}, Sagas: []*sagas.Saga{bank.Transfer},
				Story: func(s *holdfasttest.Sim) {
					accounts(s)
					for ref, c := range tt.before {
						s.Given(ref, c)
					}
					s.Send("transfer/t-1", tt.when)
				},
				Check: func(s *holdfasttest.Sim) error {
					st := s.State("transfer/t-1").(*messages.SagaState)
					if st.Status != string(tt.status) || !strings.HasPrefix(st.Reason, tt.reason) {
						return fmt.Errorf("the transfer is %s, because %q, want %s because %q", st.Status, st.Reason, tt.status, tt.reason)
					}
					ada, grace := s.State("account/ada").(*pb.Account), s.State("account/grace").(*pb.Account)
					if ada.Balance != tt.ada || grace.Balance != tt.grace {
						return fmt.Errorf("the balances are %d and %d, want %d and %d", ada.Balance, grace.Balance, tt.ada, tt.grace)
					}
					return nil
				},
			})
		})
	}
}

// transfers are four among three accounts, one of which may be closed meanwhile. Whatever
// becomes of them, no money is made, and none is lost.
func transfers() holdfasttest.World {
	return holdfasttest.World{
		Types: []holdfast.Definition{bank.Account}, Sagas: []*sagas.Saga{bank.Transfer},
		Stuck: true, // what can go neither on nor back
		Story: func(s *holdfasttest.Sim) {
			accounts(s)
			s.Given("account/alan", &pb.OpenAccount{Owner: "Alan"})
			names := []string{"ada", "grace", "alan"}
			for i := range 4 {
				from := s.Rand().IntN(3)
				to := (from + 1 + s.Rand().IntN(2)) % 3
				s.Send(fmt.Sprintf("transfer/t-%d", i), &pb.Transfer{From: names[from], To: names[to], Amount: 10 * (1 + s.Rand().Int64N(10))})
			}
			if s.Rand().IntN(3) == 0 {
				s.Send("account/"+names[s.Rand().IntN(3)], &pb.CloseAccount{})
			}
		},
		Check: sumsUp,
	}
}

// sumsUp checks that all money is in the accounts, or with transfers that are stuck.
func sumsUp(s *holdfasttest.Sim) (err error) {
	var sum, stuck int64
	s.Each("account", func(_ string, m proto.Message) { sum += m.(*pb.Account).Balance })
	transfers := 0
	s.Each("transfer", func(id string, m proto.Message) {
		transfers++
		if st := m.(*messages.SagaState); st.Status == string(sagas.Stuck) {
			var c pb.Transfer
			if err = st.Input.UnmarshalTo(&c); err != nil {
				return
			}
			if from := s.State("account/" + c.From).(*pb.Account); from.Open {
				err = fmt.Errorf("the transfer %s is stuck, though %s could be paid back", id, c.From)
			}
			stuck += c.Amount
		}
	})
	if err == nil && (sum+stuck != 120 || transfers != 4) {
		err = fmt.Errorf("after %d transfers there are %d in the accounts and %d on their way, and there were 120", transfers, sum, stuck)
	}
	return err
}

func TestTransfersInAnyWorld(t *testing.T) {
	t.Parallel()
	holdfasttest.Simulate(t, *runs, transfers())
}

func TestTransfersSurvive(t *testing.T) {
	t.Parallel()
	t.Log(holdfasttest.Crash(t, transfers()), "points")
}
