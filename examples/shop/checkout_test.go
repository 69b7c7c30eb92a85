package shop_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// openShop has five teas on the shelf.
func openShop(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "checkout/o-1", shop.Checkout.Type(), shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail)
	w.must("stock/tea", &pb.AddStock{Quantity: 5})
	return w
}

func checkout(change func(*pb.Checkout)) *pb.Checkout {
	c := &pb.Checkout{Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: "St James's Square"}
	change(c)
	return c
}

// settle goes on until nothing more happens by itself. Goods are neither lost nor made on the
// way, and none are paid for twice.
func settle(w *world) {
	w.t.Helper()
	for range 200 { // what cannot be reached is asked for ever
		if !w.step() {
			return
		}
		s := w.shows("stock/tea").(*pb.Stock)
		n := s.Free + s.Gone
		for _, r := range s.Reserved {
			n += r.Quantity
		}
		if n != 5 {
			w.t.Fatalf("of 5 there are %v", s)
		}
		if p := w.shows("payment/o-1").(*pb.Payment); p.Captured > 9_90 || p.Refunded > p.Captured {
			w.t.Fatalf("of 990 there are %v", p)
		}
	}
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

func (want ending) check(w *world) {
	w.t.Helper()
	if s := w.sagaState(); s.Status != string(want.status) || !strings.HasPrefix(s.Reason, want.reason) {
		w.t.Errorf("the checkout is %s, because %q, want %s because %q", s.Status, s.Reason, want.status, want.reason)
	}
	if o := w.shows("order/o-1").(*pb.Order); o.Status != want.order {
		w.t.Errorf("the order is %q, want %q", o.Status, want.order)
	}
	if p := w.shows("payment/o-1"); !proto.Equal(p, want.payment) {
		w.t.Errorf("paid is %v, want %v", p, want.payment)
	}
	if s := w.shows("stock/tea"); !proto.Equal(s, want.stock) {
		w.t.Errorf("in stock is %v, want %v", s, want.stock)
	}
	if s := w.shows("shipment/o-1").(*pb.Shipment); s.Quantity != want.stock.Gone {
		w.t.Errorf("shipped is %v, but gone are %d", s, want.stock.Gone)
	}
	if m := w.shows("mail/o-1").(*pb.Mail); m.To != want.mail {
		w.t.Errorf("mail is %v, want it to %q", m, want.mail)
	}
}

var (
	paid    = &pb.Payment{Captured: 9_90}
	paidNot = &pb.Payment{Captured: 9_90, Refunded: 9_90}
	soldTwo = &pb.Stock{Free: 3, Gone: 2}
	soldNot = &pb.Stock{Free: 5}
)

func TestCheckout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*pb.Checkout)
		want   ending
	}{
		{"completed", func(*pb.Checkout) {}, ending{sagas.Completed, "", "confirmed", paid, soldTwo, "ada"}},
		{"no customer", func(c *pb.Checkout) { c.Customer = "" }, ending{sagas.Compensated, "incomplete: ", "", &pb.Payment{}, soldNot, ""}},
		{"card declined", func(c *pb.Checkout) { c.Card = "declined" }, ending{sagas.Compensated, "card_declined: ", "cancelled", &pb.Payment{}, soldNot, ""}},
		{"out of stock", func(c *pb.Checkout) { c.Quantity = 6 }, ending{sagas.Compensated, "out_of_stock: ", "cancelled", paidNot, soldNot, ""}},
		{"nowhere", func(c *pb.Checkout) { c.Address = "nowhere" }, ending{sagas.Compensated, "no_such_address: ", "cancelled", paidNot, soldNot, ""}},
		{"bounced", func(c *pb.Checkout) { c.Customer = "nobody" }, ending{sagas.Stuck, "notify: ", "confirmed", paid, soldTwo, ""}},
	} {
		for _, deaf := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deaf=%t", tt.name, deaf), func(t *testing.T) {
				t.Parallel()
				w := openShop(t)
				w.deaf = deaf
				w.must(w.saga, checkout(tt.change))
				settle(w)
				tt.want.check(w)
			})
		}
	}
}

