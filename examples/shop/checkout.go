package shop

import (
	"fmt"
	"time"

	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/sagas"
)

// Checkout is the saga "checkout", with the order's id as its own. Each step can be undone
// until the carrier has the goods; from there on everything is tried until it is done.
//
// Who wants to call it off tells the checkout, and not the order: an order that is cancelled
// behind its back refuses to be confirmed, and then a person has to decide.
var Checkout = sagas.Define("checkout",
	sagas.Begin(checkout.begun),
	sagas.Step("order",
		sagas.Do("order", checkout.place),
		sagas.UndoBecause("order", checkout.cancel),
		sagas.Timeout(patience)),
	sagas.Step("pay",
		sagas.Do("payment", checkout.capture),
		sagas.Undo("payment", checkout.refund),
		sagas.Timeout(patience)),
	sagas.Step("reserve",
		sagas.Do("stock", checkout.reserve),
		sagas.Undo("stock", checkout.release),
		sagas.Timeout(patience)),
	sagas.Pivot("ship", sagas.Do("shipment", checkout.ship)),
	sagas.Together(
		sagas.Retryable("confirm", sagas.Do("order", checkout.confirm)),
		sagas.Retryable("take-out", sagas.Do("stock", checkout.takeOut)),
		sagas.Retryable("notify", sagas.Do("mail", checkout.notify), sagas.Retry(mailing)),
	),
)

// patience is how long a step may take while the customer waits for its end.
const patience = time.Minute

// mailing goes on for about a day: nobody waits for a mail, and mail servers have bad nights.
var mailing = sagas.Backoff{First: time.Second, Max: time.Hour, Attempts: 40}

// checkout is the data that the steps work with: what was asked for.
type checkout struct {
	order    string
	customer string
	sku      string
	quantity int64
	amount   int64
	card     string
	address  string
}

// begun refuses nothing. What may be wrong is known to the order, which is asked first:
// nothing has happened by then.
func (checkout) begun(id string, c *pb.Checkout) checkout {
	return checkout{
		order: id, customer: c.Customer, sku: c.Sku, quantity: c.Quantity, amount: c.Amount, card: c.Card, address: c.Address,
	}
}

func (c checkout) place() (string, *pb.PlaceOrder) {
	return c.order, &pb.PlaceOrder{
		Customer: c.customer, Sku: c.sku, Quantity: c.quantity, Amount: c.amount, Card: c.card, Address: c.address, Checkout: true,
	}
}

func (c checkout) cancel(reason string) (string, *pb.CancelOrder) {
	return c.order, &pb.CancelOrder{Reason: reason}
}

func (c checkout) capture() (string, *pb.Capture) {
	return c.order, &pb.Capture{Amount: c.amount, Card: c.card}
}

func (c checkout) refund() (string, *pb.Refund) {
	return c.order, &pb.Refund{}
}

func (c checkout) reserve() (string, *pb.Reserve) {
	return c.sku, &pb.Reserve{Order: c.order, Quantity: c.quantity}
}

func (c checkout) release() (string, *pb.Release) {
	return c.sku, &pb.Release{Order: c.order}
}

func (c checkout) ship() (string, *pb.Ship) {
	return c.order, &pb.Ship{Address: c.address, Sku: c.sku, Quantity: c.quantity}
}

func (c checkout) confirm() (string, *pb.ConfirmOrder) {
	return c.order, &pb.ConfirmOrder{}
}

func (c checkout) takeOut() (string, *pb.TakeOut) {
	return c.sku, &pb.TakeOut{Order: c.order}
}

func (c checkout) notify() (string, *pb.Notify) {
	return c.order, onItsWay(c.customer, c.order, c.address)
}

func onItsWay(customer, order, address string) *pb.Notify {
	return &pb.Notify{To: customer, Text: fmt.Sprintf("Your order %s is on its way to %s.", order, address)}
}
