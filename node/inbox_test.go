package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
)

// leave leaves commands in the inbox of a node, and gives their outcomes by their ids, of which
// there must be as many as commands.
func leave(t *testing.T, data string, begin, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin, err := natsd.ReadAdmin(data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsd.Dial(admin.URL, nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := nc.SubscribeSync("demo.outcome.>")
	if err != nil {
		t.Fatal(err)
	}
	for i := begin; i < begin+n; i++ {
		command, body := "Deposit", `{"amount":1}`
		if i == 0 {
			command, body = "OpenAccount", `{"owner":"Ada"}`
		}
		ack, err := js.Publish(ctx, "demo.inbox.account.ada."+command, []byte(body), jetstream.WithMsgID(fmt.Sprint("c-", i)))
		if err != nil || ack.Stream != "DEMO_INBOX" {
			t.Fatalf("command %d is answered with %+v, %v", i, ack, err)
		}
	}
	seen := map[string]bool{}
	for i := begin; i < begin+n; i++ {
		m, err := outcomes.NextMsgWithContext(ctx)
		for err == nil && seen[m.Subject] { // published again, as its acknowledgement was late; the stream has it once
			m, err = outcomes.NextMsgWithContext(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Subject] = true
		if want := fmt.Sprint("demo.outcome.c-", i); m.Subject != want || m.Header.Get("Nats-Service-Error") != "" {
			t.Fatalf("outcome %s is %v %s, want that of %s", m.Subject, m.Header, m.Data, want)
		}
	}
}

// Commands that are left in the inbox take effect once and in order, also after a restart.
func TestInbox(t *testing.T) {
	c := config(t)
	n := start(t, c)
	leave(t, c.Data, 0, 20)
	stop(t, n)
	n = start(t, c)
	leave(t, c.Data, 20, 20)
	balance(t, n, 39)
}

func balance(t *testing.T, n *node.Node, want int64) {
	t.Helper()
	if b := view[*bankpb.Account](t, n, "account", "ada").Balance; b != want {
		t.Errorf("the balance is %d, want %d", b, want)
	}
}
