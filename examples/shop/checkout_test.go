package shop_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

var types = []holdfast.Definition{shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail}

func checkout(change func(*pb.Checkout)) *pb.Checkout {
	c := &pb.Checkout{Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: "St James's Square"}
	change(c)
	return c
}

// What a checkout of two teas sends.
var (
	toPay       = holdfasttest.To("payment/o-1", &pb.Capture{Amount: 9_90, Card: "tok-1"})
	toPayBack   = holdfasttest.To("payment/o-1", &pb.Refund{})
	toReserve   = holdfasttest.To("stock/tea", &pb.Reserve{Order: "o-1", Quantity: 2})
	toRelease   = holdfasttest.To("stock/tea", &pb.Release{Order: "o-1"})
	toShip      = holdfasttest.To("shipment/o-1", &pb.Ship{Address: "St James's Square", Sku: "tea", Quantity: 2})
	toConfirm   = holdfasttest.To("order/o-1", &pb.ConfirmOrder{})
	toTakeOut   = holdfasttest.To("stock/tea", &pb.TakeOut{Order: "o-1"})
	toNotify    = holdfasttest.To("mail/o-1", &pb.Notify{To: "ada", Text: "Your order o-1 is on its way to St James's Square."})
	toNeverPay  = holdfasttest.To("payment/o-1", &messages.Void{})
	notConfirms = "the order was cancelled, and stays so; place another one"
)

func toCancel(reason string) holdfasttest.Sent {
	return holdfasttest.To("order/o-1", &pb.CancelOrder{Reason: reason})
}

// ordered is a checkout whose order was placed.
func ordered(t *testing.T) holdfasttest.SagaScenario {
	t.Helper()
	return holdfasttest.GivenSaga(t, shop.Checkout, "o-1", types...).
		When(checkout(func(*pb.Checkout) {})).ThenSends(holdfasttest.To("order/o-1", place(func(c *pb.PlaceOrder) { c.Checkout = true }))).
		WhenAccepted("order").ThenSends(toPay)
}

// underWay is a checkout from which there is no way back.
func underWay(t *testing.T) holdfasttest.SagaScenario {
	t.Helper()
	return ordered(t).
		WhenAccepted("pay").ThenSends(toReserve).
		WhenAccepted("reserve").ThenSends(toShip).
		WhenAccepted("ship").ThenSends(toConfirm, toTakeOut, toNotify)
}

func TestCheckoutCompleted(t *testing.T) {
	t.Parallel()
	underWay(t).
		WhenAccepted("notify").ThenSends().
		WhenAccepted("confirm").ThenSends().
		When(&messages.SagaCancel{Reason: "too late"}).ThenRejected("past_pivot").
		WhenAccepted("take-out").ThenStatus(sagas.Completed).
		When(checkout(func(*pb.Checkout) {})).ThenRejected("already_begun")
}

// What was done is undone, the last first.
func TestCheckoutUndone(t *testing.T) {
	t.Parallel()
	ordered := ordered(t)
	ordered.WhenRejected("pay", "card_declined", "the card was declined").ThenSends(toCancel("card_declined: the card was declined")).
		WhenAccepted("order").ThenStatus(sagas.Compensated).ThenReason("card_declined: the card was declined")
	reserving := ordered.WhenAccepted("pay").ThenSends(toReserve)
	reserving.WhenRejected("reserve", "out_of_stock", "0 are free").ThenSends(toPayBack).
		WhenAccepted("pay").ThenSends(toCancel("out_of_stock: 0 are free")).
		WhenAccepted("order").ThenStatus(sagas.Compensated)
	reserving.WhenAccepted("reserve").ThenSends(toShip).
		WhenRejected("ship", "no_such_address", "nobody finds it").ThenSends(toRelease).ThenStatus(sagas.Compensating).
		WhenAccepted("reserve").ThenSends(toPayBack).
		WhenAccepted("pay").ThenSends(toCancel("no_such_address: nobody finds it")).
		WhenAccepted("order").ThenStatus(sagas.Compensated)
}

