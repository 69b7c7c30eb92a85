package shop_test

import (
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

type events = holdfast.Events

// a rule says what becomes of a command: events, a rejection, or nothing.
type rule struct {
	name     string
	given    events
	when     holdfast.Command
	then     events
	rejected string
}

func check(t *testing.T, def holdfast.Definition, rules []rule) {
	t.Helper()
	t.Parallel()
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := holdfasttest.Given(t, def, tt.given...).When(tt.when)
			if tt.rejected != "" {
				o.ThenRejected(tt.rejected)
			} else {
				o.Then(tt.then...)
			}
		})
	}
}

func place(change func(*pb.PlaceOrder)) *pb.PlaceOrder {
	c := &pb.PlaceOrder{Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: "St James's Square"}
	change(c)
	return c
}

var (
	placed    = &pb.OrderPlaced{Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: "St James's Square"}
	confirmed = &pb.OrderConfirmed{}
	cancelled = &pb.OrderCancelled{Reason: "not wanted"}

	// placedBy is the same order, of a checkout.
	placedBy = &pb.OrderPlaced{Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: "St James's Square", Checkout: true}
)

func TestOrder(t *testing.T) {
	as := place(func(*pb.PlaceOrder) {})
	confirm, cancel := &pb.ConfirmOrder{}, &pb.CancelOrder{Reason: "not wanted"}
	check(t, shop.Order, []rule{
		{"place", nil, as, events{placed}, ""},
		{"place by a checkout", nil, place(func(c *pb.PlaceOrder) { c.Checkout = true }), events{placedBy}, ""},
		{"place for nobody", nil, place(func(c *pb.PlaceOrder) { c.Customer = "" }), nil, "incomplete"},
		{"place nothing", nil, place(func(c *pb.PlaceOrder) { c.Sku = "" }), nil, "incomplete"},
		{"place without a card", nil, place(func(c *pb.PlaceOrder) { c.Card = "" }), nil, "incomplete"},
		{"place without an address", nil, place(func(c *pb.PlaceOrder) { c.Address = "" }), nil, "incomplete"},
		{"place none", nil, place(func(c *pb.PlaceOrder) { c.Quantity = 0 }), nil, "invalid_quantity"},
		{"place for less than nothing", nil, place(func(c *pb.PlaceOrder) { c.Amount = -1 }), nil, "invalid_amount"},
		{"place for nothing", nil, place(func(c *pb.PlaceOrder) { c.Amount = 0 }), nil, "invalid_amount"},
		{"place twice", events{placed}, as, nil, "already_placed"},
		{"place again once cancelled", events{placed, cancelled}, as, nil, "already_placed"},

		{"confirm", events{placed}, confirm, events{confirmed}, ""},
		{"confirm twice", events{placed, confirmed}, confirm, nil, ""},
		{"confirm before placing", nil, confirm, nil, "not_placed"},
		{"confirm once cancelled", events{placed, cancelled}, confirm, nil, "cancelled"},

		{"cancel", events{placed}, cancel, events{cancelled}, ""},
		{"cancel twice", events{placed, cancelled}, &pb.CancelOrder{Reason: "once more"}, nil, ""},
		{"cancel before placing", nil, cancel, nil, "not_placed"},
		{"cancel once confirmed", events{placed, confirmed}, cancel, nil, "confirmed"},
	})
}

func TestOrderShown(t *testing.T) {
	t.Parallel()
	shown := func(status string) *pb.Order {
		return &pb.Order{Status: status, Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Address: "St James's Square"}
	}
	order := holdfasttest.Given(t, shop.Order).
		ThenState(&pb.Order{}).
		When(place(func(*pb.PlaceOrder) {})).ThenState(shown("placed"))
	order.When(&pb.ConfirmOrder{}).ThenState(shown("confirmed"))
	order.When(&pb.CancelOrder{}).ThenState(shown("cancelled"))
}

func TestOrderGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, shop.Order, "order.golden", placed, placedBy, confirmed, cancelled)
}
