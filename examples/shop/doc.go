// Package shop is the example of aggregates that work together: order.go, payment.go,
// stock.go, shipment.go and mail.go, which know nothing of each other. Each reads as
// examples/bank/account.go does.
package shop
