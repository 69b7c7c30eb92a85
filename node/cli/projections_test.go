package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

// Answers of the desk of projections, in short.
const (
	ordersShown = `{"name":"orders","state":"blocked","reason":"the database is\ngone","event":"order/o-1@3","form":"rows","record":{"serving":1,"building":2,"paused":{"reason":"a look","by":"ada","since":"2026-03-15T11:59:00Z"}},
"generations":[{"generation":1,"role":"serving","revision":0,"state":"blocked","reason":"the database is gone","positions":["0-42","1-7"],"behind":12,"rate":0.1,"parked":3,
"units":[{"partition":0,"shard":0,"node":"n1","state":"blocked","reason":"the database is gone","event":"order/o-1@3","position":"0-42","behind":12,"parked":3,"outbox":"nobody\u001b[31m listens"},
{"partition":1,"shard":0,"node":"n2","state":"live","position":"1-7","silent":true}]},
{"generation":2,"role":"building","revision":1,"state":"rebuilding","positions":["0-20","1-7"],"behind":900,"rate":1234.5,"left":90.4,"parked":0,"units":[]}]}`
	usersShown = `{"name":"users","state":"live","record":{"serving":4},"generations":[{"generation":4,"role":"serving","state":"live","positions":["0-1","1-2","2-3","3-4","4-5"],"behind":0}]}`
	compared   = `{"projection":{"name":"orders","record":{"serving":2}},"parked":[3,0],"comparison":{"old":{"generation":1,"rows":{"days":1,"orders":3}},"new":{"generation":2,"rows":{"orders":3}},
"same":false,"sampled":6,"of":1,"differ":2,"examples":[{"table":"orders","key":"o-1","old":{"n":1},"new":{"n":2}},{"key":"\u202ex","old":null,"new":"long"}]}}`
	same = `{"projection":{"name":"orders","record":{"serving":1,"building":2,"last":2}},"comparison":{"old":{"generation":1,"rows":{"":3}},"new":{"generation":2,"rows":{"":3}},"same":true,"sampled":3,"of":1}}`
)

// answering has the desk answer what is asked on a subject, without its beginning.
func (d *stubDesk) answering(answers map[string]string) {
	d.onRequest(func(_ int, m *nats.Msg) *nats.Msg {
		verb := strings.TrimPrefix(m.Subject, "shop.projections.")
		if text, ok := answers[verb]; ok {
			return &nats.Msg{Data: []byte(strings.ReplaceAll(text, "\n", ""))}
		}
		return refuse(404, "unknown", "nobody has thought of "+verb)
	})
}

func goldenProjections(t *testing.T, name, got string) {
	t.Helper()
	golden(t, "../projections/"+name, got)
}

func TestProjectionsHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{
		"projections", "projections show", "projections pause", "projections resume", "projections reset", "projections rebuild",
		"projections compare", "projections switch", "projections back", "projections drop", "projections verify",
	} {
		args := strings.Fields(verb + " --help")
		goldenProjections(t, strings.ReplaceAll(verb, " ", "-")+".help", newTerminal(t, nil).must(args...))
	}
}

func TestProjectionsShown(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.answering(map[string]string{
		"list": `{"projections":[` + ordersShown + `,` + usersShown + `]}`, "show.orders": `{"projection":` + ordersShown + `}`,
	})
	goldenProjections(t, "list.txt", tm.must("projections"))
	if got := tm.must("projections", "--json"); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, `{"name":"orders","state":"blocked"`) {
		t.Errorf("in JSON it is\n%s", got)
	}
	goldenProjections(t, "show.txt", tm.must("projections", "show", "orders"))
	if got := tm.must("projections", "show", "orders", "--json"); !strings.HasPrefix(got, `{"projection":{"name":"orders"`) {
		t.Errorf("in JSON it is\n%s", got)
	}
	if got := tm.run("projections", "show", "users"); got != (ending{1, "", "error: users: unknown: nobody has thought of show.users\n"}) {
		t.Errorf("of an unknown one: %+v", got)
	}
	for args, want := range map[string]string{
		"projections show ": "orders\nusers\n:4\n", "projections show orders ": ":4\n", "projections rebuild ": "orders\nusers\n:4\n",
	} {
		tm.completes(want, strings.Split(args, " ")...)
	}
}

