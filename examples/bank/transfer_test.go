package bank_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// openBank has two accounts: Ada's with 100, and Grace's with 20.
func openBank(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "transfer/t-1", bank.Transfer.Type(), bank.Account)
	w.must("account/ada", &pb.OpenAccount{Owner: "Ada"})
	w.must("account/ada", &pb.Deposit{Amount: 100})
	w.must("account/grace", &pb.OpenAccount{Owner: "Grace"})
	w.must("account/grace", &pb.Deposit{Amount: 20})
	return w
}

func (w *world) settle() {
	w.t.Helper()
	for w.step() {
	}
}

func (w *world) check(status sagas.Status, reason string, ada, grace int64) {
	w.t.Helper()
	if s := w.sagaState(); s.Status != string(status) || !strings.HasPrefix(s.Reason, reason) {
		w.t.Errorf("the transfer is %s, because %q, want %s because %q", s.Status, s.Reason, status, reason)
	}
	for ref, want := range map[string]int64{"account/ada": ada, "account/grace": grace} {
		if got := w.shows(ref).(*pb.Account); got.Balance != want {
			w.t.Errorf("%s has %d, want %d", ref, got.Balance, want)
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		before     map[string]holdfast.Command
		when       *pb.Transfer
		status     sagas.Status
		reason     string
		ada, grace int64
	}{
		{"completed", nil, &pb.Transfer{From: "ada", To: "grace", Amount: 30}, sagas.Completed, "", 70, 50},
		{"all", nil, &pb.Transfer{From: "ada", To: "grace", Amount: 100}, sagas.Completed, "", 0, 120},
		{"too much", nil, &pb.Transfer{From: "ada", To: "grace", Amount: 101}, sagas.Compensated, "insufficient_funds: ", 100, 20},
		{"from nobody", nil, &pb.Transfer{From: "alan", To: "grace", Amount: 30}, sagas.Compensated, "not_open: ", 100, 20},
		{"to nobody", nil, &pb.Transfer{From: "ada", To: "alan", Amount: 30}, sagas.Compensated, "not_open: ", 100, 20},
		{
			"from a closed account",
			map[string]holdfast.Command{"account/ada": &pb.CloseAccount{}},
			&pb.Transfer{From: "ada", To: "grace", Amount: 30}, sagas.Compensated, "closed: ", 100, 20,
		},
		{
			"to a closed account",
			map[string]holdfast.Command{"account/grace": &pb.CloseAccount{}},
			&pb.Transfer{From: "ada", To: "grace", Amount: 30}, sagas.Compensated, "closed: ", 100, 20,
		},
		{
			"more than fits",
			map[string]holdfast.Command{"account/grace": &pb.Deposit{Amount: math.MaxInt64 - 49}},
			&pb.Transfer{From: "ada", To: "grace", Amount: 30}, sagas.Compensated, "invalid_amount: ", 100, math.MaxInt64 - 29,
		},
	} {
		for _, deaf := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deaf=%t", tt.name, deaf), func(t *testing.T) {
				t.Parallel()
				w := openBank(t)
				w.deaf = deaf
				for ref, c := range tt.before {
					w.must(ref, c)
				}
				w.must(w.saga, tt.when)
				w.settle()
				w.check(tt.status, tt.reason, tt.ada, tt.grace)
			})
		}
	}
}

func TestTransferRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		when *pb.Transfer
		want string
	}{
		{&pb.Transfer{To: "grace", Amount: 30}, "invalid_account: "},
		{&pb.Transfer{From: "ada", Amount: 30}, "invalid_account: "},
		{&pb.Transfer{From: "ada", To: "ada", Amount: 30}, "same_account: "},
		{&pb.Transfer{From: "ada", To: "grace"}, "invalid_amount: "},
		{&pb.Transfer{From: "ada", To: "grace", Amount: math.MinInt64}, "invalid_amount: "},
	} {
		w := openBank(t)
		if _, err := w.send(w.saga, tt.when); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%v begins, or says %v, want %s", tt.when, err, tt.want)
		}
		w.check("", "", 100, 20)
	}
}

// Both accounts are closed while the money is on its way: it can go neither on nor back until
// a person has paid it out.
func TestTransferStuck(t *testing.T) {
	t.Parallel()
	w := openBank(t)
	w.must(w.saga, &pb.Transfer{From: "ada", To: "grace", Amount: 30})
	w.step()
	w.must("account/ada", &pb.CloseAccount{})
	w.must("account/grace", &pb.CloseAccount{})
	w.settle()
	w.check(sagas.Stuck, "withdraw: closed: ", 70, 20)

	w.must(w.saga, &messages.SagaResume{Reason: "to see whether it is open again"})
	w.settle()
	w.check(sagas.Stuck, "withdraw: closed: ", 70, 20)

	w.must(w.saga, &messages.SagaSkip{Step: "withdraw", Reason: "paid out to Ada over the counter"})
	w.settle()
	w.check(sagas.Compensated, "closed: ", 70, 20)
}
