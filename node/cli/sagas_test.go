package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

// golden compares what is shown with the file of that name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "sagas", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestSagasHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"", "show", "retry", "skip", "edit", "resume", "cancel", "force"} {
		args := strings.Fields("sagas " + verb + " --help")
		golden(t, strings.TrimSuffix("sagas-"+verb, "-")+".help", newTerminal(t, nil).must(args...))
	}
}

func TestSagasListed(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	golden(t, "list.txt", tm.must("sagas"))
	if got, want := d.last(), `shop.sagas.list {"after":"","limit":100,"olderThan":"0s","saga":"","status":null}`; got != want {
		t.Errorf("asked is %s, want %s", got, want)
	}
	if got := tm.must("sagas", "--json"); strings.Count(got, "\n") != 6 || !strings.HasPrefix(got, `{"ref":"checkout/pausing","saga":"checkout","id":"pausing","status":"running"`) {
		t.Errorf("in JSON it is\n%s", got)
	}
	tm.must("sagas", "--saga", "checkout", "--status", "stuck,waiting", "--older-than", "10m", "--limit", "7")
	if got, want := d.last(), `shop.sagas.list {"after":"","limit":7,"olderThan":"10m0s","saga":"checkout","status":["stuck","waiting"]}`; got != want {
		t.Errorf("asked is %s, want %s", got, want)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg {
		return &nats.Msg{Data: []byte(`{"sagas":[{"ref":"checkout/o-1","status":"","since":"2026-03-14T12:00:00Z","error":{"code":"corrupt","message":"a\ngap"}},` +
			`{"ref":"checkout/o=1B2","status":"stuck","reason":"\u001b[31m` + strings.Repeat("x", 80) + `","since":"2026-03-15T12:00:01Z","changed":"2026-03-15T12:00:01Z","done":1,"steps":2}],"next":""}`)}
	})
	golden(t, "odd.txt", tm.must("sagas"))
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return &nats.Msg{Data: []byte(`{"sagas":[],"next":"","known":[]}`)} })
	if got := tm.run("sagas"); got != (ending{0, "SAGA  STATUS  DONE  SINCE  CHANGED  REASON\n", ""}) {
		t.Errorf("of none it shows %+v", got)
	}
}

func TestSagasPaged(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	var asked []string
	d.onRequest(func(n int, m *nats.Msg) *nats.Msg {
		var q struct {
			Limit int
			After string
		}
		if err := json.Unmarshal(m.Data, &q); err != nil {
			t.Error(err)
		}
		asked = append(asked, fmt.Sprintf("%d after %q", q.Limit, q.After))
		next := map[string]string{"": "a", "a": "b", "b": ""}[q.After]
		row := fmt.Sprintf(`{"ref":"checkout/%d","status":"running"}`, len(asked))
		return &nats.Msg{Data: fmt.Appendf(nil, `{"sagas":[%s,%s],"next":%q}`, row, row, next)}
	})
	if got := tm.must("sagas", "--all", "--json"); strings.Count(got, "\n") != 6 || fmt.Sprint(asked) != `[1000 after "" 1000 after "a" 1000 after "b"]` {
		t.Errorf("asked was %v, shown\n%s", asked, got)
	}
	asked = nil
	got := tm.run("sagas", "--limit", "4", "--json")
	if strings.Count(got.out, "\n") != 4 || got.err != "4 are shown, and there may be more: --all shows all of them\n" || fmt.Sprint(asked) != `[4 after "" 2 after "a"]` {
		t.Errorf("asked was %v, shown %+v", asked, got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return &nats.Msg{Data: []byte(`{"sagas":[],"next":"a"}`)} })
	if got := tm.run("sagas", "--all"); got.code != cli.ExitFailure || !strings.Contains(got.err, `names "a" as the next`) {
		t.Errorf("got %+v, want the reason", got)
	}
}

