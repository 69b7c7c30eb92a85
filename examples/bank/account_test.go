package bank_test

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	ada := &pb.AccountOpened{Owner: "Ada"}
	hundred := &pb.Deposited{Amount: 100}
	closed := &pb.AccountClosed{}
	type events = holdfast.Events

	for _, tt := range []struct {
		name     string
		given    events
		when     holdfast.Command
		then     events // nothing, unless rejected
		rejected string
	}{
		{"open", nil, &pb.OpenAccount{Owner: "Ada"}, events{ada}, ""},
		{"open without an owner", nil, &pb.OpenAccount{Owner: " "}, nil, "invalid_owner"},
		{"open twice", events{ada}, &pb.OpenAccount{Owner: "Ada"}, nil, "already_open"},
		{"open again once closed", events{ada, closed}, &pb.OpenAccount{Owner: "Ada"}, nil, "closed"},

		{"deposit", events{ada}, &pb.Deposit{Amount: 100}, events{hundred}, ""},
		{"deposit before opening", nil, &pb.Deposit{Amount: 100}, nil, "not_open"},
		{"deposit once closed", events{ada, closed}, &pb.Deposit{Amount: 100}, nil, "closed"},
		{"deposit nothing", events{ada}, &pb.Deposit{}, nil, "invalid_amount"},
		{"deposit less than nothing", events{ada}, &pb.Deposit{Amount: -1}, nil, "invalid_amount"},
		{"deposit up to the last int64", events{ada, hundred}, &pb.Deposit{Amount: math.MaxInt64 - 100}, events{&pb.Deposited{Amount: math.MaxInt64 - 100}}, ""},
		{"deposit one beyond it", events{ada, hundred}, &pb.Deposit{Amount: math.MaxInt64 - 99}, nil, "invalid_amount"},

		{"withdraw all", events{ada, hundred}, &pb.Withdraw{Amount: 100}, events{&pb.Withdrawn{Amount: 100}}, ""},
		{"withdraw too much", events{ada, hundred}, &pb.Withdraw{Amount: 101}, nil, "insufficient_funds"},
		{"withdraw before opening", nil, &pb.Withdraw{Amount: 1}, nil, "not_open"},
		{"withdraw once closed", events{ada, hundred, closed}, &pb.Withdraw{Amount: 1}, nil, "closed"},
		{"withdraw nothing", events{ada, hundred}, &pb.Withdraw{}, nil, "invalid_amount"},
		{"withdraw less than nothing", events{ada, hundred}, &pb.Withdraw{Amount: math.MinInt64}, nil, "invalid_amount"},

		{"close", events{ada, hundred}, &pb.CloseAccount{}, events{closed}, ""},
		{"close before opening", nil, &pb.CloseAccount{}, nil, "not_open"},
		{"close twice", events{ada, closed}, &pb.CloseAccount{}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := holdfasttest.Given(t, bank.Account, tt.given...).When(tt.when)
			if tt.rejected != "" {
				o.ThenRejected(tt.rejected)
			} else {
				o.Then(tt.then...)
			}
		})
	}
}

func TestAccountShown(t *testing.T) {
	t.Parallel()
	holdfasttest.Given(t, bank.Account).
		ThenState(&pb.Account{}).
		When(&pb.OpenAccount{Owner: "Ada"}).ThenState(&pb.Account{Owner: "Ada", Open: true}).
		When(&pb.Deposit{Amount: 150}).ThenState(&pb.Account{Owner: "Ada", Balance: 150, Open: true}).
		When(&pb.Withdraw{Amount: 50}).ThenState(&pb.Account{Owner: "Ada", Balance: 100, Open: true}).
		When(&pb.CloseAccount{}).ThenState(&pb.Account{Owner: "Ada", Balance: 100})
}

func TestAccountGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, bank.Account, "account.golden",
		&pb.AccountOpened{Owner: "Ada Lovelace"},
		&pb.Deposited{Amount: 12_50},
		&pb.Withdrawn{Amount: 7_25},
		&pb.AccountClosed{},
	)
}
