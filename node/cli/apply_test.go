package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node/cli"
)

// mixed has a line of every outcome.
var mixed = []string{
	"\xef\xbb\xbf" + `{"ref":"account/a","command":"OpenAccount","data":{"owner":"Ann"},"user":"zoë"}`,
	``,
	`{"ref":"account/a","command":"Deposit","data":{"amount":100},"id":"d1","expectedVersion":1}` + "\r",
	`{"ref":"account/a","command":"Deposit","data":{"amount":100},"id":"d1"}`,
	`{"ref":"account/a","command":"Withdraw","data":{"amount":500},"id":"w1"}`,
	`{"ref":"account/a","command":"Rename","data":{"owner":"Ann"}}`,
	`{"ref":"account/a","command":"Fly","id":"f1"}`,
	`{"ref":"account/a","command":"Deposit","id":"d2","expectedVersion":7}`,
	`   `,
	`not json`,
	`{"command":"Deposit"}`,
	`{"ref":"account/a"}`,
	`{"ref":"account/a","command":"Deposit","date":{}}`,
	`{"ref":"account/a","command":"Deposit","Data":{}}`,
	`{"ref":"account/a","command":"Deposit","data":[1]}`,
	`{"ref":"account/a","command":"Deposit","ref":"account/b"}`,
	`{"ref":"account/a","command":"Deposit","expectedVersion":-1}`,
	`{"ref":"account/a","command":5}`,
	`{"ref":"account/a","command":"Deposit"} {}`,
	`{"ref":"account/a","command":"Deposit"`,
	`["ref"]`,
	`{"ref":"account/b c","command":"Deposit","data":{"amount":1},"id":null}`,
	`{"ref":"account/a","command":"Deposit","data":{"text":"` + "\xff" + `"}}`,
}

const mixedReport = `rejected   line 5: account/a Withdraw: insufficient_funds: the balance is 100
failed     line 7: account/a Fly: unknown: type account knows no command Fly
failed     line 8: account/a Deposit: conflict: account/a is at version 2, not at 7
malformed  line 10: it is not JSON: invalid character 'o' in literal null (expecting 'u')
malformed  line 11: "ref" is missing: want type/id, as in account/a-1
malformed  line 12: "command" is missing
malformed  line 13: the key "date" is unknown: there are ref, command, id, data, user and expectedVersion
malformed  line 14: the key "Data" is unknown: there are ref, command, id, data, user and expectedVersion
malformed  line 15: data: want one JSON object, such as {"amount":100}
malformed  line 16: the key "ref" is given twice
malformed  line 17: "expectedVersion": want 0 or a positive whole number
malformed  line 18: "command": want a string
malformed  line 19: something follows the JSON object: want one object a line
malformed  line 20: it is not JSON: EOF
malformed  line 21: it is not a JSON object
malformed  line 23: it is not UTF-8
lines                21
accepted              4
duplicates            1
rejected              1
failed                2
malformed            13
seconds            0.00
lines/s               0
`

func TestApplyReportsToPeople(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	file := writeLines(t, mixed...)
	got := newTerminal(t, s).run("apply", file, "--user", "ann")
	if got.code != cli.ExitFailure || got.out != mixedReport || got.err != "" {
		t.Errorf("exit code %d, errors %q, got\n%s\nwant\n%s", got.code, got.err, got.out, mixedReport)
	}
	a := s.account("account/a").history
	if len(a) != 2 || a[0].User != "zoë" || a[1].User != "ann" || a[1].CommandID != "d1" || !strings.HasPrefix(a[0].CommandID, "line-1-") {
		t.Errorf("recorded %+v, want the users and ids of the lines", a)
	}
	if b := s.account("account/b=20c"); b == nil || b.Balance != 1 {
		t.Errorf("account/b=20c is %+v, want a balance of 1", b)
	}
}

func TestApplyReportsToMachines(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, startStub(t))
	got := tm.run("apply", writeLines(t, mixed[:10]...), "--json")
	want := `{"line":5,"outcome":"rejected","ref":"account/a","command":"Withdraw","id":"w1","status":422,"code":"insufficient_funds","message":"the balance is 100"}
{"line":7,"outcome":"failed","ref":"account/a","command":"Fly","id":"f1","status":404,"code":"unknown","message":"type account knows no command Fly"}
{"line":8,"outcome":"failed","ref":"account/a","command":"Deposit","id":"d2","status":409,"code":"conflict","message":"account/a is at version 2, not at 7"}
{"line":10,"outcome":"malformed","code":"malformed","message":"it is not JSON: invalid character 'o' in literal null (expecting 'u')"}
{"summary":{"lines":8,"accepted":3,"duplicates":1,"rejected":1,"failed":2,"malformed":1,"earlier":0,"open":0,"seconds":0,"linesPerSecond":0,"resumable":false}}
`
	if got.code != cli.ExitFailure || got.out != want || got.err != "" {
		t.Errorf("exit code %d, errors %q, got\n%s\nwant\n%s", got.code, got.err, got.out, want)
	}
}

func TestApplyExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		want  int
	}{
		"nothing":                 {nil, cli.ExitOK},
		"all accepted":            {mixed[:2], cli.ExitOK},
		"rejections only":         {mixed[4:5], cli.ExitRejected},
		"rejection and conflict":  {[]string{mixed[4], mixed[7]}, cli.ExitFailure},
		"rejection and malformed": {[]string{mixed[4], mixed[9]}, cli.ExitFailure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := newTerminal(t, startStub(t)).run("apply", writeLines(t, c.lines...)); got.code != c.want {
				t.Errorf("got %+v, want exit code %d", got, c.want)
			}
		})
	}
}

// TestApplyListsProblemsInOrder: also those that are found out of order, and those that
// an earlier run met and did not live to list.
func TestApplyListsProblemsInOrder(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	lines := make([]string, 61) // the last one stays blank
	var want strings.Builder
	for i := range lines[:60] {
		lines[i] = fmt.Sprintf(`{"ref":"account/a-%d","command":"Withdraw","data":{"amount":1}}`, i%7)
		if i%3 == 0 {
			lines[i] = "x"
			fmt.Fprintf(&want, "malformed  line %d: it is not JSON: invalid character 'x' looking for beginning of value\n", i+1)
		} else {
			fmt.Fprintf(&want, "rejected   line %d: account/a-%d Withdraw: insufficient_funds: the balance is 0\n", i+1, i%7)
		}
	}
	file, tm := writeLines(t, lines...), newTerminal(t, s)
	if got := tm.run("apply", file); got.code != cli.ExitFailure || !strings.HasPrefix(got.out, want.String()+"lines ") {
		t.Errorf("got exit code %d and\n%s\nwant all problems in order", got.code, got.out)
	}
	again := strings.ReplaceAll(want.String(), "insufficient_funds: the balance is 0", "in an earlier run, of which the reason was not kept")
	if got := tm.run("apply", file); got.code != cli.ExitFailure || !strings.HasPrefix(got.out, again+"lines ") {
		t.Errorf("the second time: got exit code %d and\n%s\nwant all problems in order again", got.code, got.out)
	}
}

func TestApplyShowsABarOnATerminalOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		out, err bool
		args     []string
		bar      bool
		colour   bool
	}{
		{true, true, nil, true, true},
		{false, true, nil, true, false},
		{false, true, []string{"--json"}, true, false},
		{true, false, nil, false, true},
		{false, false, nil, false, false},
	} {
		tm := newTerminal(t, startStub(t))
		tm.cfg.Terminal, tm.cfg.ErrTerminal = c.out, c.err
		got := tm.run(append([]string{"apply", writeLines(t, mixed[0], mixed[2])}, c.args...)...)
		if got.code != cli.ExitOK || strings.Contains(got.err, "applying") != c.bar || strings.Contains(got.out, "applying") {
			t.Errorf("%+v: got %+v, want a bar on stderr or none", c, got)
		}
		if strings.Contains(got.out, "\x1b[32maccepted              2\x1b[0m") != c.colour {
			t.Errorf("%+v: got %q, want colours or none", c, got.out)
		}
	}
}

// TestApplyTwiceTakesEffectOnce: also when the account has forgotten the first ids.
func TestApplyTwiceTakesEffectOnce(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	lines := depositLines(1500, 1)
	file := writeLines(t, append(lines, mixed[4])...)
	if got := tm.run("apply", file); got.code != cli.ExitRejected {
		t.Fatalf("got %+v, want exit code 3", got)
	}
	sent := s.count()
	s.restart(func(c *natsd.Config) { c.Listen = "127.0.0.1:0" }) // the same log at another address
	tm.vars["HOLDFAST_SERVER"] = s.server.ClientURL()
	got := tm.run("apply", file)
	if got.code != cli.ExitRejected || !strings.Contains(got.out, "all 1501 lines were settled before, and nothing was sent; --restart sends them again\n") || s.count() != sent {
		t.Errorf("the second time: got %+v and %d commands, want exit code 3 and none", got, s.count()-sent)
	}
	if !strings.HasPrefix(got.out, "rejected   line 1501: account/a Withdraw: in an earlier run") {
		t.Errorf("the second time: got\n%s\nwant the rejected line first", got.out)
	}
}

