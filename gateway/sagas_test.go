package gateway_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/examples/shop"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/sagas"
)

// deaf is a saga that clients send nothing.
var deaf = sagas.Define("deaf", sagas.On("account",
	func(*bankpb.Deposited, sagas.Source) string { return "" },
	func(s struct{}, _ *bankpb.Deposited, _ sagas.Source) sagas.Then { return sagas.Then{} }))

// What nodes and operators tell a saga is no command of a client's: one could say that a
// step was done which was not. What it shows is there for all.
func TestSagasTakeTheCommandsOfTheirTeamOnly(t *testing.T) {
	t.Parallel()
	checkout := shop.Checkout.Type()
	w := setup(t, func(c *gateway.Config) { c.Types = append(c.Types, checkout, deaf.Type()) })
	for _, def := range []holdfast.Definition{checkout, deaf.Type()} {
		w.ledger.types[def.Name()] = def
	}
	const order = `{"customer":"ada","sku":"tea","quantity":1,"amount":1,"card":"tok","address":"here"}`
	w.accepted(t, "bank.cmd.checkout.o-1.Checkout", order)
	sent := w.ledger.calls()
	internal := 0
	for _, name := range checkout.Commands() {
		if name == "Checkout" {
			continue
		}
		internal++
		reply := w.ask(t, "bank.cmd.checkout.o-1."+name, `{}`)
		refused(t, reply, "404", "type checkout knows no command "+name+": there are Checkout")
		if text := reply.Header.Get("Nats-Service-Error"); strings.Count(text, "Saga") > 1 {
			t.Errorf("it names what clients may not send: %s", text)
		}
	}
	check(t, "internal commands", internal, 9)
	refused(t, w.ask(t, "bank.cmd.deaf.o-1.SagaForce", `{}`), "404", "type deaf knows no command SagaForce: there are none for clients")
	check(t, "commands that arrived", w.ledger.calls(), sent)
	info := discover[micro.Info](t, w, "INFO")
	check(t, "described commands", info.Endpoints[0].Metadata["commands.checkout"], "Checkout")
	check(t, "described commands of one without", info.Endpoints[0].Metadata["commands.deaf"], "")

	if got := string(w.accepted(t, "bank.get.checkout.o-1", "").Data); !strings.Contains(got, `"status":"running"`) {
		t.Errorf("get shows %s", got)
	}
	if got := string(w.accepted(t, "bank.history.checkout.o-1", "").Data); !strings.Contains(got, `"type":"holdfast.v1.SagaIntended"`) {
		t.Errorf("history shows %s", got)
	}
}
