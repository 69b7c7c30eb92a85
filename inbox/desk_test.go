package inbox_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/inbox"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// operators has operators answered, and gives one who asks: verb, body and pairs of headers.
// What is wrong comes as "status sentence".
func (w *world) operators(change ...func(*inbox.DeskConfig)) (ask func(verb, body string, headers ...string) string) {
	w.t.Helper()
	c := inbox.DeskConfig{Conn: w.connect(natsd.Gateway), Timeout: taking}
	for _, f := range change {
		f(&c)
	}
	d, err := w.inbox.ServeOperators(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		for range 2 { // it bears repetition
			if err := d.Stop(within(w.t)); err != nil {
				w.t.Errorf("stop desk: %v", err)
			}
		}
	})
	operator := w.connect(natsd.Node)
	return func(verb, body string, headers ...string) string {
		w.t.Helper()
		m := &nats.Msg{Subject: "bank.parked." + verb, Data: []byte(body), Header: nats.Header{}}
		for i := 0; i < len(headers); i += 2 {
			m.Header.Set(headers[i], headers[i+1])
		}
		reply, err := operator.RequestMsg(m, patient)
		if err != nil {
			w.t.Fatalf("%s: %v", verb, err)
		}
		if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
			return code + " " + reply.Header.Get("Nats-Service-Error")
		}
		return string(reply.Data)
	}
}

