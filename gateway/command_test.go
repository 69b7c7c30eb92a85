package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

func TestCommandInJSON(t *testing.T) {
	t.Parallel()
	w := setup(t)

	reply := w.accepted(t, "bank.cmd.account.a=2E1.OpenAccount", `{"owner":"Ada"}`, "Nats-Msg-Id", "c-1")
	check(t, "body", string(reply.Data), `{"ref":"account/a=2E1","version":1,"position":"0-1","events":["bank.v1.AccountOpened"],"duplicate":false}`)
	check(t, "headers", fmt.Sprint(reply.Header), "map[Holdfast-Position:[0-1] Holdfast-Version:[1]]")
	check(t, "version", w.version(t, "a.1"), 1)

	reply = w.accepted(t, "bank.cmd.account.a=2E1.OpenAccount", `{"owner":"Ada"}`, "Nats-Msg-Id", "c-1")
	check(t, "body of a repetition", string(reply.Data), `{"ref":"account/a=2E1","version":1,"position":"0-1","events":["bank.v1.AccountOpened"],"duplicate":true}`)
	check(t, "headers of a repetition", fmt.Sprint(reply.Header), "map[Holdfast-Duplicate:[true] Holdfast-Position:[0-1] Holdfast-Version:[1]]")

	reply = w.accepted(t, "bank.cmd.account.a=2E1.OpenAccount", `{"owner":"Ada"}`, "Content-Type", "application/json; charset=utf-8")
	check(t, "body when nothing happens", string(reply.Data), `{"ref":"account/a=2E1","version":1,"position":"0-2","events":[],"duplicate":false}`)

	w.accepted(t, "bank.cmd.account.a=2E1.Deposit", `{"amount":100}`, "Holdfast-Expected-Version", "1")
	w.accepted(t, "bank.cmd.account.a=2E1.CloseAccount", "")
	check(t, "version", w.version(t, "a.1"), 3)
}

func TestCommandInProtobuf(t *testing.T) {
	t.Parallel()
	w := setup(t)
	body, err := proto.Marshal(&bankpb.Deposit{Amount: 5})
	if err != nil {
		t.Fatal(err)
	}
	reply := w.accepted(t, "bank.cmd.account.a-1.Deposit", string(body), "Content-Type", "application/protobuf")
	var got messages.CommandReply
	if err := proto.Unmarshal(reply.Data, &got); err != nil {
		t.Fatal(err)
	}
	want := &messages.CommandReply{Ref: "account/a-1", Version: 1, Position: "0-1", Events: []string{"bank.v1.Deposited"}}
	if !proto.Equal(&got, want) {
		t.Errorf("got %v, want %v", &got, want)
	}
	w.accepted(t, "bank.cmd.account.a-1.Deposit", "", "Content-Type", "application/protobuf")
	check(t, "version", w.version(t, "a-1"), 2)

	for _, name := range []string{"Content-Type", "content-type"} { // as HTTP's libraries may write it
		reply = w.ask(t, "bank.cmd.account.a-1.Withdraw", string(body)+"\x98\x06\x01", name, "application/protobuf", "Nats-Rollup", "all")
		var failed messages.ErrorReply
		if err := proto.Unmarshal(reply.Data, &failed); err != nil {
			t.Fatal(err)
		}
		check(t, "code", failed.Code, "malformed")
		check(t, "message", failed.Message, reply.Header.Get("Nats-Service-Error"))
	}
}

