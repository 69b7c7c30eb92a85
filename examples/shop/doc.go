// Package shop is the example of sagas: an order goes across five aggregates, and is undone
// when something fails.
//
// checkout.go is the saga in steps. It reads from top to bottom as every such saga does: the
// definition, the data, how it begins, and the commands that its steps send. fulfilment.go is
// the same as a choreography: the definition, the data, the reactions, what they lead to, and
// what the saga's own events make of the data. order.go, payment.go, stock.go, shipment.go and
// mail.go are the aggregates, which know nothing of either; each reads as
// examples/bank/account.go does.
package shop