func TestSagaShown(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	for _, ref := range []string{"checkout/pausing", "checkout/stuck", "checkout/cancelled", "nagging/parked", "checkout/edited", "checkout/forced", "delivery/d-1", "nagging/n-1"} {
		_, id, _ := strings.Cut(ref, "/")
		golden(t, id+".txt", tm.must("sagas", "show", ref))
	}
	got := tm.must("sagas", "show", "checkout/forced", "--json")
	var one, other map[string]any
	whole, err := os.ReadFile("../../sagas/desk/testdata/forced.json")
	if err != nil || json.Unmarshal(whole, &one) != nil || json.Unmarshal([]byte(got), &other) != nil || fmt.Sprint(one) != fmt.Sprint(other) || strings.Count(got, "\n") != 1 {
		t.Errorf("in JSON it is %s", got)
	}
	if got := tm.run("sagas", "show", "checkout/none"); got != (ending{1, "", "error: checkout/none: unknown: nothing has happened to checkout/none\n"}) {
		t.Errorf("of one that never was: %+v", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg {
		return &nats.Msg{Data: []byte(`{"ref":"checkout/o-1","since":"2026-03-15T11:00:00Z","error":{"code":"internal","message":"see n-1"},` +
			`"timeline":[{"version":1,"time":"2026-03-15T11:00:00.25Z","what":"begun","text":"begun with \u202eX","user":"","commandId":"c-1"}]}`)}
	})
	golden(t, "mute.txt", tm.must("sagas", "show", "checkout/o-1"))
}

func TestSagaShownInPages(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	d.onRequest(func(n int, m *nats.Msg) *nats.Msg {
		if want := map[int]string{1: `{"from":1}`, 2: `{"from":3}`}[n]; string(m.Data) != want {
			t.Errorf("request %d asks %s", n, m.Data)
		}
		return &nats.Msg{Data: fmt.Appendf(nil, `{"ref":"a/b","status":"running","version":%d,"timeline":[{"version":%d},{"version":%d}],"next":%d}`, 2*n, 2*n-1, 2*n, map[int]int{1: 3}[n])}
	})
	got := tm.must("sagas", "show", "a/b", "--json")
	if want := `"timeline":[{"version":1},{"version":2},{"version":3},{"version":4}],"next":0`; !strings.Contains(got, want) || !strings.Contains(got, `"version":4,"position"`) {
		t.Errorf("it shows %s", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return &nats.Msg{Data: []byte(`{"next":1}`)} })
	if got := tm.run("sagas", "show", "a/b"); got.code != cli.ExitFailure || !strings.Contains(got.err, "names 1 as the next") {
		t.Errorf("got %+v, want the reason", got)
	}
}

func TestSagaActions(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	tm.in = `{"to":"bob"}`
	file := writeLines(t, `{"to":"eve"}`)
	for _, c := range []struct{ args, want string }{
		{"retry checkout/o-1 pay", `shop.sagas.retry.checkout.o-1 ann i-1 {"reason":"why","step":"pay"}`},
		{"skip checkout/o-1 pay", `shop.sagas.skip.checkout.o-1 ann i-1 {"reason":"why","step":"pay"}`},
		{"skip checkout/o-1", `shop.sagas.skip.checkout.o-1 ann i-1 {"reason":"why"}`},
		{`edit checkout/o-1 pay --command {"to":1}`, `shop.sagas.edit.checkout.o-1 ann i-1 {"command":{"to":1},"reason":"why","step":"pay"}`},
		{"edit checkout/o-1 pay --command - --to mail/o.2", `shop.sagas.edit.checkout.o-1 ann i-1 {"command":{"to":"bob"},"reason":"why","step":"pay","to":"mail/o=2E2"}`},
		{"edit checkout/o-1 pay --command @" + file, `shop.sagas.edit.checkout.o-1 ann i-1 {"command":{"to":"eve"},"reason":"why","step":"pay"}`},
		{"resume checkout/o.1 --expect 0", `shop.sagas.resume.checkout.o=2E1 ann i-1 0 {"reason":"why"}`},
		{"cancel checkout/o=2E1 --encoded", `shop.sagas.cancel.checkout.o=2E1 ann i-1 {"reason":"why"}`},
		{"force checkout/o-1 completed --expect 7", `shop.sagas.force.checkout.o-1 ann i-1 7 {"reason":"why","status":"completed"}`},
	} {
		got := tm.run(append(strings.Fields("sagas "+c.args), "--reason", "why", "--as", "ann", "--id", "i-1")...)
		verb, _, _ := strings.Cut(c.args, " ")
		if want := (ending{0, "checkout/stuck: " + verb + ", by ann; it is running, version 102\n", ""}); got != want {
			t.Errorf("%s: got %+v\nwant %+v", c.args, got, want)
		}
		if d.last() != c.want {
			t.Errorf("%s: asked is %s\nwant %s", c.args, d.last(), c.want)
		}
	}
	got := tm.must("sagas", "resume", "checkout/stuck", "--reason", "why", "--as", "ann", "--id", "i-1", "--json")
	if want := `{"ref":"checkout/stuck","id":"i-1","version":102,"position":"0-204","events":["holdfast.v1.SagaActed","holdfast.v1.SagaIntended"],"duplicate":false,"attempts":1,"status":"running"}` + "\n"; got != want {
		t.Errorf("in JSON it is %s\nwant %s", got, want)
	}
	tm.must("sagas", "resume", "checkout/stuck", "--reason", "why")
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if words := strings.Fields(d.last()); words[1] != u.Username || len(words[2]) < 20 {
		t.Errorf("without a name and an id asked is %s", d.last())
	}
}

func TestSagaActionsThatFail(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	tm := d.operator()
	args := []string{"sagas", "retry", "checkout/o-1", "pay", "--reason", "why", "--as", "ann", "--id", "i-1"}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return refuse(422, "under_way", "wait for its answer") })
	if got := tm.run(args...); got != (ending{3, "", "rejected: checkout/o-1: under_way: wait for its answer\n"}) {
		t.Errorf("rejected: %+v", got)
	}
	want := ending{3, `{"ref":"checkout/o-1","id":"i-1","error":{"status":422,"code":"under_way","message":"wait for its answer"}}` + "\n", ""}
	if got := tm.run(append(args, "--json")...); got != want {
		t.Errorf("rejected in JSON: %+v", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return refuse(400, "malformed", "body: step: it is missing") })
	if got := tm.run(args...); got != (ending{1, "", "error: checkout/o-1: malformed: body: step: it is missing\n"}) {
		t.Errorf("malformed: %+v", got)
	}
	first := true
	d.onRequest(func(int, *nats.Msg) *nats.Msg {
		if first {
			first = false
			return refuse(503, "unavailable", "nobody is there")
		}
		return nil
	})
	got := tm.run(args...)
	if got.code != 0 || !strings.HasPrefix(got.err, "unavailable: nobody is there; trying again with the same id i-1 in ") {
		t.Errorf("tried again: %+v", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg {
		return &nats.Msg{Data: []byte(`{"ref":"checkout/o-1","version":7,"duplicate":true}`)}
	})
	if got := tm.run(args...); got != (ending{0, "checkout/o-1: this was done before, with the same id, version 7\n", ""}) {
		t.Errorf("done before: %+v", got)
	}
	d.onRequest(func(int, *nats.Msg) *nats.Msg { return &nats.Msg{Data: []byte(`what`)} })
	if got := tm.run(args...); got.code != 1 || !strings.Contains(got.err, "the node's answer cannot be read") {
		t.Errorf("unreadable: %+v", got)
	}
}

