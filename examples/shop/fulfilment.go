package shop

import (
	"fmt"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/sagas"
)

// Fulfilment is the saga "fulfilment", with the order's id as its own: what a checkout does in
// steps, done as a choreography. It begins when an order has been placed, and each thing that
// happens leads to the next command.
//
// It is told of every order's events. To the orders of a checkout, which say so, it does not
// see: a saga that has not begun is not begun by what comes later.
//
// It may hear of an event late, or never: goods that somebody has reserved for the order
// before it was placed are not reserved again. So the answer to its own command leads on as
// well; whichever comes second finds the stage over.
//
// Nothing is undone before it is certain what has been done. A refund that overtakes its
// capture would find nothing to give back. So what is given up waits until every command has
// been answered; and if the carrier has taken the goods by then, there is no way back.
var Fulfilment = sagas.Define("fulfilment",
	sagas.On("order", uncared, fulfilment.orderPlaced),
	sagas.On("payment", sameID[*pb.PaymentCaptured], fulfilment.paymentCaptured),
	sagas.On("stock", reservedFor, fulfilment.stockReserved),
	sagas.On("shipment", sameID[*pb.Shipped], fulfilment.goodsShipped),
	sagas.On("order", sameID[*pb.OrderCancelled], fulfilment.orderCancelled),

	sagas.OnAnswer("capture", fulfilment.answered),
	sagas.OnAnswer("reserve", fulfilment.answered),
	sagas.OnAnswer("ship", fulfilment.answered),
	sagas.OnTime("patience", fulfilment.late),
	sagas.OnCancel(fulfilment.cancelled),

	sagas.Evolve(fulfilment.begun),
	sagas.Evolve(fulfilment.paid),
	sagas.Evolve(fulfilment.reserved),
	sagas.Evolve(fulfilment.shipped),
	sagas.Evolve(fulfilment.told),
	sagas.Evolve(fulfilment.givenUp),
)

// fulfilment is the data: what was ordered, and how far it has come.
type fulfilment struct {
	order    string
	customer string
	sku      string
	quantity int64
	address  string

	stage   stage
	answers int  // to the commands of the stages
	pays    bool // that to capture: it has happened
	keeps   bool // that to reserve
	gaveUp  *pb.FulfilmentGivenUp
}

// A stage is named after the command with which it begins. The last one ends the saga.
type stage int

const (
	capturing stage = iota + 1
	reserving
	shipping
	finishing
)

func uncared(e *pb.OrderPlaced, from sagas.Source) string {
	if e.Checkout {
		return ""
	}
	return from.Ref.ID
}

func sameID[E holdfast.Event](_ E, from sagas.Source) string { return from.Ref.ID }

func reservedFor(e *pb.StockReserved, _ sagas.Source) string { return e.Order }

func (f fulfilment) orderPlaced(e *pb.OrderPlaced, from sagas.Source) sagas.Then {
	order := from.Ref.ID
	return sagas.Then{
		Record: holdfast.Events{&pb.FulfilmentBegun{Order: order, Customer: e.Customer, Sku: e.Sku, Quantity: e.Quantity, Address: e.Address}},
		Send:   []sagas.Send{send("capture", "payment", order, &pb.Capture{Amount: e.Amount, Card: e.Card})},
		Wake:   []sagas.Wake{{Name: "patience", After: patience}},
	}
}

func send(name, typ, id string, c holdfast.Command) sagas.Send {
	return sagas.Send{Name: name, To: holdfast.Ref{Type: typ, ID: id}, Command: c}
}

func (f fulfilment) paymentCaptured(*pb.PaymentCaptured, sagas.Source) sagas.Then {
	return f.reserve()
}

func (f fulfilment) stockReserved(*pb.StockReserved, sagas.Source) sagas.Then { return f.ship() }

func (f fulfilment) goodsShipped(*pb.Shipped, sagas.Source) sagas.Then { return f.finish() }

func (f fulfilment) orderCancelled(e *pb.OrderCancelled, _ sagas.Source) sagas.Then {
	return f.giveUp(&pb.FulfilmentGivenUp{Reason: "the order was cancelled: " + e.Reason})
}

func (f fulfilment) late() sagas.Then {
	return f.giveUp(&pb.FulfilmentGivenUp{Reason: fmt.Sprintf("it took longer than %v", patience)})
}

func (f fulfilment) cancelled(reason string) sagas.Then {
	return f.giveUp(&pb.FulfilmentGivenUp{Reason: reason, Cancelled: true})
}

