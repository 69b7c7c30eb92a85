package shop_test

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

var (
	added    = &pb.StockAdded{Quantity: 5}
	reserved = &pb.StockReserved{Order: "o-1", Quantity: 2}
	released = &pb.StockReleased{Order: "o-1", Quantity: 2}
	takenOut = &pb.StockTakenOut{Order: "o-1", Quantity: 2}
)

func TestStock(t *testing.T) {
	reserve := &pb.Reserve{Order: "o-1", Quantity: 2}
	release, takeOut := &pb.Release{Order: "o-1"}, &pb.TakeOut{Order: "o-1"}
	check(t, shop.Stock, []rule{
		{"add", nil, &pb.AddStock{Quantity: 5}, events{added}, ""},
		{"add none", nil, &pb.AddStock{}, nil, "invalid_quantity"},
		{"add less than none", nil, &pb.AddStock{Quantity: -1}, nil, "invalid_quantity"},
		{"add up to the last int64", events{added, reserved, takenOut}, &pb.AddStock{Quantity: math.MaxInt64 - 5}, events{&pb.StockAdded{Quantity: math.MaxInt64 - 5}}, ""},
		{"add one beyond it", events{added, reserved}, &pb.AddStock{Quantity: math.MaxInt64 - 4}, nil, "invalid_quantity"},

		{"reserve", events{added}, reserve, events{reserved}, ""},
		{"reserve all", events{added}, &pb.Reserve{Order: "o-1", Quantity: 5}, events{&pb.StockReserved{Order: "o-1", Quantity: 5}}, ""},
		{"reserve one more", events{added}, &pb.Reserve{Order: "o-1", Quantity: 6}, nil, "out_of_stock"},
		{"reserve what another order has", events{added, reserved}, &pb.Reserve{Order: "o-2", Quantity: 4}, nil, "out_of_stock"},
		{"reserve what has gone", events{added, reserved, takenOut}, &pb.Reserve{Order: "o-2", Quantity: 4}, nil, "out_of_stock"},
		{"reserve for nobody", events{added}, &pb.Reserve{Quantity: 2}, nil, "invalid_order"},
		{"reserve none", events{added}, &pb.Reserve{Order: "o-1"}, nil, "invalid_quantity"},
		{"reserve less than none", events{added}, &pb.Reserve{Order: "o-1", Quantity: -1}, nil, "invalid_quantity"},
		{"reserve twice", events{added, reserved}, reserve, nil, ""},
		{"reserve more", events{added, reserved}, &pb.Reserve{Order: "o-1", Quantity: 3}, nil, "already_reserved"},
		{"reserve again once released", events{added, reserved, released}, reserve, events{reserved}, ""},

		{"release", events{added, reserved}, release, events{released}, ""},
		{"release twice", events{added, reserved, released}, release, nil, ""},
		{"release what another order has", events{added, reserved}, &pb.Release{Order: "o-2"}, nil, ""},
		{"release what has gone", events{added, reserved, takenOut}, release, nil, ""},

		{"take out", events{added, reserved}, takeOut, events{takenOut}, ""},
		{"take out twice", events{added, reserved, takenOut}, takeOut, nil, ""},
		{"take out what was released", events{added, reserved, released}, takeOut, nil, ""},
	})
}

func TestStockShown(t *testing.T) {
	t.Parallel()
	first, second := &pb.Reservation{Order: "o-1", Quantity: 2}, &pb.Reservation{Order: "o-2", Quantity: 1}
	holdfasttest.Given(t, shop.Stock).
		ThenState(&pb.Stock{}).
		When(&pb.AddStock{Quantity: 5}).ThenState(&pb.Stock{Free: 5}).
		When(&pb.Reserve{Order: "o-1", Quantity: 2}).ThenState(&pb.Stock{Free: 3, Reserved: []*pb.Reservation{first}}).
		When(&pb.Reserve{Order: "o-2", Quantity: 1}).ThenState(&pb.Stock{Free: 2, Reserved: []*pb.Reservation{first, second}}).
		When(&pb.Release{Order: "o-1"}).ThenState(&pb.Stock{Free: 4, Reserved: []*pb.Reservation{second}}).
		When(&pb.TakeOut{Order: "o-2"}).ThenState(&pb.Stock{Free: 4, Gone: 1})
}

func TestStockGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, shop.Stock, "stock.golden", added, reserved, released, takenOut)
}