func has(t *testing.T, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

// An operator sees what is parked, has it tried again, and skips it, over NATS.
func TestDesk(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	ask := w.operators()
	has(t, ask("status", ""), `{"waiting":0,"parked":0}`)
	has(t, ask("list", ""), `{"next":"","parked":[]}`)
	w.clerk.hook(failing("bad", errBug), nil)
	w.run()
	before := time.Now().Add(-time.Minute)
	w.left("account.ada.OpenAccount", "bad", open)
	w.left("account.ada.OpenAccount", "later", open)
	w.parked(1)
	var backlog inbox.Backlog
	if err := json.Unmarshal([]byte(ask("status", "{}")), &backlog); err != nil || backlog.Waiting != 2 || backlog.Parked != 1 || backlog.Oldest == nil || backlog.Oldest.Before(before) {
		t.Errorf("what waits is %+v, %v", backlog, err)
	}
	has(t, ask("list", `{"type":"account","command":"OpenAccount","code":"internal","limit":7}`),
		`{"where":"inbox","ref":"account/ada","command":"OpenAccount","commandId":"bad","sequence":1,`, `"code":"internal","reason":"internal: a bug in the domain","attempts":5`)
	has(t, ask("list", `{"after":"account/ada"}`), `"parked":[]`)
	has(t, ask("list", `{"type":"order"}`), `"parked":[]`)
	has(t, ask("show.account.ada", ""), `{"where":"inbox","ref":"account/ada"`, `"data":{"owner":`, `"behind":[{"command":"OpenAccount","commandId":"later","sequence":2,`)

	by := []string{"Holdfast-User", "otto"}
	has(t, ask("retry.account.ada", "", by...), `{"ref":"account/ada","commandId":"bad","done":true,"parked":{"ref":"account/ada"`, `"attempts":6`)
	has(t, ask("skip.account.ada", `{"commandId":"bad","reason":"a mistake"}`, by...), `{"ref":"account/ada","commandId":"bad","done":true,"parked":null}`)
	w.empty()
	has(t, w.outcome("bad").Error.Message, "skipped by otto: a mistake")
	check(t, "what follows", w.outcome("later").Version, 1)
}

// A wish that nobody does yet is taken, and the answer says so.
func TestDeskWithoutARunner(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	ask := w.operators(func(c *inbox.DeskConfig) { c.Timeout = 600 * time.Millisecond })
	w.clerk.hook(failing("bad", errBug), nil)
	r := w.run()
	w.left("account.ada.OpenAccount", "bad", open)
	w.parked(1)
	r.Stop()
	var got string
	w.eventually(func() error { // its time may be up before the wish is written
		if got = ask("retry.account.ada", `{"commandId":"bad"}`, "Holdfast-User", "otto"); strings.HasPrefix(got, "50") {
			return fmt.Errorf("%s: %w", got, errNotYet)
		}
		return nil
	})
	has(t, got, `"done":false,"parked":{"ref":"account/ada"`, `"wish":{"skip":false,"by":"otto",`)
	w.clerk.hook(nil, nil)
	w.run()
	w.empty()
	check(t, "outcome", w.outcome("bad").Version, 1)
}

// Whatever is wrong with what an operator asks is told with its field.
func TestDeskBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	ask := w.operators()
	w.clerk.hook(failing("bad", errBug), nil)
	w.run()
	w.left("account.ada.OpenAccount", "bad", open)
	w.parked(1)
	for _, tt := range []struct {
		verb, body string
		headers    []string
		want       string
	}{
		{"burn", "", nil, `400 subject "bank.parked.burn": the verb "burn" is unknown: there are status list show retry skip`},
		{"show.account", "", nil, "400 subject"},
		{"show.Account.ada", "", nil, `400 type "Account"`},
		{"show.account.eve", "", nil, "404 account/eve has no parked command"},
		{"show.account.ada", `{"limit":1}`, nil, "400 body: limit: it is unknown: there are none"},
		{"status", `{"a":1}`, nil, "400 body: a: it is unknown: there are none"},
		{"list", `{"limit":1001}`, nil, "400 body: limit: "},
		{"list", `{"limit":-1}`, nil, "400 body: limit: "},
		{"list", `{"where":"x"}`, nil, "400 body: where: it is unknown: there are type, command, code, after"},
		{"list", `{`, nil, "400 body: "},
		{"list", strings.Repeat(" ", 17<<10), nil, "413 body: it has 17408 bytes, the limit is 16384"},
		{"list", "", []string{"Content-Type", "application/protobuf"}, "400 header Content-Type: the desk reads and writes application/json only"},
		{"list", "", []string{"Holdfast-User", "otto"}, "400 header Holdfast-User"},
		{"retry.account.ada", "", nil, "400 header Holdfast-User: it is missing: say who acts"},
		{"retry.account.ada", "", []string{"Holdfast-User", "otto", "Holdfast-Expected-Version", "1"}, "400 header Holdfast-Expected-Version: what is parked has no version"},
		{"retry.account.ada", `{"commandId":"good"}`, []string{"Holdfast-User", "otto"}, "409 the parked command of account/ada is bad, not good: look again"},
		{"skip.account.ada", `{"reason":"why not"}`, []string{"Holdfast-User", "otto"}, "400 commandId: it is empty: name the command that is to be skipped"},
		{"skip.account.ada", `{"commandId":"bad"}`, []string{"Holdfast-User", "otto"}, "400 reason: it has 0 bytes, want 1 to 1024: say why"},
		{"skip.account.eve", `{"commandId":"bad","reason":"why not"}`, []string{"Holdfast-User", "otto"}, "404 account/eve has no parked command"},
	} {
		if got := ask(tt.verb, tt.body, tt.headers...); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %.40s %v: got %s\nwant %s", tt.verb, tt.body, tt.headers, got, tt.want)
		}
	}
	if p := w.parked(1)[0]; p.Wish != nil || p.Attempts != 5 {
		t.Errorf("parked is %+v", p)
	}
	for want, c := range map[string]inbox.DeskConfig{
		"Conn is nil: give a NATS connection": {},
		"Timeout is negative":                 {Conn: w.core, Timeout: -1},
	} {
		if _, err := w.inbox.ServeOperators(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What does not fit into an answer is told, with the remedy.
func TestDeskHasRoom(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	ask := w.operators()
	long := strings.Repeat("x", 4<<10)
	w.clerk.hook(failing("bad", fmt.Errorf("%w: %s", errBug, long)), nil)
	w.run()
	const n = 300
	for i := range n {
		w.left(fmt.Sprintf("account.a-%03d.OpenAccount", i), "bad", open)
	}
	w.eventually(func() error {
		if got := ask("status", ""); !strings.Contains(got, fmt.Sprintf(`"parked":%d`, n)) {
			return fmt.Errorf("status is %s: %w", got, errNotYet)
		}
		return nil
	})
	has(t, ask("list", `{"limit":1000}`), "413 the answer takes ", ": ask for less with limit")
	has(t, ask("list", `{"limit":100}`), `"next":"account/a-099"`)
}
