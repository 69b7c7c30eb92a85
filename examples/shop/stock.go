package shop

import (
	_ "embed"
	"math"
	"slices"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
)

//go:embed stock.golden
var recordedOfStock string

// Stock is the aggregate type "stock": one for each kind of goods, with the sku as its id.
// What is free, held and gone adds up to what was ever added.
var Stock = holdfast.Define("stock",
	holdfast.Decide(stock.addStock),
	holdfast.Decide(stock.reserve),
	holdfast.Decide(stock.release),
	holdfast.Decide(stock.takeOut),

	holdfast.Evolve(stock.added),
	holdfast.Evolve(stock.reserved),
	holdfast.Evolve(stock.released),
	holdfast.Evolve(stock.takenOut),

	holdfast.Snapshot(stock.save, loadStock),
	holdfast.Recorded[stock](recordedOfStock),
)

// stock is the state. What has left is no longer held, so that the state does not grow with
// every order.
type stock struct {
	free int64
	held []reservation
	gone int64
}

type reservation struct {
	order    string
	quantity int64
}

func (s stock) addStock(c *pb.AddStock) (holdfast.Events, error) {
	switch total := s.total(); {
	case c.Quantity <= 0:
		return nil, invalidQuantity(c.Quantity)
	case c.Quantity > math.MaxInt64-total:
		return nil, holdfast.Reject("invalid_quantity", "the %d that were ever added cannot grow by %d", total, c.Quantity)
	}
	return holdfast.Events{&pb.StockAdded{Quantity: c.Quantity}}, nil
}

// reserve finds nothing to do when the order has the same reserved: it is kept for it.
func (s stock) reserve(c *pb.Reserve) (holdfast.Events, error) {
	switch has := s.heldFor(c.Order); {
	case c.Order == "":
		return nil, holdfast.Reject("invalid_order", "goods are reserved for an order: say for which")
	case c.Quantity <= 0:
		return nil, invalidQuantity(c.Quantity)
	case has == c.Quantity:
		return nil, nil
	case has > 0:
		return nil, holdfast.Reject("already_reserved", "the order %s has %d reserved, and not %d", c.Order, has, c.Quantity)
	case c.Quantity > s.free:
		return nil, holdfast.Reject("out_of_stock", "%d are free, which is less than %d", s.free, c.Quantity)
	}
	return holdfast.Events{&pb.StockReserved{Order: c.Order, Quantity: c.Quantity}}, nil
}

// release finds nothing to do when the order has nothing reserved.
func (s stock) release(c *pb.Release) (holdfast.Events, error) {
	has := s.heldFor(c.Order)
	if has == 0 {
		return nil, nil
	}
	return holdfast.Events{&pb.StockReleased{Order: c.Order, Quantity: has}}, nil
}

// takeOut finds nothing to do when the order has nothing reserved: it has left before.
func (s stock) takeOut(c *pb.TakeOut) (holdfast.Events, error) {
	has := s.heldFor(c.Order)
	if has == 0 {
		return nil, nil
	}
	return holdfast.Events{&pb.StockTakenOut{Order: c.Order, Quantity: has}}, nil
}

func invalidQuantity(n int64) error {
	return holdfast.Reject("invalid_quantity", "the quantity is %d; it must be positive", n)
}

// heldFor is how much an order has reserved.
func (s stock) heldFor(order string) int64 {
	for _, r := range s.held {
		if r.order == order {
			return r.quantity
		}
	}
	return 0
}

// total is what was ever added.
func (s stock) total() int64 {
	n := s.free + s.gone
	for _, r := range s.held {
		n += r.quantity
	}
	return n
}

func (s stock) added(e *pb.StockAdded) stock {
	s.free += e.Quantity
	return s
}

func (s stock) reserved(e *pb.StockReserved) stock {
	s.free -= e.Quantity
	s.held = append(slices.Clip(s.held), reservation{order: e.Order, quantity: e.Quantity})
	return s
}

func (s stock) released(e *pb.StockReleased) stock {
	s.free += e.Quantity
	return s.without(e.Order)
}

func (s stock) takenOut(e *pb.StockTakenOut) stock {
	s.gone += e.Quantity
	return s.without(e.Order)
}

// without copies what is held: two states never share what one of them changes.
func (s stock) without(order string) stock {
	s.held = slices.DeleteFunc(slices.Clone(s.held), func(r reservation) bool { return r.order == order })
	return s
}

func (s stock) save() *pb.Stock {
	p := &pb.Stock{Free: s.free, Gone: s.gone}
	for _, r := range s.held {
		p.Reserved = append(p.Reserved, &pb.Reservation{Order: r.order, Quantity: r.quantity})
	}
	return p
}

func loadStock(p *pb.Stock) stock {
	s := stock{free: p.Free, gone: p.Gone}
	for _, r := range p.Reserved {
		s.held = append(s.held, reservation{order: r.Order, quantity: r.Quantity})
	}
	return s
}
