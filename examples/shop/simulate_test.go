package shop_test

import (
	"flag"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

var runs = flag.Int("runs", 2000, "how often checkouts are simulated")

// many are three checkouts of five teas, of which each may go wrong in its own way.
func many(saga *sagas.Saga) holdfasttest.World {
	return holdfasttest.World{
		Types: []holdfast.Definition{shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail},
		Sagas: []*sagas.Saga{saga},
		Stuck: true, // by a mail to nobody
		Story: func(s *holdfasttest.Sim) {
			s.Given("stock/tea", &pb.AddStock{Quantity: 5})
			odd := func(usual, odd string) string {
				if s.Rand().IntN(5) == 0 {
					return odd
				}
				return usual
			}
			for i := range 3 {
				s.Send(fmt.Sprintf("checkout/o-%d", i), &pb.Checkout{
					Customer: odd("ada", "nobody"), Sku: "tea", Quantity: 1 + s.Rand().Int64N(3), Amount: 9_90,
					Card: odd("tok-1", "declined"), Address: odd("St James's Square", "nowhere"),
				})
			}
		},
		Check: addsUp,
	}
}

// addsUp checks that for each checkout everything has been done, or nothing.
func addsUp(s *holdfasttest.Sim) (err error) {
	var sold, checkouts int64
	s.Each("checkout", func(id string, m proto.Message) {
		checkouts++
		order, _ := s.State("order/" + id).(*pb.Order)
		payment, _ := s.State("payment/" + id).(*pb.Payment)
		shipment, _ := s.State("shipment/" + id).(*pb.Shipment)
		mail, _ := s.State("mail/" + id).(*pb.Mail)
		paid := payment.GetCaptured() - payment.GetRefunded()
		switch c := m.(*messages.SagaState); {
		case c.Status == string(sagas.Compensated):
			if paid != 0 || shipment.GetQuantity() != 0 || order.GetStatus() == "confirmed" || mail.GetTo() != "" {
				err = fmt.Errorf("checkout %s was undone, but there are %v, %v, %v, %v", id, order, payment, shipment, mail)
			}
			return
		case c.Status == string(sagas.Stuck) && mail.GetTo() == "" && order.GetCustomer() == "nobody":
		case c.Status != string(sagas.Completed) || mail.GetTo() != "ada":
			err = fmt.Errorf("checkout %s is %s: %s; %v", id, c.Status, c.Reason, mail)
		}
		if paid != 9_90 || shipment.GetQuantity() == 0 || order.GetStatus() != "confirmed" {
			err = fmt.Errorf("checkout %s was done, but there are %v, %v, %v", id, order, payment, shipment)
		}
		sold += shipment.GetQuantity()
	})
	if stock := s.State("stock/tea").(*pb.Stock); stock.Gone != sold || stock.Free+stock.Gone != 5 || len(stock.Reserved) > 0 || checkouts != 3 {
		err = fmt.Errorf("after %d checkouts %d of 5 teas were sold, and there are %v", checkouts, sold, stock)
	}
	return err
}

func TestCheckoutsInAnyWorld(t *testing.T) {
	t.Parallel()
	holdfasttest.Simulate(t, *runs, many(shop.Checkout))
}

// Wherever everything dies, in either direction.
func TestCheckoutsSurvive(t *testing.T) {
	t.Parallel()
	for address := range map[string]bool{"St James's Square": true, "nowhere": true} {
		w := many(shop.Checkout)
		w.Story = func(s *holdfasttest.Sim) {
			s.Given("stock/tea", &pb.AddStock{Quantity: 5})
			for i := range 3 {
				s.Send(fmt.Sprintf("checkout/o-%d", i), &pb.Checkout{
					Customer: "ada", Sku: "tea", Quantity: 2, Amount: 9_90, Card: "tok-1", Address: address,
				})
			}
		}
		t.Logf("%s: %d points", address, holdfasttest.Crash(t, w))
	}
}
