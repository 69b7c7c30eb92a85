package desk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/projections/desk"
	"github.com/holdfast-run/holdfast/projections/runner"
)

func (w *world) has(what, got string, wants ...string) {
	w.t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			w.t.Errorf("%s: got %s\nwant %s", what, got, want)
		}
	}
}

func TestListAndShow(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crew.standing[1] = runner.UnitStatus{State: runner.Blocked, Reason: "the database is gone"}
	list := w.ask("list", "")
	w.has("list", list, `{"projections":[{"name":"balances","state":"blocked",`, `"generations":[{"generation":1,"role":"serving","revision":0,"state":"blocked","reason":"the database is gone","positions":["0-2","1-2"],`)
	if strings.Contains(list, `"units"`) {
		t.Errorf("the list has units: %s", list)
	}
	w.has("show", w.ask("show.balances", "{}"), `{"projection":{"name":"balances","state":"blocked",`, `"units":[{"generation":1,"partition":0,"shard":0,"node":"n1","state":"blocked"`)
}

func TestActs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.has("pause", w.ask("pause.balances", `{"reason":"a look"}`), `"paused":{"reason":"a look","by":"ada","since":"2026-03-14T09:26:53Z"}`)
	w.has("resume", w.ask("resume.balances", ""), `{"projection":{"name":"balances","state":"live"`)
	if w.now().Paused != nil {
		t.Error("it is still paused")
	}
	w.has("reset", w.ask("reset.balances", `{"to":"1-7"}`), `"resets":[{"number":1,"generation":1,"to":"1-7","by":"ada","at":"2026-03-14T09:26:53Z"}]`)
	w.has("reset to a time", w.ask("reset.balances", `{"to":"2026-03-14T10:26:00+01:00"}`), `"time":"2026-03-14T09:26:00Z","by":"ada"`)
	w.has("rebuild", w.ask("rebuild.balances", ""), `"building":2,`, `"generation":2}`)
	w.has("rebuild again", w.ask("rebuild.balances", ""), "409 generation 2 of balances is being built already")
	w.has("drop what serves", w.ask("drop.balances", `{"generation":1}`), "409 generation 1 of balances serves")
	w.has("drop", w.ask("drop.balances", ""), `"dropped":[2]`, `"generation":2}`)
	w.has("drop nothing", w.ask("drop.balances", ""), "409 of balances there is only generation 1, which serves: there is none to drop")
	w.has("back to nothing", w.ask("back.balances", ""), "409 no generation of balances has served before")
	w.has("rebuild", w.ask("rebuild.balances", ""), `"generation":3}`)
	w.has("switch by force", w.ask("switch.balances", `{"force":true}`), `"serving":3,"previous":1,`)
	w.has("back", w.ask("back.balances", ""), `"serving":1,"previous":3,`)
	w.has("drop the previous one", w.ask("drop.balances", ""), `"generation":3}`)
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t)
	long := strings.Repeat("x", 1025)
	for _, bad := range []struct {
		verb, body, want string
		headers          []string
	}{
		{verb: "show.accounts", want: "404 projection accounts is unknown: there are balances"},
		{verb: "pause.accounts", body: `{"reason":"x"}`, want: `404 there is no projection "accounts"`},
		{verb: "compare.accounts", want: "404 projection accounts is unknown"},
		{verb: "switch.accounts", body: `{"force":true}`, want: "404 projection accounts is unknown"},
		{verb: "retry.accounts", body: `{"all":true}`, want: "404 projection accounts is unknown"},
		{verb: "parked.accounts", want: "404 projection accounts is unknown"},
		{verb: "stop.balances", want: `400 subject "bank.projections.stop.balances": the verb "stop" is unknown`},
		{verb: "show", want: "400 subject"},
		{verb: "list", body: `{"limit":1}`, want: "400 body: limit: it is unknown: there are none"},
		{verb: "list", body: `[]`, want: "400 body: want one JSON object"},
		{verb: "pause.balances", want: "400 body: reason: it is missing: say why"},
		{verb: "pause.balances", body: `{"reason":" "}`, want: "400 body: reason: it is missing"},
		{verb: "pause.balances", body: `{"reason":"` + long + `"}`, want: "400 body: reason: it has 1025 bytes, the limit is 1024"},
		{verb: "pause.balances", body: `{"reason":"x"}`, headers: []string{"Holdfast-User", ""}, want: "400 header Holdfast-User: it is missing: say who acts"},
		{verb: "pause.balances", body: `{"reason":"x"}`, headers: []string{"Holdfast-Expected-Version", "3"}, want: "400 header Holdfast-Expected-Version: a projection has no version"},
		{verb: "show.balances", headers: []string{"Content-Type", "application/protobuf"}, want: "400 header Content-Type: the desk reads and writes application/json only"},
		{verb: "show.balances", headers: []string{"Holdfast-User", "ada"}, want: "400 header Holdfast-User: it is for cmd requests, not for show"},
		{verb: "reset.balances", want: "400 body: to: it is missing: give a position such as 0-42, or a time"},
		{verb: "reset.balances", body: `{"to":"yesterday"}`, want: `400 body: to: "yesterday": want a position such as 0-42, or a time`},
		{verb: "reset.balances", body: `{"to":"0-51"}`, want: "400 body: to: 0-51 is beyond the end of the log, 0-50"},
		{verb: "reset.balances", body: `{"to":"2-1"}`, want: "400 body: to: 2-1 is of a partition that the log does not have: it has 2"},
		{verb: "reset.balances", body: `{"to":"2026-03-14T09:26:54Z"}`, want: "400 body: to: 2026-03-14T09:26:54Z is in the future, it is 2026-03-14T09:26:53Z now"},
		{verb: "reset.balances", body: `{"to":"0001-03-14T09:26:54Z"}`, want: "400 body: to: want a time in the years 1678 to 2261"},
		{verb: "drop.balances", body: `{"generation":"two"}`, want: "400 body: generation: want a whole number"},
		{verb: "drop.balances", body: `{"generation":7}`, want: "404 there is no generation 7 of balances to drop"},
		{verb: "switch.balances", body: `{"force":1}`, want: "400 body: force: want true or false"},
		{verb: "switch.balances", body: `{"force":true}`, want: "409 no generation of balances is being built: rebuild it first"},
		{verb: "compare.balances", want: "409 no generation of balances is being built"},
		{verb: "retry.balances", want: "400 body: key, all: give a key, or all as true"},
		{verb: "retry.balances", body: `{"key":"a","all":true}`, want: "400 body: key, all: give a key, or all as true"},
		{verb: "retry.balances", body: `{"key":"a"}`, want: `404 nothing is parked under the key "a" of balances`},
		{verb: "retry.balances", body: `{"all":true,"generation":9}`, want: "404 there is no generation 9 of balances"},
		{verb: "skip.balances", body: `{"reason":"x"}`, want: "400 body: event: it is missing"},
		{verb: "skip.balances", body: `{"event":"account/a@1"}`, want: "400 body: reason: it is missing"},
		{verb: "parked", body: `{"key":"x"}`, want: "400 body: key and generation are of one projection: name it in the subject"},
		{verb: "parked", body: `{"limit":1001}`, want: "400 body: limit: want a whole number, 1000 at most"},
		{verb: "parked.balances", body: `{"key":"x"}`, want: `404 nothing is parked under the key "x" of balances`},
	} {
		if got := w.ask(bad.verb, bad.body, bad.headers...); !strings.HasPrefix(got, bad.want) {
			t.Errorf("%s %s: got %s\nwant %s", bad.verb, bad.body, got, bad.want)
		}
	}
	if rec := w.now(); rec.Count != 0 || rec.Paused != nil || rec.Last != 1 {
		t.Errorf("something was done: %+v", rec)
	}
}