// answered hears what has certainly become of the command of a stage.
func (f fulfilment) answered(a sagas.Answer) sagas.Then {
	e := &pb.FulfilmentAnswered{Command: a.Name, Refused: a.Reason != ""}
	return after(e, f.told(e).goOn(a))
}

func (f fulfilment) goOn(a sagas.Answer) sagas.Then {
	switch {
	case a.Reason != "" && f.gaveUp == nil:
		return f.giveUp(&pb.FulfilmentGivenUp{Reason: a.Reason + ": " + a.Message})
	case a.Reason == "" && a.Name == "ship":
		return f.finish()
	case f.gaveUp != nil:
		return f.undo()
	case a.Name == "capture":
		return f.reserve()
	default:
		return f.ship()
	}
}

func (f fulfilment) reserve() sagas.Then {
	if f.stage != capturing || f.gaveUp != nil {
		return sagas.Then{}
	}
	return sagas.Then{
		Record: holdfast.Events{&pb.FulfilmentPaid{}},
		Send:   []sagas.Send{send("reserve", "stock", f.sku, &pb.Reserve{Order: f.order, Quantity: f.quantity})},
	}
}

func (f fulfilment) ship() sagas.Then {
	if f.stage != reserving || f.gaveUp != nil {
		return sagas.Then{}
	}
	return sagas.Then{
		Record: holdfast.Events{&pb.FulfilmentReserved{}},
		Send:   []sagas.Send{send("ship", "shipment", f.order, &pb.Ship{Address: f.address, Sku: f.sku, Quantity: f.quantity})},
	}
}

// finish is done even if it has been given up: the goods are on their way. What it sends is
// not looked at any more; what is refused makes it stuck, and a person decides.
func (f fulfilment) finish() sagas.Then {
	if f.stage != shipping {
		return sagas.Then{}
	}
	return sagas.Then{
		Record: holdfast.Events{&pb.FulfilmentShipped{}},
		Send: []sagas.Send{
			send("confirm", "order", f.order, &pb.ConfirmOrder{}),
			send("take-out", "stock", f.sku, &pb.TakeOut{Order: f.order}),
			send("notify", "mail", f.order, onItsWay(f.customer, f.order, f.address)),
		},
		Done: sagas.Completed,
	}
}

func (f fulfilment) giveUp(e *pb.FulfilmentGivenUp) sagas.Then {
	if f.stage == 0 || f.gaveUp != nil {
		return sagas.Then{}
	}
	return after(e, f.givenUp(e).undo())
}

// undo undoes what has happened, in any order, once nothing else can.
func (f fulfilment) undo() sagas.Then {
	if f.answers < int(f.stage) {
		return sagas.Then{}
	}
	t := sagas.Then{Done: sagas.Compensated, Because: f.gaveUp.Reason}
	if f.gaveUp.Cancelled {
		t.Done = sagas.Cancelled
	}
	if f.keeps {
		t.Send = append(t.Send, send("release", "stock", f.sku, &pb.Release{Order: f.order}))
	}
	if f.pays {
		t.Send = append(t.Send, send("refund", "payment", f.order, &pb.Refund{}))
	}
	t.Send = append(t.Send, send("cancel", "order", f.order, &pb.CancelOrder{Reason: f.gaveUp.Reason}))
	return t
}

// after puts an event before what follows from it.
func after(e holdfast.Event, t sagas.Then) sagas.Then {
	t.Record = append(holdfast.Events{e}, t.Record...)
	return t
}

func (fulfilment) begun(e *pb.FulfilmentBegun) fulfilment {
	return fulfilment{
		order: e.Order, customer: e.Customer, sku: e.Sku, quantity: e.Quantity, address: e.Address, stage: capturing,
	}
}

func (f fulfilment) paid(*pb.FulfilmentPaid) fulfilment {
	f.stage = reserving
	return f
}

func (f fulfilment) reserved(*pb.FulfilmentReserved) fulfilment {
	f.stage = shipping
	return f
}

func (f fulfilment) shipped(*pb.FulfilmentShipped) fulfilment {
	f.stage = finishing
	return f
}

func (f fulfilment) told(e *pb.FulfilmentAnswered) fulfilment {
	f.answers++
	f.pays = f.pays || e.Command == "capture" && !e.Refused
	f.keeps = f.keeps || e.Command == "reserve" && !e.Refused
	return f
}

func (f fulfilment) givenUp(e *pb.FulfilmentGivenUp) fulfilment {
	f.gaveUp = e
	return f
}
