// Package sagas is for work that goes across aggregates, and is undone when it fails.
//
// A saga is an aggregate like any other: what it intends, hears and has come to is in the
// log, one node owns it, and it can be rebuilt at any moment. [Define] makes one from steps:
//
//	var Checkout = sagas.Define("checkout",
//		sagas.Begin(checkout.begin),
//		sagas.Step("pay", sagas.Do("payment", checkout.pay), sagas.Undo("payment", checkout.refund)),
//		sagas.Step("reserve", sagas.Do("stock", checkout.reserve), sagas.Undo("stock", checkout.release)),
//		sagas.Pivot("ship", sagas.Do("shipment", checkout.ship)),
//		sagas.Retryable("notify", sagas.Do("mail", checkout.notify)),
//	)
//
// The machine that decides what comes next is pure: it has neither clock nor network, and
// what it decides are events. What they ask for is done by those who read them in the log,
// so that a crash between any two of them loses nothing: whatever is sent again has the
// same id, and takes effect once.
package sagas
