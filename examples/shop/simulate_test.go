package shop_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

var runs = flag.Int("runs", 2000, "how many runs are simulated of each world")

// A way is how orders come in: the saga that sees to them, and what is sent.
type way struct {
	saga *sagas.Saga
	send func(s *holdfasttest.Sim, order string, c *pb.Checkout)
}

var (
	byCheckout = way{shop.Checkout, func(s *holdfasttest.Sim, order string, c *pb.Checkout) { s.Send("checkout/"+order, c) }}
	directly   = way{shop.Fulfilment, func(s *holdfasttest.Sim, order string, c *pb.Checkout) {
		s.Send("order/"+order, &pb.PlaceOrder{
			Customer: c.Customer, Sku: c.Sku, Quantity: c.Quantity, Amount: c.Amount, Card: c.Card, Address: c.Address,
		})
	}}
)

// orders are of five teas, and each may go wrong in its own way.
var orders = flag.Int("orders", 3, "how many orders there are in a simulation")

// named gives an order its id. That of the last one has to be escaped, and is too long for
// the ids of commands to be made of it as it is.
func named(i int) string {
	if i < *orders-1 {
		return fmt.Sprintf("o-%d", i)
	}
	return "o/" + strings.Repeat("é", 17)
}

// world is one in which orders come in one of these ways.
func world(ways ...way) holdfasttest.World {
	w := holdfasttest.World{
		Types: types,
		Stuck: true, // by a mail to nobody, or an order that was cancelled on its way
		Story: func(s *holdfasttest.Sim) {
			s.Given("stock/tea", &pb.AddStock{Quantity: 5})
			odd := func(once int, usual, odd string) string {
				if s.Rand().IntN(once) == 0 {
					return odd
				}
				return usual
			}
			for i := range *orders {
				order, by := named(i), ways[s.Rand().IntN(len(ways))]
				by.send(s, order, &pb.Checkout{
					Customer: odd(50, "ada", "nobody"), Sku: "tea", Quantity: 1 + s.Rand().Int64N(3), Amount: 9_90,
					Card: odd(5, "tok-1", "declined"), Address: odd(5, "St James's Square", "nowhere"),
				})
				switch s.Rand().IntN(12) {
				case 0:
					s.Send("order/"+order, &pb.CancelOrder{Reason: "not wanted"})
				case 1:
					s.Send(by.saga.Name()+"/"+order, &messages.SagaCancel{Reason: "not wanted"})
				}
			}
		},
		Check: func(s *holdfasttest.Sim) error { return addsUp(s, ways) },
	}
	for _, by := range ways {
		w.Sagas = append(w.Sagas, by.saga)
	}
	return w
}

// addsUp checks that for each order everything has been done, or nothing.
func addsUp(s *holdfasttest.Sim, ways []way) error {
	var sold int64
	for i := range *orders {
		order, begun := named(i), 0
		for _, by := range ways {
			st := shown[*messages.SagaState](s, by.saga.Name()+"/"+order)
			if st == nil {
				continue
			}
			begun++
			n, err := hasEnded(s, order, st)
			if err != nil {
				return fmt.Errorf("%s %s: %w", by.saga.Name(), order, err)
			}
			sold += n
		}
		if begun != 1 {
			return fmt.Errorf("to the order %s %d sagas see", order, begun)
		}
	}
	if stock := s.State("stock/tea").(*pb.Stock); stock.Gone != sold || stock.Free+stock.Gone != 5 || len(stock.Reserved) > 0 {
		return fmt.Errorf("%d of 5 teas were sold, and there are %v", sold, stock)
	}
	return nil
}

// hasEnded checks one order by what its saga says, and gives how much of it was sold.
func hasEnded(s *holdfasttest.Sim, id string, st *messages.SagaState) (sold int64, err error) {
	order, payment := shown[*pb.Order](s, "order/"+id), shown[*pb.Payment](s, "payment/"+id)
	shipment, mail := shown[*pb.Shipment](s, "shipment/"+id), shown[*pb.Mail](s, "mail/"+id)
	paid := payment.GetCaptured() - payment.GetRefunded()
	switch status := sagas.Status(st.Status); {
	case status == sagas.Compensated || status == sagas.Cancelled:
		if paid != 0 || shipment.GetQuantity() != 0 || order.GetStatus() == "confirmed" || mail.GetTo() != "" {
			err = fmt.Errorf("it was undone, but there are %v, %v, %v, %v", order, payment, shipment, mail)
		}
		return 0, err
	case paid != 9_90 || shipment.GetQuantity() == 0:
		return 0, fmt.Errorf("it is %s, but there are %v, %v, %v", status, order, payment, shipment)
	case status == sagas.Completed && (order.GetStatus() != "confirmed" || mail.GetTo() != "ada"):
		return 0, fmt.Errorf("it was completed, but there are %v, %v", order, mail)
	case status == sagas.Stuck && order.GetStatus() != "cancelled" && (order.GetCustomer() != "nobody" || mail.GetTo() != ""):
		return 0, fmt.Errorf("it is stuck without need: %s; there are %v, %v", st.Reason, order, mail)
	}
	return shipment.GetQuantity(), nil
}

func TestCheckoutsInAnyWorld(t *testing.T) {
	t.Parallel()
	holdfasttest.Simulate(t, *runs, world(byCheckout))
}

func TestFulfilmentsInAnyWorld(t *testing.T) {
	t.Parallel()
	holdfasttest.Simulate(t, *runs, world(directly))
}

// A node serves both at once.
func TestBothInAnyWorld(t *testing.T) {
	t.Parallel()
	holdfasttest.Simulate(t, *runs, world(byCheckout, directly))
}

// Wherever everything dies, in either direction.
func TestOrdersSurvive(t *testing.T) {
	t.Parallel()
	for _, by := range []way{byCheckout, directly} {
		for _, address := range []string{"St James's Square", "nowhere"} {
			w := world(by)
			w.Story = func(s *holdfasttest.Sim) {
				s.Given("stock/tea", &pb.AddStock{Quantity: 5})
				for i := range *orders {
					by.send(s, named(i), checkout(func(c *pb.Checkout) { c.Address = address }))
				}
			}
			t.Logf("%s, to %s: %d points", by.saga.Name(), address, holdfasttest.Crash(t, w))
		}
	}
}
