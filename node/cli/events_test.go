package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

const twoEvents = `{"events":[
 {"position":"0-4","id":"order/o-1@1","ref":"order/o-1","version":1,"event":"shop.v1.OrderPlaced","time":"2026-03-15T09:26:53Z","user":"ada","command":"shop.v1.PlaceOrder","commandId":"c-1","correlationId":"c-1","causationId":""},
 {"position":"0-9","id":"order/o-1@2","ref":"order/o-1","version":2,"event":"shop.v1.OrderConfirmed","time":"2026-03-15T09:26:54Z","user":"","command":"shop.v1.ConfirmOrder","commandId":"checkout/o-1:confirm","correlationId":"c-1","causationId":"checkout/o-1@9"}],"next":%q}`

func answering(body string) func(int, *nats.Msg) *nats.Msg {
	return func(int, *nats.Msg) *nats.Msg { return &nats.Msg{Data: []byte(body)} }
}

func TestEvents(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(answering(fmt.Sprintf(twoEvents, "")))
	want := strings.Join([]string{
		"TIME                  ID           EVENT           USER  COMMAND       COMMAND ID",
		"2026-03-15T09:26:53Z  order/o-1@1  OrderPlaced     ada   PlaceOrder    c-1",
		"2026-03-15T09:26:54Z  order/o-1@2  OrderConfirmed        ConfirmOrder  checkout/o-1:confirm",
		"",
	}, "\n")
	if got := tm.must("events"); got != want {
		t.Errorf("shown is\n%s\nwant\n%s", got, want)
	}
	if got, want := d.last(), `shop.index.events {"after":"","limit":100}`; got != want {
		t.Errorf("asked is %s, want %s", got, want)
	}
	if got := tm.must("events", "--json"); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, `{"position":"0-4",`) {
		t.Errorf("in JSON it is\n%s", got)
	}
	tm.must("events", "--type", "OrderPlaced", "--ref", "order/a b", "--since", "90m", "--until", "2026-03-15", "--correlation", "x", "--causation", "y", "--user", "ada", "--command", "z", "--limit", "5")
	if got, want := d.last(), `shop.index.events {"after":"","causationId":"y","commandId":"z","correlationId":"x","event":"OrderPlaced","limit":5,"ref":"order/a=20b",`+
		`"since":"2026-03-15T10:30:00Z","until":"2026-03-15T00:00:00Z","user":"ada"}`; got != want {
		t.Errorf("asked is\n%s, want\n%s", got, want)
	}
}

// TestEventsPages: it reads on as long as it may, and says when it may not.
func TestEventsPages(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(func(_ int, m *nats.Msg) *nats.Msg {
		next := "more"
		if strings.Contains(string(m.Data), `"after":"more"`) {
			next = ""
		}
		return &nats.Msg{Data: fmt.Appendf(nil, twoEvents, next)}
	})
	if got := tm.must("events", "--all"); strings.Count(got, "\n") != 5 {
		t.Errorf("shown is\n%s", got)
	}
	if e := tm.run("events", "--limit", "2"); !strings.Contains(e.err, "2 are shown, and there are more: --all shows all of them") {
		t.Errorf("it says %q", e.err)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return &nats.Msg{Data: fmt.Appendf(nil, twoEvents, "more")} })
	if e := tm.run("events", "--all"); e.code != cli.ExitFailure || !strings.Contains(e.err, "the node names it as the next") {
		t.Errorf("exit code %d, it says %q", e.code, e.err)
	}
}

func TestWrongEvents(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, nil)
	for _, c := range []struct{ args, want string }{
		{"--limit 0", "--limit 0: want at least 1, or --all"},
		{"--since yesterday", `--since: "yesterday": want a day as 2026-03-14, a time as 2026-03-14T09:26:53Z, or how long ago as 90m`},
		{"--until -3h", `--until: "-3h": want a day`},
		{"--ref Order/o-1", "want a small letter"},
		{"order/o-1", "unknown command"},
	} {
		e := tm.run(append([]string{"events"}, strings.Fields(c.args)...)...)
		if e.code != cli.ExitUsage || !strings.Contains(e.err, c.want) {
			t.Errorf("%s: exit code %d, it says %q, want %q", c.args, e.code, e.err, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(answering(`{"because":"mail-7","command":{"id":"c-1","name":"shop.v1.Checkout","ref":"checkout/o-1","user":"ada","time":"2026-03-15T09:26:53Z",
 "events":[{"id":"checkout/o-1@1","event":"holdfast.v1.SagaBegun"},
  {"id":"checkout/o-1@2","event":"holdfast.v1.SagaIntended","caused":[
   {"id":"checkout/o-1:pay","name":"shop.v1.Capture","ref":"payment/o-1","user":"ada","time":"2026-03-15T09:26:54Z","events":[{"id":"payment/o-1@1","event":"shop.v1.PaymentCaptured"}]},
   {"id":"r","name":"holdfast.v1.SagaReport","ref":"checkout/o-1","time":"2026-03-15T09:26:55Z","events":[{"id":"checkout/o-1@3","event":"holdfast.v1.SagaAnswered"}]}]}],
 "caused":[{"id":"d","name":"bank.v1.Deposit","ref":"account/a","time":"2026-03-15T09:26:56Z","events":[{"id":"account/a@2","event":"bank.v1.Deposited"}]}]},"cut":true}`))
	want := `2026-03-15T09:26:53Z  Checkout to checkout/o-1 for ada  c-1
├─ SagaBegun  checkout/o-1@1
├─ SagaIntended  checkout/o-1@2
│  ├─ 2026-03-15T09:26:54Z  Capture to payment/o-1 for ada  checkout/o-1:pay
│  │  └─ PaymentCaptured  payment/o-1@1
│  └─ 2026-03-15T09:26:55Z  SagaReport to checkout/o-1  r
│     └─ SagaAnswered  checkout/o-1@3
└─ 2026-03-15T09:26:56Z  Deposit to account/a  d
   └─ Deposited  account/a@2
because of mail-7
there is more than is told here: explain a command within it
`
	if got := tm.must("explain", "c-1"); got != want {
		t.Errorf("told is\n%s\nwant\n%s", got, want)
	}
	if got, want := d.last(), `shop.index.explain {"commandId":"c-1"}`; got != want {
		t.Errorf("asked is %s, want %s", got, want)
	}
	if got := tm.must("explain", "c-1", "--json"); !strings.HasPrefix(got, `{"because":"mail-7"`) {
		t.Errorf("in JSON it is\n%s", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return refuse(404, "unknown", "the index has no event") })
	if e := tm.run("explain", "c-2"); e.code != cli.ExitFailure || !strings.Contains(e.err, "the index has no event") {
		t.Errorf("exit code %d, it says %q", e.code, e.err)
	}
	if e := tm.run("explain", "a b"); e.code != cli.ExitUsage {
		t.Errorf("exit code %d, it says %q", e.code, e.err)
	}
}