func TestProjectionActs(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	state := `{"projection":{"name":"orders","record":{"serving":3}},"generation":2`
	d.answering(map[string]string{
		"pause.orders": state + "}", "resume.orders": state + "}", "reset.orders": state + "}", "back.orders": state + "}", "drop.orders": state + "}",
		"rebuild.orders": state + "}", "compare.orders": same, "switch.orders": compared,
		"retry.orders": state + `,"order":1,"done":true,"left":2}`, "skip.orders": state + `,"order":1}`,
	})
	for _, c := range []struct{ args, asked, says string }{
		{"projections pause orders --reason why", `shop.projections.pause.orders ann {"reason":"why"}`, "orders: pause, by ann\n"},
		{"projections resume orders", `shop.projections.resume.orders ann `, "orders: resume, by ann\n"},
		{"projections reset orders --to 0-42", `shop.projections.reset.orders ann {"to":"0-42"}`, "orders: reset, by ann\n"},
		{"projections reset orders --to 2026-03-14T09:26:53Z", `shop.projections.reset.orders ann {"to":"2026-03-14T09:26:53Z"}`, "orders: reset, by ann\n"},
		{"projections back orders", `shop.projections.back.orders ann `, "orders: back, by ann; generation 3 serves\n"},
		{"projections drop orders", `shop.projections.drop.orders ann {"generation":0}`, "orders: drop, by ann; generation 2 is dropped\n"},
		{"projections drop orders --generation 2", `shop.projections.drop.orders ann {"generation":2}`, "orders: drop, by ann; generation 2 is dropped\n"},
		{"projections rebuild orders", `shop.projections.rebuild.orders ann `, "orders: generation 2 is being built, by ann\n"},
		{"projections compare orders", `shop.projections.compare.orders ann `, "TABLE      GENERATION 1  GENERATION 2\ndocuments  3             3\nThey are the same.\n"},
		{"projections switch orders --force", `shop.projections.switch.orders ann {"force":true}`, "TABLE        GENERATION 1  GENERATION 2\ndays         1             0\norders       3             3\nparked keys  3             0\n" +
			"orders o-1: {\"n\":1}, and now {\"n\":2}\n\\u202ex: null, and now \"long\"\nThey are not the same: 2 of 6 rows differ.\norders: switch, by ann; generation 2 serves\n"},
		{"parked retry orders order/o-1", `shop.projections.retry.orders ann {"all":false,"generation":0,"key":"order/o-1"}`, "orders order/o-1: retry, by ann; keys with parked events: 2\n"},
		{"parked retry orders --all --generation 2", `shop.projections.retry.orders ann {"all":true,"generation":2}`, "orders: retry, by ann; keys with parked events: 2\n"},
		{"parked skip orders order/o-1@3 --reason why", `shop.projections.skip.orders ann {"event":"order/o-1@3","generation":0,"reason":"why"}`, "orders order/o-1@3: skip, by ann; it is ordered, and not done yet: see 'parked'\n"},
	} {
		args := append(strings.Fields(c.args), "--as", "ann")
		if got := tm.run(args...); got != (ending{0, c.says, ""}) || d.last() != c.asked {
			t.Errorf("%s: got %+v\nasked is %s", c.args, got, d.last())
		}
		if got := tm.run(append(args, "--json")...); got.code != 0 || !strings.HasPrefix(got.out, `{"projection":{"name":"orders"`) || strings.Count(got.out, "\n") != 1 {
			t.Errorf("%s --json: got %+v", c.args, got)
		}
	}
}

// building has the desk build a generation, which is ready when it has been looked at often
// enough.
func (d *stubDesk) building(looks int, compared string) (verbs *[]string) {
	verbs = new([]string)
	d.onRequest(func(_ int, m *nats.Msg) *nats.Msg {
		verb := strings.TrimPrefix(m.Subject, "shop.projections.")
		*verbs = append(*verbs, verb+" "+string(m.Data))
		switch verb {
		case "show.orders":
			looks--
			state, units := "rebuilding", `{}`
			if looks == 0 {
				state = "live"
			}
			if looks > 1 {
				state, units = "stopped", "" // nobody has begun yet
			}
			return &nats.Msg{Data: fmt.Appendf(nil, `{"projection":{"name":"orders","record":{"serving":1,"building":2,"last":2},"generations":[{"generation":2,"state":%q,"behind":%d,"units":[%s]}]}}`, state, looks, units)}
		case "compare.orders", "switch.orders":
			return &nats.Msg{Data: []byte(strings.ReplaceAll(compared, "\n", ""))}
		}
		return &nats.Msg{Data: []byte(`{"projection":{"name":"orders","record":{"serving":1,"building":2,"last":2}},"generation":2}`)}
	})
	return verbs
}

