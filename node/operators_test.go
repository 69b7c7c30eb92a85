package node_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

// startDesk puts a desk beside a node.
func startDesk(t *testing.T, n *node.Node, data string, types []holdfast.Definition) *desk.List {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	admin, err := natsd.ReadAdmin(data)
	must(err)
	nc, err := natsd.Dial(admin.URL, nats.UserInfo(admin.User, admin.Password))
	must(err)
	t.Cleanup(nc.Close)
	store, err := jetstream.Open(ctx, jetstream.Config{Context: "demo", Existing: true, Read: []*nats.Conn{nc}, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	t.Cleanup(store.Close)
	list, err := desk.Open(ctx, desk.ListConfig{Context: "demo", Conn: nc})
	must(err)
	book, err := sagas.NewBook(types, shop.Checkout)
	must(err)
	d, err := desk.Start(desk.Config{
		Context: "demo", Conn: nc, Book: book, List: list, Sender: n.Sender(), Viewer: n.Viewer(), Reader: store,
		Logger: slog.New(slog.DiscardHandler),
	})
	must(err)
	t.Cleanup(func() { must(d.Stop(context.Background())) })
	return list
}

// What an operator sees of sagas, and does to them, on the machine of a node.
func TestSagas(t *testing.T) {
	types := []holdfast.Definition{shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail}
	c := config(t)
	c.Types = append([]holdfast.Definition{shop.Checkout.Type()}, types...)
	check := func(code int, says string, args ...string) {
		t.Helper()
		args = append([]string{"sagas"}, args...)
		if out, errs, got := run(append(args, "--data", c.Data)...); got != code || !strings.Contains(out+errs, says) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
	check(cli.ExitFailure, "no node runs on the folder "+c.Data+": name it with --data, or the external NATS server with --nats")
	n := start(t, c)
	eventually(t, cli.ExitFailure, []string{"no node of the context demo (--context) at " + c.Data + " (--data) sees to sagas"}, "sagas", "--data", c.Data, "--timeout", "600ms")
	list := startDesk(t, n, c.Data, types)
	check(cli.ExitOK, "SAGA  STATUS")
	ref := holdfast.Ref{Type: "checkout", ID: "o.1"}
	order := &pb.Checkout{Customer: "ada", Sku: "tea", Quantity: 1, Amount: 1, Card: "tok", Address: "here"}
	sent(t, n, ref, order, holdfast.Meta{})
	if err := list.Add(t.Context(), ref, time.Now()); err != nil {
		t.Fatal(err)
	}
	check(cli.ExitOK, "checkout/o=2E1  running  0/7")
	check(cli.ExitOK, `"ref":"checkout/o=2E1"`, "--json", "--status", "running", "--older-than", "0s")
	check(cli.ExitFailure, "unknown: saga order is unknown: there are checkout", "--saga", "order")
	check(cli.ExitOK, "sends PlaceOrder to order/o=2E1", "show", "checkout/o.1")
	check(cli.ExitOK, `"timeline":[`, "show", "checkout/o=2E1", "--encoded", "--json")
	check(cli.ExitFailure, "nothing has happened to checkout/o-2", "show", "checkout/o-2")
	check(cli.ExitRejected, "under_way: the command of \"order\" is on its way", "retry", "checkout/o.1", "order", "--reason", "it takes long")
	check(cli.ExitUsage, "--reason: say why", "cancel", "checkout/o.1")
	check(cli.ExitOK, "checkout/o=2E1: cancel, by ann; it is compensating", "cancel", "checkout/o.1", "--reason", "enough", "--as", "ann")
	check(cli.ExitOK, "an operator's cancel: enough, by ann", "show", "checkout/o.1")
	eventually(t, cli.ExitFailure, []string{`the context other (--context)`}, "sagas", "--data", c.Data, "--context", "other", "--timeout", "600ms")
	check(cli.ExitUsage, "--context: context", "--context", "Other")

	completes(t, "Checkout\n:4\n", "send", "--server", n.ClientURL(), "checkout/o.1", "")

	// A client does not become an operator by asking as one.
	out, errs, code := run("sagas", "--nats", n.ClientURL(), "--context", "demo")
	if code != cli.ExitFailure || !strings.Contains(errs, "does not let this login ask the context demo") {
		t.Errorf("as a client: exit code %d:\n%s%s", code, out, errs)
	}
	if out, errs, code := run("sagas", "--nats", "nats://127.0.0.1:1"); code != cli.ExitFailure || !strings.Contains(errs, "connect to nats://127.0.0.1:1") {
		t.Errorf("of nobody: exit code %d:\n%s%s", code, out, errs)
	}
	completes(t, "checkout/o.1\n:4\n", "sagas", "show", "--data", c.Data, "")
}