// TestClientsDoNotReachIt: who comes without credentials is a client.
func TestClientsDoNotReachIt(t *testing.T) {
	t.Parallel()
	w := setup(t)
	client := w.client(nats.IgnoreDiscoveredServers(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if reply, err := client.Request("bank.projections.rebuild.balances", nil, 200*time.Millisecond); err == nil {
		t.Errorf("a client was answered: %s", reply.Data)
	}
	if w.now().Building != 0 {
		t.Error("a client has begun a rebuild")
	}
}

// TestSwitch: what serves and what was built are compared where both stand still, at the same
// position, and then go on.
func TestSwitch(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.deposit(1, 5, "ada")
	w.deposit(1, 7, "bob")
	w.deposit(2, 5, "ada")
	w.deposit(2, 8, "bob")
	w.has("rebuild", w.ask("rebuild.balances", ""), `"building":2`)
	for _, tt := range []struct {
		verb    string
		serving uint64
	}{{"compare", 1}, {"switch", 2}} {
		w.crew.mu.Lock()
		w.crew.at[1], w.crew.at[2], w.crew.dumped, w.crew.deaf = &[partitions]uint64{20, 40}, &[partitions]uint64{30, 25}, nil, 0
		w.crew.mu.Unlock()
		w.has(tt.verb, w.ask(tt.verb+".balances", ""), fmt.Sprintf(`"serving":%d,`, tt.serving),
			`"rows":{"":2}},"new":{"generation":2,"positions":["0-32","1-42"],"rows":{"":2}},"same":false,"sampled":2,"of":1,"differ":1,`+
				`"examples":[{"key":"bob","old":{"owner":"","balance":7},"new":{"owner":"","balance":8}}]}`, `"parked":[0,0]`)
		w.crew.mu.Lock()
		if len(w.crew.dumped) != 2 || w.crew.dumped[0] != w.crew.dumped[1] || !strings.HasPrefix(w.crew.dumped[0], "paused") {
			t.Errorf("they were compared when they were %q", w.crew.dumped)
		}
		w.crew.mu.Unlock()
		if rec := w.now(); rec.Paused != nil || rec.Serving != tt.serving {
			t.Errorf("after %s: %+v", tt.verb, rec)
		}
	}
	w.has("again", w.ask("switch.balances", ""), "409 no generation of balances is being built")
}

// TestSwitchFromARevisionThatIsLeft: nobody works any more on what serves, since the new build
// has other handlers.
func TestSwitchFromARevisionThatIsLeft(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.deposit(2, 5, "ada")
	w.record(runner.Record{
		Name: "balances", Serving: 1, Building: 2, Last: 2, Newest: runner.Generation{Revision: 1, Shards: 1},
		Generations: map[uint64]runner.Generation{1: {Shards: 1}, 2: {Revision: 1, Shards: 1}},
	})
	w.until(func() bool { return w.now().Building == 2 })
	w.crew.mu.Lock()
	w.crew.standing[1] = runner.UnitStatus{State: runner.Stopped, Reason: "no node works on it any more"}
	w.crew.mu.Unlock()
	w.has("switch", w.ask("switch.balances", ""), `"serving":2,`, `"rows":{}},"new":{"generation":2,"positions":`, `"same":false`)
}

// TestSwitchToWhatWasCompared: when another generation is begun meanwhile, that one does not serve.
func TestSwitchToWhatWasCompared(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask("rebuild.balances", "")
	hold := make(chan struct{})
	w.crew.mu.Lock()
	w.crew.hold = hold
	w.crew.mu.Unlock()
	asked := make(chan string, 1)
	go func() { asked <- w.ask("switch.balances", "") }()
	w.until(func() bool { w.crew.mu.Lock(); defer w.crew.mu.Unlock(); return len(w.crew.dumped) > 0 })
	w.has("drop", w.ask("drop.balances", ""), `"serving":1,`)
	w.has("rebuild", w.ask("rebuild.balances", ""), `"building":3`)
	close(hold)
	w.has("switch", <-asked, "409 generation 2 of balances is not being built any more, but 3: look at that one first")
	if rec := w.now(); rec.Serving != 1 || rec.Building != 3 || rec.Paused != nil {
		t.Errorf("after it: %+v", rec)
	}
}

func TestSwitchRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask("rebuild.balances", "")
	set := func(generation uint64, s runner.UnitStatus) {
		w.crew.mu.Lock()
		defer w.crew.mu.Unlock()
		w.crew.standing[generation] = s
	}
	for want, s := range map[string]runner.UnitStatus{
		"409 generation 2 of balances is not ready: rebuilding, 900 commits behind, 1m30s left": {State: runner.Rebuilding, Behind: 900, Left: 90},
		"409 generation 2 of balances is not ready: blocked: the database is gone":              {State: runner.Blocked, Reason: "the database is gone"},
	} {
		set(2, s)
		w.has("switch", w.ask("switch.balances", ""), want)
	}
	w.has("ready in the end", w.recovers(set), `"same":true`)
	set(1, runner.UnitStatus{State: runner.Stopped, Reason: "it is foreign"})
	w.has("what serves is stopped", w.ask("switch.balances", ""), "409 generation 1 of balances is stopped: it is foreign")
	set(1, runner.UnitStatus{})
	w.ask("pause.balances", `{"reason":"a look"}`)
	w.has("paused", w.ask("switch.balances", ""), "409 balances is paused by ada (a look): resume it first")
	if rec := w.now(); rec.Paused == nil || rec.Paused.Reason != "a look" {
		t.Error("somebody's pause was ended")
	}
	w.ask("resume.balances", "")
	w.crew.mu.Lock()
	w.crew.fail = errors.New("the disk is full")
	w.crew.mu.Unlock()
	w.has("dump fails", w.ask("switch.balances", ""), "503 the disk is full")
	if rec := w.now(); rec.Paused != nil || rec.Serving != 1 {
		t.Errorf("after it failed: %+v", rec)
	}
}

// recovers has a generation be ready a moment after it is compared, and gives the answer.
func (w *world) recovers(set func(uint64, runner.UnitStatus)) (answer string) {
	w.t.Helper()
	looks := func() int { w.crew.mu.Lock(); defer w.crew.mu.Unlock(); return w.crew.asked }
	// A machine that is busy may take longer than a moment, which is three seconds.
	for begun := time.Now(); ; begun = time.Now() {
		set(2, runner.UnitStatus{State: runner.Paused}) // as it was a moment ago
		asked, before := make(chan string, 1), looks()
		go func() { asked <- w.ask("compare.balances", "") }()
		w.until(func() bool { return looks() > before+3 || len(asked) > 0 })
		set(2, runner.UnitStatus{})
		if answer = <-asked; !strings.Contains(answer, "is not ready: paused") || time.Since(begun) < 3*time.Second {
			return answer
		}
	}
}

// TestCompareTakesItsTime: it may take longer than other requests.
func TestCompareTakesItsTime(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	w := setup(t, func(c *desk.Config) { c.Timeout = limit })
	if _, err := w.register.Rebuild(within(t), "balances", "ada"); err != nil { // for which a request may have too little time
		t.Fatal(err)
	}
	w.crew.mu.Lock()
	w.crew.slow = limit
	w.crew.mu.Unlock()
	w.has("compare", w.ask("compare.balances", ""), `"same":true`)
}

// TestCompareWaitsForAPauseToBeHeardOf: that they are at the same position is not enough.
func TestCompareWaitsForAPauseToBeHeardOf(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask("rebuild.balances", "")
	w.crew.mu.Lock()
	w.crew.at[1], w.crew.at[2], w.crew.deaf = &[partitions]uint64{7, 7}, &[partitions]uint64{7, 7}, 20
	w.crew.mu.Unlock()
	w.has("compare", w.ask("compare.balances", ""), `"same":true`)
	if got := fmt.Sprint(w.crew.dumped); got != "[paused[0-9 1-9] paused[0-9 1-9]]" {
		t.Errorf("they were compared when they were %s", got)
	}
}

// TestCompareLeavesAnothersPause: what an operator pauses meanwhile stays paused.
func TestCompareLeavesAnothersPause(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask("rebuild.balances", "")
	hold := make(chan struct{})
	w.crew.mu.Lock()
	w.crew.hold = hold
	w.crew.mu.Unlock()
	asked := make(chan string, 1)
	go func() { asked <- w.ask("compare.balances", "") }()
	w.until(func() bool { w.crew.mu.Lock(); defer w.crew.mu.Unlock(); return len(w.crew.dumped) > 0 })
	w.ask("pause.balances", `{"reason":"a look"}`)
	close(hold)
	w.has("compare", <-asked, `"same":true`)
	if rec := w.now(); rec.Paused == nil || rec.Paused.Reason != "a look" {
		t.Errorf("it is paused as %+v", rec.Paused)
	}
}

// TestStopWhileComparing: what waits for generations to come to the same position does not
// hold up the desk, and leaves no pause behind.
func TestStopWhileComparing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask("rebuild.balances", "")
	w.crew.mu.Lock()
	w.crew.standing[2] = runner.UnitStatus{State: runner.Live, Silent: true} // nobody works on it
	w.crew.mu.Unlock()
	answer := make(chan string, 1)
	go func() { answer <- w.ask("compare.balances", "") }()
	w.until(func() bool { w.crew.mu.Lock(); defer w.crew.mu.Unlock(); return w.crew.asked > 5 })
	if err := w.desk.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	w.has("answer", <-answer, "503 ")
	if rec := w.now(); rec.Paused != nil {
		t.Errorf("it is still paused: %+v", rec.Paused)
	}
}