// What cannot be reached is tried again for a minute, and then has to say whether it has
// happened.
func TestCheckoutOutOfTime(t *testing.T) {
	t.Parallel()
	away := ordered(t).Closely().
		WhenFails("pay", holdfast.CodeUnavailable).ThenSends().ThenWakesAfter(200*time.Millisecond).
		After(200*time.Millisecond).ThenSends(toPay).
		WhenKeepsFailing("pay", holdfast.CodeUncertain).ThenSends(toNeverPay).
		WhenFails("pay", holdfast.CodeUnavailable).ThenStatus(sagas.Running).
		After(time.Minute).ThenSends(toNeverPay)
	away.WhenAccepted("pay").ThenStatus(sagas.Compensating)
	away.WhenExecuted("pay", captured).ThenSends(toReserve)
}

func TestCheckoutCancelled(t *testing.T) {
	t.Parallel()
	reserving := ordered(t).WhenAccepted("pay").ThenSends(toReserve).
		When(&messages.SagaCancel{Reason: "Ada has changed her mind"}).ThenSends()
	reserving.WhenRejected("reserve", "out_of_stock", "0 are free").ThenSends(toPayBack)
	reserving.WhenAccepted("reserve").ThenSends(toRelease).
		WhenAccepted("reserve").ThenSends(toPayBack).
		WhenAccepted("pay").ThenSends(toCancel("Ada has changed her mind")).
		WhenAccepted("order").ThenStatus(sagas.Cancelled).ThenReason("Ada has changed her mind")
}

// A mail that comes back is sent again for a while. Then a person finds out who it is for.
func TestCheckoutStuck(t *testing.T) {
	t.Parallel()
	toAlan := &pb.Notify{To: "alan", Text: "Your order o-1 is on its way."}
	edited, err := anypb.New(toAlan)
	if err != nil {
		t.Fatal(err)
	}
	done := underWay(t).WhenAccepted("confirm").ThenSends().WhenAccepted("take-out").ThenSends()
	done.WhenKeepsRejecting("notify", "bounced", "it came back").ThenStatus(sagas.Stuck).ThenReason("notify: bounced: it came back").
		When(&messages.SagaResume{Reason: "perhaps it goes through now"}).ThenSends(toNotify).
		WhenKeepsRejecting("notify", "bounced", "it came back").ThenStatus(sagas.Stuck).
		When(&messages.SagaEdit{Step: "notify", Command: edited, Reason: "it is Alan who lives there"}).ThenSends(holdfasttest.To("mail/o-1", toAlan)).
		WhenAccepted("notify").ThenStatus(sagas.Completed)
	done.WhenKeepsFailing("notify", holdfast.CodeUnavailable).ThenStatus(sagas.Stuck).
		When(&messages.SagaRetry{Step: "notify", Reason: "it is there again"}).ThenSends(toNotify).
		WhenAccepted("notify").ThenStatus(sagas.Completed)
}

// An order that is cancelled behind the checkout's back cannot be confirmed.
func TestCheckoutOfACancelledOrder(t *testing.T) {
	t.Parallel()
	underWay(t).
		WhenKeepsRejecting("confirm", "cancelled", notConfirms).ThenStatus(sagas.Stuck).ThenReason("confirm: cancelled: " + notConfirms)
}

// An ending is what has become of everything.
type ending struct {
	status  sagas.Status
	reason  string
	order   string // its status
	payment *pb.Payment
	stock   *pb.Stock
	mail    string // whom it went to
}

// shown gives the state of an aggregate, if only an empty one.
func shown[M proto.Message](s *holdfasttest.Sim, ref string) M {
	m, _ := s.State(ref).(M)
	return m
}