func TestCommandMeta(t *testing.T) {
	t.Parallel()
	var ids atomic.Int32
	w := setup(t, func(c *gateway.Config) {
		c.NewID = func() string { return fmt.Sprintf("fresh-%d", ids.Add(1)) }
	})
	seen := make(chan holdfast.Delivery, 1)
	w.ledger.setHook(func(_ context.Context, _ holdfast.Ref, _ holdfast.Command, d holdfast.Delivery) error {
		seen <- d
		return nil
	})
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

	w.accepted(t, "bank.cmd.account.a-1.Deposit", `{"amount":"1"}`)
	d := <-seen
	check(t, "meta without headers", d.Meta, holdfast.Meta{ID: "fresh-1", At: dawn})
	check(t, "no expectation", d.Expected == nil, true)

	w.accepted(t, "bank.cmd.account.a-1.Deposit", `{"amount":1}`, "Nats-Msg-Id", "c-1", "Holdfast-Correlation-Id", "s-1",
		"Holdfast-Causation-Id", "c-0", "Holdfast-User", "Ada Lovelace", "traceparent", trace, "Holdfast-Expected-Version", "1", "X-Other", "left alone")
	d = <-seen
	check(t, "meta", d.Meta, holdfast.Meta{ID: "c-1", CorrelationID: "s-1", CausationID: "c-0", User: "Ada Lovelace", Trace: trace, At: dawn})
	check(t, "expectation", *d.Expected, 1)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *gateway.Config) { c.NewID = func() string { return "new-id" } })
	const internal = "internal error; its reference in the node's log is new-id"
	const settle = "it may have been executed: send it again with the header Nats-Msg-Id: new-id to settle it (uncertain: no ack)"
	for _, test := range []struct {
		err           error
		status        string
		code, message string
	}{
		{holdfast.Reject("closed", "it is closed since %d", 2020), "422", "closed", "it is closed since 2020"},
		{fmt.Errorf("decide: %w", holdfast.Reject("closed", "")), "422", "closed", "closed"},
		{holdfast.Reject("Not Good", "never seen"), "500", "internal", internal},
		{holdfast.Errorf(holdfast.CodeMalformed, "m"), "400", "malformed", "m"},
		{holdfast.Errorf(holdfast.CodeUnknown, "u"), "404", "unknown", "u"},
		{holdfast.Errorf(holdfast.CodeConflict, "c"), "409", "conflict", "c"},
		{fmt.Errorf("append: %w", holdfast.Errorf(holdfast.CodeTooLarge, "t")), "413", "too_large", "t"},
		{holdfast.Errorf(holdfast.CodeOverloaded, "o"), "429", "overloaded", "o"},
		{holdfast.Errorf(holdfast.CodeCorrupt, "commit at 0-7: a gap"), "500", "corrupt", "commit at 0-7: a gap"},
		{holdfast.Errorf(holdfast.CodeUnavailable, "no server\r\nX-Forged: 1"), "503", "unavailable", "no server  X-Forged: 1"},
		{holdfast.ErrUnavailable, "503", "unavailable", "it was not executed: send it again"},
		{holdfast.Errorf(holdfast.CodeUncertain, "no ack"), "504", "uncertain", settle},
		{holdfast.Errorf(holdfast.CodeInternal, "a secret"), "500", "internal", internal},
		{holdfast.Errorf(holdfast.CodeRejected, "a secret"), "500", "internal", internal},
		{errors.New("a secret"), "500", "internal", internal},
		{holdfast.Errorf(holdfast.CodeConflict, "%s\xff", strings.Repeat("é", 300)), "409", "conflict", strings.Repeat("é", 256) + "…"},
	} {
		w.ledger.setHook(func(context.Context, holdfast.Ref, holdfast.Command, holdfast.Delivery) error { return test.err })
		reply := w.ask(t, "bank.cmd.account.a-1.Deposit", `{"amount":1}`)
		check(t, "status of "+test.message, reply.Header.Get("Nats-Service-Error-Code"), test.status)
		check(t, "sentence", reply.Header.Get("Nats-Service-Error"), test.message)
		check(t, "body", string(reply.Data), fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, test.code, test.message))
		check(t, "headers", len(reply.Header), 2)
	}
	check(t, "version", w.version(t, "a-1"), 0)
	for _, cause := range []string{"never seen", "a secret", "commit at 0-7: a gap", "reference=new-id"} {
		if !strings.Contains(w.journal.String(), cause) {
			t.Errorf("the log does not tell %q", cause)
		}
	}
}

func TestPanicOfASender(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ledger.setHook(func(context.Context, holdfast.Ref, holdfast.Command, holdfast.Delivery) error { panic("ouch") })
	reply := w.ask(t, "bank.cmd.account.a-1.Deposit", `{"amount":1}`)
	check(t, "status", reply.Header.Get("Nats-Service-Error-Code"), "500")
	reply = w.ask(t, "bank.get.account.a-1", "")
	check(t, "status", reply.Header.Get("Nats-Service-Error-Code"), "500")
	if log := w.journal.String(); !strings.Contains(log, "ouch") || !strings.Contains(log, "command_test.go") {
		t.Errorf("the log does not tell the panic and its place: %s", log)
	}
	w.underWay(t, 0)
}

func TestNamesOfEventsThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := setupOn(t, natsd.Config{MaxPayload: 4096})
	reply := w.accepted(t, "bank.cmd.account.a-1.Int32Value", "400")
	check(t, "body", string(reply.Data), `{"ref":"account/a-1","version":400,"position":"0-1","events":[],"duplicate":false}`)
}
