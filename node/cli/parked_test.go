package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

const (
	parkedCommand = `{"where":"inbox","ref":"account/a=2E1","command":"Deposit","commandId":"d-1","sequence":7,"accepted":"2026-03-15T11:00:00Z","code":"internal","reason":"internal: a bug","attempts":5,"since":"2026-03-15T11:30:00Z"`
	parkedEvent   = `{"where":"projection","projection":"orders","generation":1,"partition":0,"shard":0,"key":"order/o-1","events":3,"first":{"id":"order/o-1@3","position":"0-9","time":"2026-03-15T10:00:00Z","reason":"nobody takes 13","since":"2026-03-15T10:00:00Z","attempts":3}}`
)

// answers answers each subject with what is given for it; of others nobody hears.
func answers(by map[string]string) func(int, *nats.Msg) *nats.Msg {
	return func(_ int, m *nats.Msg) *nats.Msg {
		body, ok := by[m.Subject]
		if !ok {
			return refuse(404, "unknown", "nothing is known of "+m.Subject)
		}
		return &nats.Msg{Data: []byte(body)}
	}
}

func TestParked(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(answers(map[string]string{
		"shop.parked.list":               `{"parked":[` + parkedCommand + `}],"next":""}`,
		"shop.projections.parked":        `{"parked":[` + parkedEvent + `],"unreached":[{"projection":"days","reason":"its database is away"}]}`,
		"shop.projections.parked.orders": `{"parked":[` + parkedEvent + `]}`,
	}))
	e := tm.run("parked")
	want := `WHERE   KEY          PARKED  SINCE      TRIED  FIRST        REASON
orders  order/o-1    3       2h0m ago   3      order/o-1@3  nobody takes 13
inbox   account/a.1  1       30m0s ago  5      d-1          internal: a bug
`
	if e.code != cli.ExitOK || e.out != want || !strings.Contains(e.err, "what days has parked cannot be seen: its database is away") {
		t.Errorf("exit code %d, shown is\n%s%s\nwant\n%s", e.code, e.out, e.err, want)
	}
	if got := tm.must("parked", "--json"); got != parkedEvent+"\n"+parkedCommand+"}\n" {
		t.Errorf("in JSON it is\n%s", got)
	}
	if got := tm.must("parked", "--where", "inbox"); strings.Contains(got, "orders") || !strings.Contains(got, "inbox  account/a.1") {
		t.Errorf("of the inbox it shows\n%s", got)
	}
	if got, want := d.last(), `shop.parked.list {"after":"","limit":100}`; got != want {
		t.Errorf("asked is %s, want %s", got, want)
	}
	if got := tm.must("parked", "--where", "orders"); strings.Contains(got, "inbox") || !strings.Contains(got, "orders") {
		t.Errorf("of orders it shows\n%s", got)
	}
	if e := tm.run("parked", "--limit", "1"); strings.Count(e.out, "\n") != 2 || !strings.Contains(e.err, "1 are shown, and there may be more: see --limit") {
		t.Errorf("one of them:\n%s%s", e.out, e.err)
	}
	if e := tm.run("parked", "--where", "days"); e.code != cli.ExitFailure || !strings.Contains(e.err, "nothing is known of shop.projections.parked.days") {
		t.Errorf("of days: exit code %d, it says %q", e.code, e.err)
	}
}

// TestParkedPages: of the inbox it reads on.
func TestParkedPages(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(func(_ int, m *nats.Msg) *nats.Msg {
		next := "account/b"
		if strings.Contains(string(m.Data), `"after":"account/b"`) {
			next = ""
		}
		return &nats.Msg{Data: fmt.Appendf(nil, `{"parked":[%s}],"next":%q}`, parkedCommand, next)}
	})
	if got := tm.must("parked", "--where", "inbox"); strings.Count(got, "\n") != 3 {
		t.Errorf("shown is\n%s", got)
	}
	d.onRequest(answering(`{"parked":[` + parkedCommand + `}],"next":"x"}`)) // for ever
	if got := tm.must("parked", "--where", "inbox"); strings.Count(got, "\n") != 3 {
		t.Errorf("shown is\n%s", got)
	}
}

