package shop

import (
	_ "embed"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
)

//go:embed order.golden
var recordedOfOrders string

// Order is the aggregate type "order". Amounts are whole minor units (cents).
var Order = holdfast.Define("order",
	holdfast.Decide(order.placeOrder),
	holdfast.Decide(order.confirmOrder),
	holdfast.Decide(order.cancelOrder),

	holdfast.Evolve(order.placed),
	holdfast.Evolve(order.confirmed),
	holdfast.Evolve(order.cancelled),

	holdfast.Snapshot(order.save, loadOrder),
	holdfast.Recorded[order](recordedOfOrders),
)

// order is the state. Its status is empty until the order is placed.
type order struct {
	status   status
	customer string
	sku      string
	quantity int64
	amount   int64
	address  string
}

type status string

const (
	placed    status = "placed"
	confirmed status = "confirmed"
	cancelled status = "cancelled"
)

// placeOrder of an order that is there is refused, even if it is the same: whoever placed
// it may cancel it, and nobody else.
func (o order) placeOrder(c *pb.PlaceOrder) (holdfast.Events, error) {
	switch {
	case o.status != "":
		return nil, holdfast.Reject("already_placed", "the order was placed before, and is %s", o.status)
	case c.Customer == "" || c.Sku == "" || c.Card == "" || c.Address == "":
		return nil, holdfast.Reject("incomplete", "an order needs a customer, a sku, a card and an address")
	case c.Quantity <= 0:
		return nil, holdfast.Reject("invalid_quantity", "the quantity is %d; it must be positive", c.Quantity)
	case c.Amount <= 0:
		return nil, holdfast.Reject("invalid_amount", "the amount is %d; it must be positive", c.Amount)
	}
	return holdfast.Events{&pb.OrderPlaced{
		Customer: c.Customer, Sku: c.Sku, Quantity: c.Quantity, Amount: c.Amount, Card: c.Card, Address: c.Address, Checkout: c.Checkout,
	}}, nil
}

func (o order) confirmOrder(*pb.ConfirmOrder) (holdfast.Events, error) {
	switch o.status {
	case placed:
		return holdfast.Events{&pb.OrderConfirmed{}}, nil
	case confirmed:
		return nil, nil
	case cancelled:
		return nil, holdfast.Reject("cancelled", "the order was cancelled, and stays so; place another one")
	}
	return nil, notPlaced()
}

func (o order) cancelOrder(c *pb.CancelOrder) (holdfast.Events, error) {
	switch o.status {
	case placed:
		return holdfast.Events{&pb.OrderCancelled{Reason: c.Reason}}, nil
	case confirmed:
		return nil, holdfast.Reject("confirmed", "the order was confirmed: it is on its way")
	case cancelled:
		return nil, nil
	}
	return nil, notPlaced()
}

func notPlaced() error {
	return holdfast.Reject("not_placed", "the order has not been placed")
}

func (o order) placed(e *pb.OrderPlaced) order {
	return order{status: placed, customer: e.Customer, sku: e.Sku, quantity: e.Quantity, amount: e.Amount, address: e.Address}
}

func (o order) confirmed(*pb.OrderConfirmed) order {
	o.status = confirmed
	return o
}

func (o order) cancelled(*pb.OrderCancelled) order {
	o.status = cancelled
	return o
}

func (o order) save() *pb.Order {
	return &pb.Order{Status: string(o.status), Customer: o.customer, Sku: o.sku, Quantity: o.quantity, Amount: o.amount, Address: o.address}
}

func loadOrder(p *pb.Order) order {
	return order{status: status(p.Status), customer: p.Customer, sku: p.Sku, quantity: p.Quantity, amount: p.Amount, address: p.Address}
}
