package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/messages"
)

// everyWrite is a stream that records whatever reaches the subjects of the log. The
// gateway may publish there, so that nothing but the gateway itself keeps it from it.
func everyWrite(t *testing.T) (*world, func() uint64) {
	t.Helper()
	var node *nats.Conn
	w := setup(t, func(c *gateway.Config) { node = c.Conn })
	trusted := w.node(t)
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	node.Close()
	var err error
	w.gateway, err = gateway.Start(w.config(trusted))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(w.node(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "EVERY", Subjects: []string{"bank.log.>", "bank.snap.>", "shop.log.>", "shop.evt.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return w, func() uint64 {
		info, err := s.Info(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	}
}

func TestReplySubjectsThatNameALog(t *testing.T) {
	t.Parallel()
	w, written := everyWrite(t)
	node := w.node(t)
	replies := []string{
		"bank.log.0.account.a-1", "bank.snap.account.a-1", "bank.get.account.a-1", "bank", "shop.log.0.order.o-1", "shop.evt.order.o-1.OrderPlaced",
		"$JS.API.STREAM.DELETE.EVERY", "$KV.bucket.key", "$SYS.x", "a.*.b", ">",
	}
	for _, reply := range replies {
		if err := node.PublishRequest(deposit, reply, []byte(`{"amount":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := node.PublishRequest("bank.get.account.a-1", reply, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		if n := w.gateway.Stats(messages.KindCommand).Forbidden + w.gateway.Stats(messages.KindGet).Forbidden; n != uint64(2*len(replies)) {
			return fmt.Errorf("%d of %d: %w", n, 2*len(replies), errNotYet)
		}
		return nil
	})
	check(t, "written", written(), 0)
	check(t, "commands", w.ledger.calls(), 0)
	if !strings.Contains(w.journal.String(), "reply=bank.log.0.account.a-1") {
		t.Error("the log does not tell the reply subject")
	}
	reply, err := node.Request(deposit, []byte(`{"amount":1}`), patient)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "an inbox is answered", reply.Header.Get("Holdfast-Version"), "1")
}

// A client in the other account hears no answer there either, and none is written.
func TestReplySubjectOfAClient(t *testing.T) {
	t.Parallel()
	w, written := everyWrite(t)
	if err := w.client.PublishRequest(deposit, "bank.log.0.account.a-1", []byte(`{"amount":1}`)); err != nil {
		t.Fatal(err)
	}
	w.accepted(t, "bank.cmd.account.a-2.Deposit", `{"amount":1}`)
	eventually(t, func() error {
		if n := w.gateway.Stats(messages.KindCommand).Requests; n != 2 {
			return fmt.Errorf("%d of 2: %w", n, errNotYet)
		}
		return nil
	})
	check(t, "written", written(), 0)
}

func TestNoReplySubject(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if err := w.client.Publish(deposit, []byte(`{"amount":1}`)); err != nil {
		t.Fatal(err)
	}
	w.accepted(t, "bank.cmd.account.a-2.Deposit", `{"amount":1}`)
	check(t, "ignored", w.gateway.Stats(messages.KindCommand).Ignored, 1)
	check(t, "commands", w.ledger.calls(), 1)
	check(t, "version", w.version(t, "a-1"), 0)
}