func TestParkedShow(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(answers(map[string]string{
		"shop.parked.show.account.a=2E1": parkedCommand + `,"user":"ada","wish":{"skip":true,"by":"otto","reason":"a mistake","at":"2026-03-15T11:59:00Z"},"data":{"amount":"7"},"behind":[{"command":"Withdraw","commandId":"w-1","sequence":8,"accepted":"2026-03-15T11:10:00Z"}],"more":true}`,
		"shop.parked.show.account.b":     parkedCommand + `,"data":null,"behind":[],"more":false}`,
	}))
	want := `inbox account/a.1: Deposit is parked
d-1  Deposit, accepted 2026-03-15T11:00:00Z (1h0m ago)
    by ada
    failed: internal: a bug; tried 5 times, parked 2026-03-15T11:30:00Z (30m0s ago)
    ordered by otto 2026-03-15T11:59:00Z (1m0s ago), and not done yet: to be skipped: a mistake
    {"amount":"7"}
w-1  Withdraw, accepted 2026-03-15T11:10:00Z (50m0s ago)
and more
`
	if got := tm.must("parked", "show", "inbox", "account/a.1"); got != want {
		t.Errorf("shown is\n%s\nwant\n%s", got, want)
	}
	if got := tm.must("parked", "show", "inbox", "account/b"); !strings.Contains(got, "    this build does not know it\n") {
		t.Errorf("shown is\n%s", got)
	}
	if got := tm.must("parked", "show", "inbox", "account/a.1", "--json"); !strings.HasPrefix(got, parkedCommand+`,"user":"ada"`) {
		t.Errorf("in JSON it is\n%s", got)
	}
	d.onRequest(answering(`{"key":` + parkedEvent + `,"events":[{"id":"order/o-1@3","type":"shop.v1.OrderPlaced","time":"2026-03-15T10:00:00Z","reason":"nobody takes 13","since":"2026-03-15T10:00:00Z","attempts":3,"data":{"n":1}}]}`))
	if got := tm.must("parked", "show", "orders", "order/o-1"); !strings.Contains(got, "orders order/o-1: 3 parked, generation 1\norder/o-1@3  OrderPlaced") {
		t.Errorf("shown is\n%s", got)
	}
	if got, want := d.last(), `shop.projections.parked.orders {"key":"order/o-1","limit":1000}`; got != want {
		t.Errorf("asked is %s, want %s", got, want)
	}
}

func TestParkedActs(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	done := func(done bool, parked string) string {
		return fmt.Sprintf(`{"ref":"account/a=2E1","commandId":"d-1","done":%v,"parked":%s}`, done, parked)
	}
	for _, c := range []struct{ args, answer, asked, says string }{
		{"retry inbox account/a.1", done(true, "null"), `shop.parked.retry.account.a=2E1 ann {}`, "inbox account/a.1 d-1: retry, by ann; nothing is parked any more\n"},
		{"retry inbox account/a.1", done(true, parkedCommand+"}"), `shop.parked.retry.account.a=2E1 ann {}`, "inbox account/a.1 d-1: retry, by ann; d-1 is parked: internal: a bug\n"},
		{"retry inbox account/a.1", done(false, parkedCommand+"}"), `shop.parked.retry.account.a=2E1 ann {}`, "inbox account/a.1 d-1: retry, by ann; it is ordered, and not done yet: see 'parked'\n"},
		{"skip inbox account/a.1 d-1 --reason nobody", done(true, "null"), `shop.parked.skip.account.a=2E1 ann {"commandId":"d-1","reason":"nobody"}`, "inbox account/a.1 d-1: skip, by ann; nothing is parked any more\n"},
		{"skip orders order/o-1@3 --reason nobody", `{"projection":{"name":"orders"},"done":true}`, `shop.projections.skip.orders ann {"event":"order/o-1@3","generation":0,"reason":"nobody"}`, "orders order/o-1@3: skip, by ann; nothing is parked any more\n"},
		{"retry orders order/o-1", `{"projection":{"name":"orders"},"done":true,"left":2}`, `shop.projections.retry.orders ann {"all":false,"generation":0,"key":"order/o-1"}`, "orders order/o-1: retry, by ann; keys with parked events: 2\n"},
		{"retry orders --all", `{"projection":{"name":"orders"}}`, `shop.projections.retry.orders ann {"all":true,"generation":0}`, "orders: retry, by ann; it is ordered, and not done yet: see 'parked'\n"},
	} {
		d.onRequest(answering(c.answer))
		args := append([]string{"parked"}, append(strings.Fields(c.args), "--as", "ann")...)
		if got := tm.must(args...); got != c.says {
			t.Errorf("%s: it says %s, want %s", c.args, got, c.says)
		}
		if got := d.last(); got != c.asked {
			t.Errorf("%s: asked is %s, want %s", c.args, got, c.asked)
		}
	}
	d.onRequest(answering(done(true, "null")))
	if got := tm.must("parked", "retry", "inbox", "account/a.1", "--as", "ann", "--json"); got != done(true, "null")+"\n" {
		t.Errorf("in JSON it is %s", got)
	}
}

