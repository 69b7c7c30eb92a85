package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/sagas"
)

// A saga begins when an event happens, whoever caused it; and once, though the node is stopped
// in between and reads the event again.
func TestEventsBeginSagas(t *testing.T) {
	c := withSagas(config(t))
	n := start(t, c)
	tell(t, n, "stock/tea", &shoppb.AddStock{Quantity: 5})
	place := func(id, address string) {
		tell(t, n, "order/"+id, &shoppb.PlaceOrder{Customer: "ada", Sku: "tea", Quantity: 1, Amount: 990, Card: "tok-1", Address: address})
	}
	place("o-1", "Savile Row")
	place("o-2", "nowhere")
	stop(t, n)
	n = start(t, c)
	place("o-3", "Savile Row")
	for id, want := range map[string]sagas.Status{"o-1": sagas.Completed, "o-2": sagas.Compensated, "o-3": sagas.Completed} {
		if s := over(t, n, "fulfilment", id); s.Status != string(want) {
			t.Errorf("%s is %s: %s", id, s.Status, s.Reason)
		}
	}
	if s := view[*shoppb.Stock](t, n, "stock", "tea"); s.Free != 3 || s.Gone != 2 {
		t.Errorf("in stock is %v", s)
	}
	once(t, n, "stock.tea", "payment.o-1", "payment.o-2", "payment.o-3")
}

func tell(t *testing.T, n *node.Node, ref string, c holdfast.Command) {
	t.Helper()
	to, err := holdfast.ParseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	sent(t, n, to, c, holdfast.Meta{})
}

// over waits until a saga has come to its end.
func over(t *testing.T, n *node.Node, typ, id string) *messages.SagaState {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		said := ""
		m, err := n.Viewer().View(t.Context(), holdfast.Ref{Type: typ, ID: id})
		if err == nil {
			s := m.State.(*messages.SagaState)
			if sagas.Status(s.Status).Final() {
				return s
			}
			said = fmt.Sprint(s)
		}
		if time.Now().After(end) {
			t.Fatalf("%s/%s is left behind: %s, %v", typ, id, said, err)
		}
		pauseFor(t, 5*time.Millisecond)
	}
}
