// Package shop is the example of a saga: a checkout that goes across five aggregates, and is
// undone when it fails.
//
// checkout.go is the saga. It reads from top to bottom as every saga does: the definition,
// the data, how it begins, and the commands that its steps send. order.go, payment.go,
// stock.go, shipment.go and mail.go are the aggregates, which know nothing of it; each reads
// as examples/bank/account.go does.
package shop