func TestRebuildAwaited(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.building(3, "")
	want := ending{
		0, "orders: generation 2 is ready: 'node projections switch orders' compares it and has it serve\n",
		"orders: generation 2: stopped, 2 commits behind\norders: generation 2: rebuilding, 1 commits behind\n",
	}
	if got := tm.run("projections", "rebuild", "orders", "--wait"); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if fmt.Sprint(tm.waits) != fmt.Sprint([]time.Duration{time.Second, time.Second}) {
		t.Errorf("it waits %v", tm.waits)
	}
	for want, answer := range map[string]string{
		"orders: generation 2 is not being built any more: it was dropped, or serves": `{"projection":{"record":{"serving":2,"last":2}}}`,
		"orders: generation 2 is stopped: it is foreign":                              `{"projection":{"record":{"building":2,"last":2},"generations":[{"generation":2,"state":"stopped","reason":"it is foreign","units":[{}]}]}}`,
	} {
		d.answering(map[string]string{"rebuild.orders": `{"generation":2}`, "show.orders": answer})
		if got := tm.run("projections", "rebuild", "orders", "--wait"); got != (ending{1, "", "error: " + want + "\n"}) {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
	// A node that has not heard of it yet is asked again, for a while.
	d.answering(map[string]string{"rebuild.orders": `{"generation":2}`, "show.orders": `{"projection":{"record":{"serving":1,"last":1}}}`})
	tm.waits = nil
	if got := tm.run("projections", "rebuild", "orders", "--wait"); got.code != cli.ExitFailure || len(tm.waits) != 10 {
		t.Errorf("got %+v after %d looks", got, len(tm.waits))
	}
}

// TestComparisonAwaited: it takes longer than other requests, and is not asked for again.
func TestComparisonAwaited(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	d.onRequest(func(_ int, m *nats.Msg) *nats.Msg {
		time.AfterFunc(800*time.Millisecond, func() { _ = m.Respond([]byte(same)) })
		return &nats.Msg{}
	})
	if got := d.operator().inRealTime().must("projections", "compare", "orders", "--timeout", "2s"); !strings.Contains(got, "They are the same.") {
		t.Errorf("got %s", got)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) != 1 {
		t.Errorf("it was asked %d times", len(d.asked))
	}
}

func TestVerifyProjection(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	verify := func(compared string, args ...string) (ending, string) {
		verbs := d.building(1, compared)
		got := tm.run(append([]string{"projections", "verify", "orders", "--as", "ann"}, args...)...)
		return got, strings.Join(*verbs, "; ")
	}
	got, asked := verify(same)
	if got.code != 0 || !strings.Contains(got.out, "They are the same.") || asked != `rebuild.orders ; show.orders ; compare.orders ; drop.orders {"generation":2}` {
		t.Errorf("the same: %+v, asked is %s", got, asked)
	}
	got, asked = verify(compared)
	if got.code != 1 || !strings.Contains(got.out, "2 of 6 rows differ") || got.err != "error: orders: what serves is not what the log says; --mend has what was rebuilt serve\n" ||
		!strings.HasSuffix(asked, `compare.orders ; drop.orders {"generation":2}`) {
		t.Errorf("not the same: %+v, asked is %s", got, asked)
	}
	if got, _ = verify(compared, "--json"); got.code != 1 || got.err != "" || !strings.HasPrefix(got.out, `{"projection"`) {
		t.Errorf("not the same, in JSON: %+v", got)
	}
	got, asked = verify(compared, "--mend")
	if got.code != 0 || !strings.HasSuffix(got.out, "orders: mended, by ann; generation 2 serves\n") || !strings.HasSuffix(asked, `compare.orders ; switch.orders {"force":false}`) {
		t.Errorf("mended: %+v, asked is %s", got, asked)
	}
}

func TestWrongUsageOfProjections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"projections fly", `unknown command "fly" for "node projections"`},
		{"projections --timeout 0s", "--timeout 0s: want more than nothing"},
		{"projections show", "accepts 1 arg(s), received 0"},
		{"projections show Orders", `NAME: projection "Orders": want a small letter`},
		{"projections pause orders", "--reason: say why"},
		{"projections pause orders --reason why --as \x01", "--as: it has a control character"},
		{"projections reset orders", `--to "": want a position such as 0-42, or a time`},
		{"projections reset orders --to yesterday", `--to "yesterday": want a position`},
		{"projections drop orders --generation two", `invalid argument "two"`},
		{"projections rebuild or.ders", `NAME: projection "or.ders"`},
	} {
		got := newTerminal(t, nil).run(strings.Split(c.args, " ")...)
		if got.code != cli.ExitUsage || got.out != "" || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, " --help' for usage.\n") {
			t.Errorf("node %s: got %+v\nwant exit code 2 and %q", c.args, got, c.want)
		}
	}
}
