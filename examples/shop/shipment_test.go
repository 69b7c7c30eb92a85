package shop_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/holdfasttest"
)

var shipped = &pb.Shipped{Address: "St James's Square", Sku: "tea", Quantity: 2}

func TestShipment(t *testing.T) {
	check(t, shop.Shipment, []rule{
		{"ship", nil, &pb.Ship{Address: "St James's Square", Sku: "tea", Quantity: 2}, events{shipped}, ""},
		{"ship nowhere", nil, &pb.Ship{Address: "nowhere", Sku: "tea", Quantity: 2}, nil, "no_such_address"},
		{"ship without an address", nil, &pb.Ship{Sku: "tea", Quantity: 2}, nil, "incomplete"},
		{"ship nothing", nil, &pb.Ship{Address: "St James's Square", Quantity: 2}, nil, "incomplete"},
		{"ship none", nil, &pb.Ship{Address: "St James's Square", Sku: "tea"}, nil, "invalid_quantity"},
		{"ship twice", events{shipped}, &pb.Ship{Address: "St James's Square", Sku: "tea", Quantity: 2}, nil, ""},
		{"ship more", events{shipped}, &pb.Ship{Address: "St James's Square", Sku: "tea", Quantity: 3}, nil, "already_shipped"},
		{"ship elsewhere", events{shipped}, &pb.Ship{Address: "nowhere", Sku: "tea", Quantity: 2}, nil, "already_shipped"},
	})
}

func TestShipmentShown(t *testing.T) {
	t.Parallel()
	holdfasttest.Given(t, shop.Shipment).
		ThenState(&pb.Shipment{}).
		When(&pb.Ship{Address: "St James's Square", Sku: "tea", Quantity: 2}).
		ThenState(&pb.Shipment{Address: "St James's Square", Sku: "tea", Quantity: 2})
}

func TestShipmentGolden(t *testing.T) {
	t.Parallel()
	holdfasttest.Golden(t, shop.Shipment, "shipment.golden", shipped)
}
