package shop_test

import (
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

var shippedTwo = &pb.Shipped{Address: "St James's Square", Sku: "tea", Quantity: 2}

// capturing is the fulfilment of an order that has just been placed.
func capturing(t *testing.T) holdfasttest.SagaScenario {
	t.Helper()
	return holdfasttest.GivenSaga(t, shop.Fulfilment, "o-1", types...).
		WhenHears("order/o-1", placed).ThenSends(toPay).ThenWakesAfter(time.Minute)
}

func reserving(t *testing.T) holdfasttest.SagaScenario {
	t.Helper()
	return capturing(t).WhenHears("payment/o-1", captured).ThenSends(toReserve).WhenAccepted("capture").ThenSends()
}

func shipping(t *testing.T) holdfasttest.SagaScenario {
	t.Helper()
	return reserving(t).WhenHears("stock/tea", reserved).ThenSends(toShip).WhenAccepted("reserve").ThenSends()
}

func TestFulfilmentCompleted(t *testing.T) {
	t.Parallel()
	finishing := shipping(t).
		WhenHears("shipment/o-1", shippedTwo).ThenRecords(&pb.FulfilmentShipped{}).ThenSends(toConfirm, toTakeOut, toNotify)
	finishing.WhenAccepted("confirm").ThenSends().
		WhenAccepted("ship").ThenSends().
		WhenAccepted("notify").ThenStatus(sagas.Running).
		WhenAccepted("take-out").ThenStatus(sagas.Completed)
	finishing.WhenRejected("notify", "bounced", "it came back").ThenStatus(sagas.Stuck).
		When(&messages.SagaSkip{Step: "notify", Reason: "she was told by telephone"}).ThenGoesOn()
}

// An event that comes after the answer, or never, changes nothing, and neither does one that
// comes twice.
func TestFulfilmentHearsLate(t *testing.T) {
	t.Parallel()
	capturing(t).
		WhenAccepted("capture").ThenSends(toReserve).
		WhenHears("payment/o-1", captured).ThenRecords().ThenSends().
		WhenAccepted("reserve").ThenSends(toShip).
		WhenHears("stock/tea", reserved).ThenRecords().ThenSends().
		WhenHears("stock/tea", reserved).ThenRecords().ThenSends().
		WhenAccepted("ship").ThenSends(toConfirm, toTakeOut, toNotify).
		WhenHears("shipment/o-1", shippedTwo).ThenNothing()
}

func TestFulfilmentRefused(t *testing.T) {
	t.Parallel()
	capturing(t).WhenRejected("capture", "card_declined", "the card was declined").
		ThenSends(toCancel("card_declined: the card was declined")).
		WhenAccepted("cancel").ThenStatus(sagas.Compensated).ThenReason("card_declined: the card was declined")
	reserving(t).WhenRejected("reserve", "out_of_stock", "0 are free").
		ThenSends(toPayBack, toCancel("out_of_stock: 0 are free")).
		WhenAccepted("refund").ThenSends().
		WhenAccepted("cancel").ThenStatus(sagas.Compensated)
	shipping(t).WhenRejected("ship", "no_such_address", "nobody finds it").
		ThenSends(toRelease, toPayBack, toCancel("no_such_address: nobody finds it"))
}

// What may have happened is waited for before anything is undone.
func TestFulfilmentTakesTooLong(t *testing.T) {
	t.Parallel()
	const late = "it took longer than 1m0s"
	unpaid := capturing(t).After(time.Minute).ThenRecords(&pb.FulfilmentGivenUp{Reason: late}).ThenSends()
	unpaid.WhenAccepted("capture").ThenSends(toPayBack, toCancel(late))
	unpaid.WhenHears("payment/o-1", captured).ThenSends().
		WhenAccepted("capture").ThenSends(toPayBack, toCancel(late))
	unpaid.WhenRejected("capture", "card_declined", "the card was declined").ThenSends(toCancel(late))
	unpaid.WhenKeepsFailing("capture", holdfast.CodeUnavailable).ThenSends(toCancel(late))

	heard := capturing(t).WhenHears("payment/o-1", captured).ThenSends(toReserve).After(time.Minute).ThenSends()
	heard.WhenAccepted("capture").ThenSends().
		WhenRejected("reserve", "out_of_stock", "0 are free").ThenSends(toPayBack, toCancel(late))
	heard.WhenAccepted("reserve").ThenSends().
		WhenAccepted("capture").ThenSends(toRelease, toPayBack, toCancel(late))
}

// Once the carrier has the goods there is no way back, whoever wants it.
func TestFulfilmentCancelled(t *testing.T) {
	t.Parallel()
	reserving(t).When(&messages.SagaCancel{Reason: "Ada has moved"}).ThenSends().
		WhenAccepted("reserve").ThenSends(toRelease, toPayBack, toCancel("Ada has moved")).
		WhenAccepted("release").ThenSends().WhenAccepted("refund").ThenSends().
		WhenAccepted("cancel").ThenStatus(sagas.Cancelled)
	tooLate := shipping(t).WhenHears("order/o-1", cancelled).ThenRecords(&pb.FulfilmentGivenUp{Reason: "the order was cancelled: not wanted"}).ThenSends()
	tooLate.WhenHears("shipment/o-1", shippedTwo).ThenSends(toConfirm, toTakeOut, toNotify)
	tooLate.WhenAccepted("ship").ThenSends(toConfirm, toTakeOut, toNotify)
	tooLate.WhenRejected("ship", "no_such_address", "nobody finds it").
		ThenSends(toRelease, toPayBack, toCancel("the order was cancelled: not wanted"))
}

// To the order of a checkout it does not see, nor to what happens without an order.
func TestFulfilmentOfOthers(t *testing.T) {
	t.Parallel()
	holdfasttest.GivenSaga(t, shop.Fulfilment, "o-1", types...).
		WhenHears("order/o-1", placedBy).ThenNothing().
		WhenHears("payment/o-1", captured).ThenNothing().
		WhenHears("stock/tea", reserved).ThenNothing().
		WhenHears("shipment/o-1", shippedTwo).ThenNothing().
		WhenHears("order/o-1", cancelled).ThenNothing().
		When(&messages.SagaCancel{Reason: "to see"}).ThenRejected("not_begun")
}

func TestFulfilmentGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, shop.Fulfilment.Type(), "fulfilment.golden",
		&pb.FulfilmentBegun{Order: "o-1", Customer: "ada", Sku: "tea", Quantity: 2, Address: "St James's Square"},
		&pb.FulfilmentPaid{},
		&pb.FulfilmentReserved{},
		&pb.FulfilmentShipped{},
		&pb.FulfilmentAnswered{Command: "capture", Refused: true},
		&pb.FulfilmentGivenUp{Reason: "Ada has moved", Cancelled: true},
	)
}
