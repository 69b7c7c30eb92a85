// Command node is the reference node: it serves the bundled examples, and has the
// operator's commands.
package main

import (
	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/coop"
	"github.com/holdfast-run/holdfast/examples/shop"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/sagas"
)

var domain = node.Domain{
	Name: "node",
	Types: []holdfast.Definition{
		bank.Account,
		coop.Family,
		shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail,
	},
	Sagas: []*sagas.Saga{bank.Transfer, shop.Checkout, shop.Fulfilment},
	Projections: []*projections.Projection{
		bank.Balances, bank.Statement,
		shop.Orders, shop.Revenue,
		coop.Overdue, coop.Classmates,
	},
}

func main() { node.Main(domain, demoCommand(), bench.Command(cli.Standard(domain.Name))) }
