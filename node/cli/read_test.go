package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/node/cli"
)

func TestGetShowsTheState(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, startStub(t))
	tm.must("send", "account/a 1", "OpenAccount", `{"owner":"Ann <ann@example.org>"}`)
	human := `account/a=201  version 1  2026-03-14T09:27:53Z  position 0-1
{
  "open": true,
  "owner": "Ann \u003cann@example.org\u003e",
  "balance": 0
}
`
	machine := `{"ref":"account/a=201","version":1,"position":"0-1","time":"2026-03-14T09:27:53.589793238Z","state":%s}` + "\n"
	for _, c := range []struct {
		args []string
		want ending
	}{
		{nil, ending{0, human, ""}},
		{[]string{"--json"}, ending{0, fmt.Sprintf(machine, `{"open":true,"owner":"Ann \u003cann@example.org\u003e","balance":0}`), ""}},
		{[]string{"--json", "--as-of", "2026-03-14T10:00:00.5+01:00"}, ending{0, fmt.Sprintf(machine, `{"asOf":"2026-03-14T10:00:00.5+01:00"}`), ""}},
		{[]string{"--json", "--as-of-version", "0"}, ending{0, fmt.Sprintf(machine, `{"asOfVersion":0}`), ""}},
	} {
		if got := tm.run(append([]string{"get", "account/a 1"}, c.args...)...); got != c.want {
			t.Errorf("get %v: got %+v\nwant %+v", c.args, got, c.want)
		}
	}
	got := tm.run("get", "account/a=202", "--encoded")
	if want := (ending{1, "", "error: account/a=202: unknown: nothing has happened to account/a=202\n"}); got != want {
		t.Errorf("get of nothing: got %+v\nwant %+v", got, want)
	}
}

func TestHistoryShowsWhoDidWhat(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, startStub(t))
	tm.must("send", "account/a", "OpenAccount", `{"owner":"Ann"}`, "--id", "i1", "--user", "Zoë", "--correlation", "c1")
	tm.must("send", "account/a", "Deposit", `{"amount": 100}`, "--id", "i2")
	tm.must("send", "account/a", "Rename", fmt.Sprintf(`{"owner":%q}`, strings.Repeat("é", 80)), "--id", "i3", "--user", "x\u202ey")
	human := `VERSION  TIME                  EVENT          USER      COMMAND      DATA
      1  2026-03-14T09:27:53Z  AccountOpened  Zoë       OpenAccount  {"owner":"Ann"}
      2  2026-03-14T09:28:53Z  Deposited                Deposit      {"amount":100}
      3  2026-03-14T09:29:53Z  Renamed        x\u202ey  Rename       {"owner":"` + strings.Repeat("é", 49) + "…\n"
	if got, want := tm.run("history", "account/a"), (ending{0, human, ""}); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	got := tm.run("history", "account/a", "--json", "--from", "1", "--limit", "1")
	want := ending{
		0,
		`{"version":1,"id":"account/a@1","type":"bank.v1.AccountOpened","time":"2026-03-14T09:27:53.589793238Z","user":"Zoë",` +
			`"command":"bank.v1.OpenAccount","commandId":"i1","correlationId":"c1","causationId":"","data":{"owner":"Ann"}}` + "\n",
		"there is more: --from 2 goes on, --all shows everything\n",
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	tm.must("send", "account/a", "Deposit", `{"amount":1}`)
	a := s.account("account/a")
	for n := 2; n <= 2345; n++ {
		event := a.history[0]
		event.Version = n
		a.history = append(a.history, event)
	}
	for _, c := range []struct {
		args        []string
		first, last int
	}{
		{nil, 1, 100},
		{[]string{"--all"}, 1, 2345},
		{[]string{"--all", "--from", "2000"}, 2000, 2345},
		{[]string{"--limit", "1500"}, 1, 1500},
		{[]string{"--from", "2345"}, 2345, 2345},
		{[]string{"--from", "0", "--limit", "1"}, 1, 1},
	} {
		var versions []int
		for line := range strings.Lines(tm.must(append([]string{"history", "account/a", "--json"}, c.args...)...)) {
			var event struct{ Version int }
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatal(err)
			}
			versions = append(versions, event.Version)
		}
		for i, v := range versions {
			if v != c.first+i {
				t.Fatalf("history %v: event %d has version %d, want %d", c.args, i, v, c.first+i)
			}
		}
		if len(versions) != c.last-c.first+1 {
			t.Errorf("history %v: %d events, want %d", c.args, len(versions), c.last-c.first+1)
		}
	}
	if got := tm.must("history", "account/a", "--all"); strings.Count(got, "VERSION") != 1 || strings.Count(got, "\n") != 2346 {
		t.Errorf("%d lines and %d headers, want 2346 and 1", strings.Count(got, "\n"), strings.Count(got, "VERSION"))
	}
	if got := tm.must("history", "account/a", "--from", "2346"); strings.Count(got, "\n") != 1 {
		t.Errorf("beyond the last event: got %q, want the header alone", got)
	}
}

func TestHistoryRefusesAPageThatDoesNotAdvance(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	for _, sub := range s.subs {
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	s.answerAll("demo.history.>", `{"events":[],"next":1}`)
	if got := newTerminal(t, s).run("history", "account/a", "--all"); got.code != cli.ExitFailure || !strings.Contains(got.err, "names 1 as the next") {
		t.Errorf("got %+v, want exit code 1 and the reason", got)
	}
}