func TestWrongParked(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, nil)
	for args, want := range map[string]string{
		"orders":                                 `unknown command "orders"`,
		"--limit 0":                              "--limit 0: want 1 to 1000",
		"--where Orders":                         "--where: want inbox, or the name of a projection",
		"show Orders order/o-1":                  "WHERE: want inbox, or the name of a projection",
		"show inbox account":                     `KEY: ref "account": want type/id`,
		"show inbox":                             "accepts 2 arg(s), received 1",
		"retry inbox":                            "KEY: name one, or give --all",
		"retry inbox --all":                      "--all, --generation: they are of a projection, and the inbox is none",
		"retry inbox account/a --generation 2":   "--all, --generation: they are of a projection, and the inbox is none",
		"retry inbox a":                          "KEY: ref",
		"retry orders":                           "KEY: name one, or give --all",
		"skip inbox account/a --reason x":        "COMMAND-ID: name the command to leave out, as 'parked show inbox account/a' shows it",
		"skip inbox account/a d-1":               "--reason: say why",
		"skip orders order/o-1@3":                "--reason: say why",
		"skip orders order/o-1@3 d-1 --reason x": "d-1: nothing follows the EVENT of a projection",
		"skip inbox a d-1 --reason x":            "KEY: ref",
		"skip inbox account/a d-1 --reason x --generation 1": "--generation: it is of a projection",
	} {
		e := tm.run(append([]string{"parked"}, strings.Fields(args)...)...)
		if e.code != cli.ExitUsage || !strings.Contains(e.err, want) {
			t.Errorf("%s: exit code %d, it says %q, want %q", args, e.code, e.err, want)
		}
	}
}

func TestInboxAndFeed(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	waits := `{"waiting":12,"oldest":"2026-03-15T11:30:00Z","parked":2}`
	feed := `{"partition":0,"holder":"n1","here":true,"position":"0-7","last":"0-9","behind":2,"late":1.5,"unread":4,"error":"no space"}`
	d.onRequest(answers(map[string]string{
		"shop.parked.status": waits,
		"shop.feed.status": `{"partitions":[` + feed + `,{"partition":1,"holder":"n2","here":false,"position":"1-7","last":"1-8","behind":1,"late":0.1,"unread":0},` +
			`{"partition":2,"holder":"","here":false,"position":"2-7","last":"2-7","behind":0,"late":0,"unread":0}]}`,
	}))
	if got, want := tm.must("inbox"), "WAITING  OLDEST     PARKED\n12       30m0s ago  2\n"; got != want {
		t.Errorf("shown is\n%s\nwant\n%s", got, want)
	}
	if got := tm.must("inbox", "--json"); got != waits+"\n" {
		t.Errorf("in JSON it is %s", got)
	}
	want := `PARTITION  POSITION  BEHIND  LATE   UNREAD  HOLDER  ERROR
0          0-7       2       1.5s   4       n1      no space
1          1-7       1       100ms  ?       n2      ask where n2 runs, or see its log
2          2-7       0              ?               no node writes it
`
	if got := tm.must("feed"); got != want {
		t.Errorf("shown is\n%s\nwant\n%s", got, want)
	}
	if got := tm.must("feed", "--json"); !strings.HasPrefix(got, feed+"\n") || strings.Count(got, "\n") != 3 {
		t.Errorf("in JSON it is\n%s", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return refuse(503, "unavailable", "the log is away: ask again") })
	if e := tm.run("feed", "--timeout", "30s"); e.code != cli.ExitFailure || !strings.Contains(e.err, "the log is away") {
		t.Errorf("exit code %d, it says %q", e.code, e.err)
	}
}