func TestSagasOfNobody(t *testing.T) {
	t.Parallel()
	if got := newTerminal(t, nil).run("sagas"); got != (ending{1, "", "error: nobody is here\n"}) {
		t.Errorf("without a node: %+v", got)
	}
	d := startDesk(t)
	tm := d.operator()
	find := tm.access.Find
	tm.access.Find = func() (cli.Nodes, error) {
		n, err := find()
		n.Context = "bank"
		return n, err
	}
	got := tm.run("sagas")
	if want := "error: no node of the context bank (--context) at the folder (--data) sees to sagas: is one running, and has its domain any?"; got.code != 1 || !strings.Contains(got.err, want) {
		t.Errorf("without a desk: %+v", got)
	}
	tm.access.Find = func() (cli.Nodes, error) { return cli.Nodes{}, errors.New("--nats: it is no URL") }
	if got := tm.run("sagas"); got != (ending{2, "", "error: --nats: it is no URL\nRun 'node sagas --help' for usage.\n"}) {
		t.Errorf("with a wrong flag: %+v", got)
	}
}

func TestWrongUsageOfSagas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"sagas fly", `unknown command "fly" for "node sagas"`},
		{"sagas --status done", "--status done: want running, waiting, compensating, stuck"},
		{"sagas --saga Checkout", `--saga: type "Checkout"`},
		{"sagas --saga=", "--saga: it is given and empty"},
		{"sagas --older-than 5", `invalid argument "5" for "--older-than"`},
		{"sagas --older-than -5m", "--older-than -5m0s: want a time such as 10m"},
		{"sagas --limit 0", "--limit 0: want at least 1, or --all"},
		{"sagas --limit 5 --all", "[all limit]"},
		{"sagas --timeout 0s", "--timeout 0s: want more than nothing"},
		{"sagas show", "accepts 1 arg(s), received 0"},
		{"sagas show checkout", `REF: ref "checkout": want type/id`},
		{"sagas show checkout/o.1 --encoded", "must be written =2E"},
		{"sagas retry checkout/o-1 --reason why", "want 'retry REF STEP': 1 arguments are given"},
		{"sagas retry checkout pay --reason why", `REF: ref "checkout"`},
		{"sagas retry checkout/o-1 pay", "--reason: say why"},
		{"sagas retry checkout/o-1 pay --reason=", "--reason: it is given and empty"},
		{"sagas retry checkout/o-1 pay --reason why --as \x01", "--as: header Holdfast-User"},
		{"sagas retry checkout/o-1 pay --reason why --id a\tb", "--id: header Nats-Msg-Id"},
		{"sagas retry checkout/o-1 pay --reason why --expect -1", `invalid argument "-1" for "--expect"`},
		{"sagas retry checkout/o-1 pay --reason why --command {}", "unknown flag: --command"},
		{"sagas skip checkout/o-1 pay ship --reason why", "want 'skip REF [STEP]': 3 arguments are given"},
		{"sagas edit checkout/o-1 pay --reason why", "--command: say what is to be sent instead"},
		{"sagas edit checkout/o-1 pay --reason why --command []", "--command: want one JSON object"},
		{"sagas edit checkout/o-1 pay --reason why --command {", "--command: data: want one JSON object"},
		{"sagas edit checkout/o-1 pay --reason why --command @/does/not/exist", "--command: data: open /does/not/exist"},
		{"sagas edit checkout/o-1 pay --reason why --command {} --to mail", `--to: ref "mail"`},
		{"sagas force checkout/o-1 --reason why", "want 'force REF STATUS': 1 arguments"},
		{"sagas resume checkout/o-1 pay --reason why", "want 'resume REF': 2 arguments"},
	} {
		got := newTerminal(t, nil).run(strings.Split(c.args, " ")...)
		if got.code != cli.ExitUsage || got.out != "" || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, " --help' for usage.\n") {
			t.Errorf("node %s: got %+v\nwant exit code 2 and %q", c.args, got, c.want)
		}
	}
}