func (want ending) check(s *holdfasttest.Sim) error {
	saga, order, payment := shown[*messages.SagaState](s, "checkout/o-1"), shown[*pb.Order](s, "order/o-1"), shown[*pb.Payment](s, "payment/o-1")
	stock, shipment, mail := shown[*pb.Stock](s, "stock/tea"), shown[*pb.Shipment](s, "shipment/o-1"), shown[*pb.Mail](s, "mail/o-1")
	switch {
	case saga.Status != string(want.status) || !strings.HasPrefix(saga.Reason, want.reason):
		return fmt.Errorf("the checkout is %s, because %q, want %s because %q", saga.Status, saga.Reason, want.status, want.reason)
	case order.GetStatus() != want.order:
		return fmt.Errorf("the order is %q, want %q", order.GetStatus(), want.order)
	case payment.GetCaptured() != want.payment.Captured || payment.GetRefunded() != want.payment.Refunded:
		return fmt.Errorf("paid is %v, want %v", payment, want.payment)
	case !proto.Equal(stock, want.stock) || shipment.GetQuantity() != stock.Gone:
		return fmt.Errorf("in stock is %v, want %v, and shipped is %v", stock, want.stock, shipment)
	case mail.GetTo() != want.mail:
		return fmt.Errorf("mail is %v, want it to %q", mail, want.mail)
	}
	return nil
}

// Goods are neither lost nor made on the way, and none are paid for twice.
func neverMore(s *holdfasttest.Sim) error {
	stock, paid := shown[*pb.Stock](s, "stock/tea"), shown[*pb.Payment](s, "payment/o-1")
	n := stock.Free + stock.Gone
	for _, r := range stock.Reserved {
		n += r.Quantity
	}
	if n != 5 || paid.GetCaptured() > 9_90 || paid.GetRefunded() > paid.GetCaptured() {
		return fmt.Errorf("of 5 teas and 990 there are %v and %v", stock, paid)
	}
	return nil
}

var (
	paid    = &pb.Payment{Captured: 9_90}
	paidNot = &pb.Payment{Captured: 9_90, Refunded: 9_90}
	soldTwo = &pb.Stock{Free: 3, Gone: 2}
	soldNot = &pb.Stock{Free: 5}
)

// Wherever everything dies, a checkout ends as it would have without.
func TestCheckoutEnds(t *testing.T) {
	t.Parallel()
	bobs := place(func(c *pb.PlaceOrder) { c.Customer = "bob" })
	for _, tt := range []struct {
		name   string
		before holdfast.Command // of the order
		change func(*pb.Checkout)
		want   ending
	}{
		{"completed", nil, func(*pb.Checkout) {}, ending{sagas.Completed, "", "confirmed", paid, soldTwo, "ada"}},
		{"no customer", nil, func(c *pb.Checkout) { c.Customer = "" }, ending{sagas.Compensated, "incomplete: ", "", &pb.Payment{}, soldNot, ""}},
		{"card declined", nil, func(c *pb.Checkout) { c.Card = "declined" }, ending{sagas.Compensated, "card_declined: ", "cancelled", &pb.Payment{}, soldNot, ""}},
		{"out of stock", nil, func(c *pb.Checkout) { c.Quantity = 6 }, ending{sagas.Compensated, "out_of_stock: ", "cancelled", paidNot, soldNot, ""}},
		{"nowhere", nil, func(c *pb.Checkout) { c.Address = "nowhere" }, ending{sagas.Compensated, "no_such_address: ", "cancelled", paidNot, soldNot, ""}},
		{"somebody else's", bobs, func(*pb.Checkout) {}, ending{sagas.Compensated, "already_placed: ", "placed", &pb.Payment{}, soldNot, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			points := holdfasttest.Crash(t, holdfasttest.World{
				Types: types, Sagas: []*sagas.Saga{shop.Checkout},
				Story: func(s *holdfasttest.Sim) {
					s.Given("stock/tea", &pb.AddStock{Quantity: 5})
					if tt.before != nil {
						s.Given("order/o-1", tt.before)
					}
					s.Send("checkout/o-1", checkout(tt.change))
				},
				Always: neverMore, Check: tt.want.check,
			})
			t.Log(points, "points")
		})
	}
}
