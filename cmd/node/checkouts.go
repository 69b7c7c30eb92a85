package main

import (
	"context"
	"fmt"
	"time"
)

// checkouts has two checkouts of a shop run, of which one cannot be sent and is undone.
func (d *demo) checkouts(ctx context.Context) error {
	d.title("Two checkouts: one goes through, one is undone")
	lines := []line{
		{Ref: "stock/tea", Command: "AddStock", ID: "stock", User: "shop", Data: []byte(`{"quantity":5}`)},
		checkout("o-1", "12 Savile Row"),
		checkout("o-2", "nowhere"),
	}
	for _, l := range lines {
		a, err := d.client.send(ctx, l)
		if err != nil {
			return err
		}
		d.say("    %-12s %-9s %s", l.Ref, l.Command, a)
	}
	d.say("")
	for _, id := range []string{"o-1", "o-2"} {
		saga, err := d.over(ctx, "checkout/"+id)
		if err != nil {
			return err
		}
		payment, err := d.client.get(ctx, "payment/"+id, 0)
		if err != nil {
			return err
		}
		d.say("  checkout/%s is %v: paid %v, given back %v", id, saga["status"], payment["captured"], payment["refunded"])
	}
	stock, err := d.client.get(ctx, "stock/tea", 0)
	if err != nil {
		return err
	}
	d.say("  of 5 teas %v are on the shelf, and %v has gone", stock["free"], stock["gone"])
	d.say("")
	return d.stage.show(ctx, "sagas", "show", "checkout/o-2")
}

func checkout(id, address string) line {
	return line{
		Ref: "checkout/" + id, Command: "Checkout", ID: "checkout-" + id, User: "ada",
		Data: fmt.Appendf(nil, `{"customer":"ada","sku":"tea","quantity":1,"amount":990,"card":"tok-1","address":%q}`, address),
	}
}

// over waits until a saga has come to its end.
func (d *demo) over(ctx context.Context, ref string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for {
		saga, err := d.client.get(ctx, ref, 0)
		if err != nil || saga["end"] != nil && saga["end"] != "" {
			return saga, err
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return saga, fmt.Errorf("%s is %v, and does not come to its end", ref, saga["status"])
		}
	}
}
