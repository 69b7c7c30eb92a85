package node_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/sagas"
)

// What a command has led to is told through the steps of the saga that it has begun.
func TestIndex(t *testing.T) {
	c := config(t)
	c.Types = []holdfast.Definition{shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail}
	c.Sagas = []*sagas.Saga{shop.Checkout}
	n := start(t, c)
	send := func(to holdfast.Ref, command holdfast.Command, id string) {
		t.Helper()
		sent(t, n, to, command, holdfast.Meta{ID: id, User: "ada"})
	}
	send(holdfast.Ref{Type: "stock", ID: "tea"}, &pb.AddStock{Quantity: 5}, "filled")
	send(holdfast.Ref{Type: "checkout", ID: "o-1"}, &pb.Checkout{Customer: "ada", Sku: "tea", Quantity: 1, Amount: 990, Card: "tok-1", Address: "12 Savile Row"}, "c-1")
	check := func(code int, says string, args ...string) {
		t.Helper()
		out, errs, got := run(append(args, "--data", c.Data)...)
		if match, err := regexp.MatchString(says, out+errs); got != code || !match || err != nil {
			t.Errorf("%v: exit code %d, want %d, and %s in:\n%s%s", args, got, code, says, out, errs)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; { // the index follows the log by moments
		if out, _, _ := run("explain", "c-1", "--data", c.Data); strings.Contains(out, "SagaEnded") || time.Now().After(deadline) {
			break
		}
	}
	check(cli.ExitOK, `(?s)^\S+  Checkout to checkout/o-1 for ada  c-1\n├─ SagaBegun  checkout/o-1@1\n└─ SagaIntended  checkout/o-1@2\n`+
		`   ├─ \S+  PlaceOrder to order/o-1 for ada  checkout/o-1:order\n   │  └─ OrderPlaced  order/o-1@1\n   └─ \S+  SagaReport to checkout/o-1 .*`+
		` Capture to payment/o-1 .* Reserve to stock/tea for ada  checkout/o-1:reserve\n[ │]+└─ StockReserved  stock/tea@2\n.* Notified  mail/o-1@1\n`, "explain", "c-1")
	check(cli.ExitOK, `"caused":\[\{"id":"checkout/o-1:order","name":"shop.v1.PlaceOrder"`, "explain", "c-1", "--json")
	check(cli.ExitOK, `^\S+  PlaceOrder to order/o-1 for ada  checkout/o-1:order\n└─ OrderPlaced  order/o-1@1\nbecause of checkout/o-1@2\n$`, "explain", "checkout/o-1:order")
	check(cli.ExitFailure, `no event of the command "c-2": it was rejected, found nothing to do`, "explain", "c-2")
	check(cli.ExitOK, `^TIME +ID +EVENT +USER +COMMAND +COMMAND ID\n\S+  order/o-1@1  OrderPlaced  ada   PlaceOrder  checkout/o-1:order\n$`, "events", "--type", "OrderPlaced", "--since", "1h")
	check(cli.ExitOK, `(?s)stock/tea@1  StockAdded .*\n[^\n]*stock/tea@2  StockReserved `, "events", "--ref", "stock", "--user", "ada")
	check(cli.ExitOK, "1 are shown, and there are more", "events", "--correlation", "c-1", "--limit", "1")
	check(cli.ExitFailure, `event: "1": want a message's name`, "events", "--type", "1")
}