// A checkout of an order that somebody has placed neither changes nor undoes it.
func TestCheckoutOfTheSameOrder(t *testing.T) {
	t.Parallel()
	w := openShop(t)
	w.must("order/o-1", &pb.PlaceOrder{Customer: "bob", Sku: "tea", Quantity: 1, Amount: 1, Card: "tok-2", Address: "Harley Street"})
	w.must(w.saga, checkout(func(*pb.Checkout) {}))
	settle(w)
	ending{sagas.Compensated, "already_placed: ", "placed", &pb.Payment{}, soldNot, ""}.check(w)
}

// A mail that comes back is sent again for a while. Then a person finds out who it is for.
func TestCheckoutStuck(t *testing.T) {
	t.Parallel()
	w := openShop(t)
	w.must(w.saga, checkout(func(c *pb.Checkout) { c.Customer = "nobody" }))
	settle(w)
	stuck := ending{sagas.Stuck, "notify: ", "confirmed", paid, soldTwo, ""}
	stuck.check(w)
	if why := stuckBy(w); why != "notify: bounced" {
		t.Errorf("it is stuck by %s", why)
	}

	w.must(w.saga, &messages.SagaResume{Reason: "perhaps it goes through now"})
	settle(w)
	stuck.check(w)

	c, err := anypb.New(&pb.Notify{To: "ada", Text: "Your order o-1 is on its way."})
	if err != nil {
		t.Fatal(err)
	}
	w.must(w.saga, &messages.SagaEdit{Step: "notify", Command: c, Reason: "nobody is Ada, who was found in the address book"})
	settle(w)
	ending{sagas.Completed, "", "confirmed", paid, soldTwo, "ada"}.check(w)
}

// What cannot be reached is tried again for a while. When it is back, resuming is enough, or
// nothing is needed at all.
func TestCheckoutResumed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		away        string
		stuck, want ending
	}{
		{
			"mail",
			ending{sagas.Stuck, "notify: ", "confirmed", paid, soldTwo, ""},
			ending{sagas.Completed, "", "confirmed", paid, soldTwo, "ada"},
		},
		{ // it has to say that it will not take the money any more
			"payment",
			ending{sagas.Running, "", "placed", &pb.Payment{}, soldNot, ""},
			ending{sagas.Compensated, "unavailable: ", "cancelled", &pb.Payment{}, soldNot, ""},
		},
	} {
		t.Run(tt.away, func(t *testing.T) {
			t.Parallel()
			w := openShop(t)
			w.away[tt.away] = true
			w.must(w.saga, checkout(func(*pb.Checkout) {}))
			settle(w)
			tt.stuck.check(w)

			w.away[tt.away] = false
			if tt.stuck.status == sagas.Stuck {
				w.must(w.saga, &messages.SagaResume{Reason: "it is there again"})
			}
			settle(w)
			tt.want.check(w)
		})
	}
}

// An operator calls it off while the goods are being reserved.
func TestCheckoutCancelled(t *testing.T) {
	t.Parallel()
	w := openShop(t)
	w.must(w.saga, checkout(func(*pb.Checkout) {}))
	for w.shows("payment/o-1").(*pb.Payment).Captured == 0 {
		w.step()
	}
	w.must(w.saga, &messages.SagaCancel{Reason: "Ada has changed her mind"})
	settle(w)
	ending{sagas.Cancelled, "Ada has changed her mind", "cancelled", paidNot, soldNot, ""}.check(w)
}

// An order that is cancelled behind the checkout's back cannot be confirmed.
func TestCheckoutOfACancelledOrder(t *testing.T) {
	t.Parallel()
	w := openShop(t)
	w.must(w.saga, checkout(func(*pb.Checkout) {}))
	w.step()
	w.must("order/o-1", &pb.CancelOrder{Reason: "Ada has changed her mind"})
	settle(w)
	ending{sagas.Stuck, "confirm: ", "cancelled", paid, soldTwo, "ada"}.check(w)
	if why := stuckBy(w); why != "confirm: cancelled" {
		t.Errorf("it is stuck by %s", why)
	}
}

// stuckBy gives the step that has used up its attempts, and the reason that it was given.
func stuckBy(w *world) string {
	w.t.Helper()
	for _, s := range w.sagaState().Steps {
		if s.Do.GetPhase() == messages.SagaPhase_SAGA_PHASE_EXHAUSTED {
			reason, _, _ := strings.Cut(s.Do.Reason, ": ")
			return s.Name + ": " + reason
		}
	}
	return "nothing"
}