func TestCompletionOfSagas(t *testing.T) {
	t.Parallel()
	d := startDesk(t)
	refs := "checkout/pausing\ncheckout/stuck\ncheckout/cancelled\ndelivery/d-1\nnagging/n-1\nnagging/parked\n:4\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"show", ""}, refs},
		{[]string{"retry", ""}, refs},
		{[]string{"retry", "checkout/stuck", ""}, "order\npay\nreserve\nship\nconfirm\ntake-out\nnotify\n:4\n"},
		{[]string{"retry", "checkout/none", ""}, ":4\n"},
		{[]string{"retry", "checkout", ""}, ":4\n"},
		{[]string{"retry", "checkout/stuck", "pay", ""}, ":4\n"},
		{[]string{"show", "checkout/stuck", ""}, ":4\n"},
		{[]string{"force", "checkout/stuck", ""}, "completed\ncompensated\ncancelled\n:4\n"},
		{[]string{"--saga", ""}, "checkout\ndelivery\nnagging\n:4\n"},
		{[]string{"--status", ""}, "running\nwaiting\ncompensating\nstuck\n:4\n"},
	} {
		d.operator().completes(c.want, append([]string{"sagas"}, c.args...)...)
	}
	newTerminal(t, nil).completes(":4\n", "sagas", "show", "")
	verbs := d.operator().must("__complete", "sagas", "")
	for _, verb := range []string{"show", "retry", "skip", "edit", "resume", "cancel", "force"} {
		if !strings.Contains(verbs, verb+"\t") {
			t.Errorf("%s is not among %q", verb, verbs)
		}
	}
}
