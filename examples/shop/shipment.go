package shop

import (
	_ "embed"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
)

//go:embed shipment.golden
var recordedOfShipments string

// Shipment is the aggregate type "shipment": one for each order, with the order's id.
var Shipment = holdfast.Define("shipment",
	holdfast.Decide(shipment.ship),
	holdfast.Evolve(shipment.shipped),
	holdfast.Snapshot(shipment.save, loadShipment),
	holdfast.Recorded[shipment](recordedOfShipments),
)

// shipment is the state. It has an address once the carrier has the goods.
type shipment struct {
	address  string
	sku      string
	quantity int64
}

// nowhere is the address that no carrier finds. Which ones there are is the carrier's to
// say; here the address says so itself, so that both can be shown.
const nowhere = "nowhere"

// ship finds nothing to do when the same has been shipped.
func (s shipment) ship(c *pb.Ship) (holdfast.Events, error) {
	switch {
	case c.Address == "" || c.Sku == "":
		return nil, holdfast.Reject("incomplete", "a shipment needs an address and a sku")
	case c.Quantity <= 0:
		return nil, invalidQuantity(c.Quantity)
	case s == shipment{address: c.Address, sku: c.Sku, quantity: c.Quantity}:
		return nil, nil
	case s.address != "":
		return nil, holdfast.Reject("already_shipped", "%d of %s are on their way to %s", s.quantity, s.sku, s.address)
	case c.Address == nowhere:
		return nil, holdfast.Reject("no_such_address", "the carrier does not find %s", c.Address)
	}
	return holdfast.Events{&pb.Shipped{Address: c.Address, Sku: c.Sku, Quantity: c.Quantity}}, nil
}

func (s shipment) shipped(e *pb.Shipped) shipment {
	return shipment{address: e.Address, sku: e.Sku, quantity: e.Quantity}
}

func (s shipment) save() *pb.Shipment {
	return &pb.Shipment{Address: s.address, Sku: s.sku, Quantity: s.quantity}
}

func loadShipment(p *pb.Shipment) shipment {
	return shipment{address: p.Address, sku: p.Sku, quantity: p.Quantity}
}
