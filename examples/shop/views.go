package shop

import (
	"time"

	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/projections"
)

// Orders is the list of orders: a row each.
var Orders = projections.Define("orders",
	projections.From(Order),
	projections.Tables(
		`CREATE TABLE orders (
			id       TEXT PRIMARY KEY,
			customer TEXT NOT NULL,
			sku      TEXT NOT NULL,
			quantity BIGINT NOT NULL,
			amount   BIGINT NOT NULL,
			status   TEXT NOT NULL,
			placed   TEXT NOT NULL,
			reason   TEXT NOT NULL
		)`,
		`CREATE INDEX orders_by_customer ON orders (customer, placed)`,
	),
	projections.On(listPlaced),
	projections.On(func(r *projections.Rows, _ *pb.OrderConfirmed, at projections.Event) error {
		return listStatus(r, at, confirmed, "")
	}),
	projections.On(func(r *projections.Rows, e *pb.OrderCancelled, at projections.Event) error {
		return listStatus(r, at, cancelled, e.Reason)
	}),
	projections.Show(showOrder),
)

// A ListedOrder is a row of [Orders].
type ListedOrder struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	Amount   int64  `json:"amount"`
	Status   string `json:"status"`
	Placed   string `json:"placed"`
	Reason   string `json:"reason,omitempty"`
}

func listPlaced(r *projections.Rows, e *pb.OrderPlaced, at projections.Event) error {
	_, err := r.Exec(`INSERT INTO orders (id, customer, sku, quantity, amount, status, placed, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, '')`,
		at.Ref.ID, e.Customer, e.Sku, e.Quantity, e.Amount, string(placed), at.Time.Format(time.RFC3339))
	return err
}

func listStatus(r *projections.Rows, at projections.Event, s status, reason string) error {
	_, err := r.Exec(`UPDATE orders SET status = $2, reason = $3 WHERE id = $1`, at.Ref.ID, string(s), reason)
	return err
}

func showOrder(r *projections.Rows, id string) (any, error) {
	o := ListedOrder{ID: id}
	found, err := r.Get(`SELECT customer, sku, quantity, amount, status, placed, reason FROM orders WHERE id = $1`, []any{id},
		&o.Customer, &o.SKU, &o.Quantity, &o.Amount, &o.Status, &o.Placed, &o.Reason)
	if err != nil || !found {
		return nil, err
	}
	return o, nil
}

// Revenue is what was paid on each day, by the clock of UTC: a document a day.
var Revenue = projections.Define("revenue",
	projections.From(Payment),
	projections.On(func(d *projections.Docs[Day], e *pb.PaymentCaptured, at projections.Event) error {
		return d.Change(at.Time.Format(time.DateOnly), func(day Day) Day {
			day.Payments++
			day.Captured += e.Amount
			return day
		})
	}),
	projections.On(func(d *projections.Docs[Day], e *pb.PaymentRefunded, at projections.Event) error {
		return d.Change(at.Time.Format(time.DateOnly), func(day Day) Day {
			day.Refunds++
			day.Refunded += e.Amount
			return day
		})
	}),
)

// A Day is what came in and went out on it, in minor units.
type Day struct {
	Payments int64 `json:"payments"`
	Captured int64 `json:"captured"`
	Refunds  int64 `json:"refunds"`
	Refunded int64 `json:"refunded"`
}