// TestApplyToAnotherLog: what was sent to one log says nothing about another.
func TestApplyToAnotherLog(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	file := writeLines(t, depositLines(20, 3)...)
	tm.must("apply", file)
	first := s.log
	for range 2 {
		s.begin("20270314T092653.589793238Z")
		if got := tm.must("apply", file); !strings.Contains(got, "accepted             20\n") || s.count() != 40 {
			t.Errorf("to another log: got\n%s\nand %d commands, want 20 accepted once", got, s.count()-20)
		}
	}
	s.log = first
	s.restart()
	if tm.must("apply", file); s.count() != 40 {
		t.Errorf("to the first log again: %d commands", s.count()-40)
	}
	for _, odd := range []string{"", "../../etc/passwd", "20260314T092653.589793238Z/x", "today"} {
		s.log = odd
		s.restart()
		if got := tm.run("apply", file); got.code != cli.ExitFailure || !strings.Contains(got.err, "does not say which log it has") || s.count() != 40 {
			t.Errorf("the log %q: got %+v, want exit code 1 and the reason", odd, got)
		}
	}
}

func TestApplyBeginsAnew(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, startStub(t))
	file := writeLines(t, depositLines(20, 3)...)
	tm.must("apply", file)
	if got := tm.must("apply", file, "--restart"); !strings.Contains(got, "duplicates           20\n") {
		t.Errorf("with --restart: got\n%s\nwant 20 duplicates", got)
	}
	if got := tm.must("apply", file, "--restart", "--batch", "second"); !strings.Contains(got, "accepted             20\n") {
		t.Errorf("as another batch: got\n%s\nwant 20 accepted", got)
	}
}

// depositLines are deposits without ids, in turn to each of so many accounts.
func depositLines(n, accounts int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"ref":"account/a-%d","command":"Deposit","data":{"amount":%d}}`, i%accounts, i+1)
	}
	return lines
}

func TestApplyReadsStandardInput(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	tm.in = strings.Join(depositLines(50, 7), "\n") // the last line has no end
	if got := tm.must("apply", "-"); !strings.Contains(got, "accepted             50\n") {
		t.Errorf("got\n%s\nwant 50 accepted", got)
	}
	checkOrder(t, s)
}

// checkOrder: deposits of depositLines took effect once each and in order.
func checkOrder(t *testing.T, s *stub) (n int) {
	t.Helper()
	for ref, a := range s.all() {
		last := 0
		for _, event := range a.history {
			var data struct{ Amount int }
			if err := json.Unmarshal(event.Data, &data); err != nil {
				t.Fatal(err)
			}
			if data.Amount <= last {
				t.Errorf("%s: line %d took effect after line %d", ref, data.Amount, last)
			}
			last = data.Amount
			n++
		}
	}
	return n
}

func TestApplyTriesAgain(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	seen := map[string]int{}
	s.onCommand(func(n int, m *nats.Msg) fault {
		id := m.Header.Get("Nats-Msg-Id")
		seen[id]++
		if seen[id] > 1 {
			return fault{}
		}
		return []fault{
			{},
			{status: 429, code: "overloaded"},
			{status: 503, code: "unavailable"},
			{status: 504, code: "uncertain"},
			{status: 504, code: "uncertain", executed: true},
			{silent: true},
			{silent: true, executed: true},
		}[len(seen)%7]
	})
	var doc struct {
		Summary struct{ Accepted, Duplicates int }
	}
	got := newTerminal(t, s).must("apply", writeLines(t, depositLines(70, 10)...), "--timeout", "4s", "--json")
	if err := json.Unmarshal([]byte(got), &doc); err != nil {
		t.Fatal(err)
	}
	// A busy machine may take an answer too late, and have more of them twice.
	if sum := doc.Summary; sum.Accepted+sum.Duplicates != 70 || sum.Duplicates < 20 {
		t.Errorf("got\n%s\nwant 50 accepted and 20 duplicates", got)
	}
	if n := checkOrder(t, s); n != 70 {
		t.Errorf("%d lines took effect, want 70", n)
	}
}
