package bank

import (
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/projections"
)

// Balances are documents in NATS KV, one an account, which any client can watch.
var Balances = projections.Define("balances",
	projections.From(Account),
	projections.InKV(),
	projections.On(balanceOpened),
	projections.On(balanceDeposited),
	projections.On(balanceWithdrawn),
	projections.On(balanceClosed),
)

// A Balance is what an account holds, in minor units.
type Balance struct {
	Owner   string `json:"owner"`
	Balance int64  `json:"balance"`
	Open    bool   `json:"open"`
}

type balances = *projections.Docs[Balance]

func balanceOpened(d balances, e *pb.AccountOpened, at projections.Event) error {
	return d.Change(at.Ref.ID, func(Balance) Balance { return Balance{Owner: e.Owner, Open: true} })
}

func balanceDeposited(d balances, e *pb.Deposited, at projections.Event) error {
	return d.Change(at.Ref.ID, func(b Balance) Balance {
		b.Balance += e.Amount
		return b
	})
}

func balanceWithdrawn(d balances, e *pb.Withdrawn, at projections.Event) error {
	return d.Change(at.Ref.ID, func(b Balance) Balance {
		b.Balance -= e.Amount
		return b
	})
}

func balanceClosed(d balances, _ *pb.AccountClosed, at projections.Event) error {
	return d.Change(at.Ref.ID, func(b Balance) Balance {
		b.Open = false
		return b
	})
}

// Statement has a row for each movement of money, with the balance after it.
var Statement = projections.Define("statement",
	projections.From(Account),
	projections.Tables(
		`CREATE TABLE statement (
			account TEXT NOT NULL,
			version BIGINT NOT NULL,
			booked  TEXT NOT NULL,
			amount  BIGINT NOT NULL,
			balance BIGINT NOT NULL,
			PRIMARY KEY (account, version)
		)`,
	),
	projections.On(func(r *projections.Rows, e *pb.Deposited, at projections.Event) error { return book(r, at, e.Amount) }),
	projections.On(func(r *projections.Rows, e *pb.Withdrawn, at projections.Event) error { return book(r, at, -e.Amount) }),
	projections.Show(showStatement),
)

// A Line is one movement of a statement.
type Line struct {
	Version int64  `json:"version"`
	Booked  string `json:"booked"`
	Amount  int64  `json:"amount"`
	Balance int64  `json:"balance"`
}

func book(r *projections.Rows, at projections.Event, amount int64) error {
	var balance int64
	if _, err := r.Get(`SELECT balance FROM statement WHERE account = $1 ORDER BY version DESC LIMIT 1`, []any{at.Ref.ID}, &balance); err != nil {
		return err
	}
	_, err := r.Exec(`INSERT INTO statement (account, version, booked, amount, balance) VALUES ($1, $2, $3, $4, $5)`,
		at.Ref.ID, int64(at.Version), at.Time.Format("2006-01-02T15:04:05Z07:00"), amount, balance+amount)
	return err
}

// showStatement shows the last hundred movements, the newest first.
func showStatement(r *projections.Rows, account string) (any, error) {
	var lines []Line
	var l Line
	err := r.Each(`SELECT version, booked, amount, balance FROM statement WHERE account = $1 ORDER BY version DESC LIMIT 100`,
		[]any{account}, func() error {
			lines = append(lines, l)
			return nil
		}, &l.Version, &l.Booked, &l.Amount, &l.Balance)
	if err != nil || lines == nil {
		return nil, err
	}
	return lines, nil
}
