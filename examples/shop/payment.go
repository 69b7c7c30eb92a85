package shop

import (
	_ "embed"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
)

//go:embed payment.golden
var recordedOfPayments string

// Payment is the aggregate type "payment": one for each order, with the order's id. Amounts
// are whole minor units (cents).
var Payment = holdfast.Define("payment",
	holdfast.Decide(payment.capture),
	holdfast.Decide(payment.refund),

	holdfast.Evolve(payment.captured),
	holdfast.Evolve(payment.refunded),

	holdfast.Snapshot(payment.save, loadPayment),
	holdfast.Recorded[payment](recordedOfPayments),
)

// payment is the state. What was paid and paid back are both kept: an order is paid once.
type payment struct {
	paid     int64
	paidBack int64
}

// declinedCard is the card that pays for nothing. Which one does is the payment provider's
// to say; here the card says so itself, so that both can be shown.
const declinedCard = "declined"

func (p payment) capture(c *pb.Capture) (holdfast.Events, error) {
	switch {
	case p.paid > 0:
		return nil, holdfast.Reject("already_captured", "%d were captured before, and %d refunded", p.paid, p.paidBack)
	case c.Amount <= 0:
		return nil, holdfast.Reject("invalid_amount", "the amount is %d; it must be positive", c.Amount)
	case c.Card == "":
		return nil, holdfast.Reject("invalid_card", "a payment needs a card")
	case c.Card == declinedCard:
		return nil, holdfast.Reject("card_declined", "the card was declined")
	}
	return holdfast.Events{&pb.PaymentCaptured{Amount: c.Amount, Card: c.Card}}, nil
}

// refund finds nothing to do when nothing was captured, or all was refunded.
func (p payment) refund(*pb.Refund) (holdfast.Events, error) {
	if p.paid == p.paidBack {
		return nil, nil
	}
	return holdfast.Events{&pb.PaymentRefunded{Amount: p.paid - p.paidBack}}, nil
}

func (p payment) captured(e *pb.PaymentCaptured) payment {
	p.paid += e.Amount
	return p
}

func (p payment) refunded(e *pb.PaymentRefunded) payment {
	p.paidBack += e.Amount
	return p
}

func (p payment) save() *pb.Payment {
	return &pb.Payment{Captured: p.paid, Refunded: p.paidBack}
}

func loadPayment(m *pb.Payment) payment {
	return payment{paid: m.Captured, paidBack: m.Refunded}
}
