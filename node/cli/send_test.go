package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

func TestSendShowsWhatWasDecided(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	for _, c := range []struct {
		name string
		args []string
		want ending
	}{
		{
			"accepted",
			[]string{"account/a-1", "OpenAccount", `{"owner":"Ann"}`, "--id", "x"},
			ending{0, "account/a-1: AccountOpened, version 1, position 0-1\n", ""},
		},
		{
			"duplicate",
			[]string{"account/a-1", "OpenAccount", `{"owner":"Ann"}`, "--id", "x"},
			ending{0, "account/a-1 had accepted this command id before: AccountOpened, version 1, position 0-1\n", ""},
		},
		{
			"nothing happens",
			[]string{"account/a-1", "Rename", `{"owner":"Ann"}`, "--id", "y"},
			ending{0, "account/a-1: nothing needed to happen, version 1, position 0-1\n", ""},
		},
		{
			"expected version",
			[]string{"account/a-1", "Deposit", `{"amount":5}`, "--id", "z", "--expect", "1"},
			ending{0, "account/a-1: Deposited, version 2, position 0-2\n", ""},
		},
		{
			"expected version 0",
			[]string{"account/a-1", "Deposit", `{"amount":5}`, "--id", "z0", "--expect", "0"},
			ending{1, "", "error: account/a-1: conflict: account/a-1 is at version 2, not at 0\n"},
		},
		{
			"rejected",
			[]string{"account/a-1", "Withdraw", `{"amount":50}`, "--id", "w"},
			ending{3, "", "rejected: account/a-1: insufficient_funds: the balance is 5\n"},
		},
		{
			"unknown",
			[]string{"account/a-1", "Fly", "--id", "f"},
			ending{1, "", "error: account/a-1: unknown: type account knows no command Fly\n"},
		},
		{
			"json",
			[]string{"account/a-1", "Deposit", `{"amount":5}`, "--id", "j", "--json"},
			ending{0, `{"ref":"account/a-1","id":"j","version":3,"position":"0-3","events":["bank.v1.Deposited"],"duplicate":false,"attempts":1}` + "\n", ""},
		},
		{
			"rejected in json",
			[]string{"account/a-1", "Withdraw", `{"amount":50}`, "--id", "w", "--json"},
			ending{3, `{"ref":"account/a-1","id":"w","error":{"status":422,"code":"insufficient_funds","message":"the balance is 10"}}` + "\n", ""},
		},
	} {
		if got := tm.run(append([]string{"send"}, c.args...)...); got != c.want {
			t.Errorf("%s: got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestSendPutsColourOnATerminalOnly(t *testing.T) {
	t.Parallel()
	tm := newTerminal(t, startStub(t))
	tm.cfg.ErrTerminal = true
	if got, want := tm.run("send", "account/a-1", "Withdraw", `{"amount":50}`).err, "\x1b[33mrejected: \x1b[0m"; !strings.HasPrefix(got, want) {
		t.Errorf("on a terminal: %q, want it to begin with %q", got, want)
	}
	const plain = "NO_COLOR"
	tm.vars[plain] = "1"
	if got, want := tm.run("send", "account/a-1", "Withdraw", `{"amount":50}`).err, "rejected: "; !strings.HasPrefix(got, want) {
		t.Errorf("with %s: %q, want it to begin with %q", plain, got, want)
	}
}

func TestSendSaysWhoAndWhy(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	tm.must("send", "account/a 1.ü", "OpenAccount", `{}`, "--id", "x", "--user", "Ann Ü", "--correlation", "c", "--causation", "m")
	tm.vars["HOLDFAST_USER"] = "bob"
	tm.must("send", "account/a=201=2E=C3=BC", "Deposit", "--encoded")
	got := s.account("account/a=201=2E=C3=BC").history
	if len(got) != 2 {
		t.Fatalf("recorded %+v, want two events of one aggregate", got)
	}
	first := fmt.Sprint(got[0].CommandID, got[0].User, got[0].CorrelationID, got[0].CausationID)
	if want := fmt.Sprint("x", "Ann Ü", "c", "m"); first != want {
		t.Errorf("first event has %s, want %s", first, want)
	}
	if got[1].User != "bob" || len(got[1].CommandID) < 20 || string(got[1].Data) != "{}" {
		t.Errorf("second event is %+v, want user bob of the environment, a random id and no data", got[1])
	}
}

func TestSendReadsDataFromElsewhere(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte(" {\n \"amount\": 7 }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tm.in = `{"amount":30}`
	tm.must("send", "account/a", "Deposit", "@"+file)
	tm.must("send", "account/a", "Deposit", "-")
	if got := s.account("account/a").Balance; got != 37 {
		t.Errorf("balance is %d, want 37", got)
	}
}

func TestSendTriesAgainWithTheSameID(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{
		"429":                {status: 429, code: "overloaded"},
		"503":                {status: 503, code: "unavailable"},
		"504":                {status: 504, code: "uncertain"},
		"504 after all":      {status: 504, code: "uncertain", executed: true},
		"silence":            {silent: true},
		"silence, after all": {silent: true, executed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startStub(t)
			var ids []string
			s.onCommand(func(n int, m *nats.Msg) fault {
				ids = append(ids, m.Header.Get("Nats-Msg-Id"))
				if n < 3 {
					return f
				}
				return fault{}
			})
			tm := newTerminal(t, s)
			timeout := "30s"
			if f.silent {
				timeout = "3s"
			}
			got := tm.run("send", "account/a", "Deposit", `{"amount":1}`, "--timeout", timeout, "--json")
			var doc struct {
				Duplicate bool
				Attempts  int
				ID        string
			}
			if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != 0 {
				t.Fatalf("got %+v: %v", got, err)
			}
			// A busy machine may answer the third attempt too late as well.
			more := doc.Attempts > 3
			if doc.Attempts < 3 || doc.Duplicate != (f.executed || more) || s.account("account/a").Balance != 1 {
				t.Errorf("got %+v and balance %d, want three attempts and one effect", doc, s.account("account/a").Balance)
			}
			if len(ids) != doc.Attempts || slices.ContainsFunc(ids, func(id string) bool { return id != doc.ID }) {
				t.Errorf("sent ids %v, want %s each time", ids, doc.ID)
			}
			if n := strings.Count(got.err, "trying again with the same id "+doc.ID); n != doc.Attempts-1 {
				t.Errorf("it says %q, want a note each time that it tries again", got.err)
			}
		})
	}
}

func TestSendGivesUp(t *testing.T) {
	t.Parallel()
	unavailable := fault{status: 503, code: "unavailable"}
	for name, c := range map[string]struct {
		first, then fault
		want        string
	}{
		"unavailable":              {unavailable, unavailable, "it was not executed: sending it again with --id x is safe"},
		"uncertain":                {fault{status: 504, code: "uncertain"}, unavailable, "it may have been executed: sending it again with --id x is safe"},
		"silent":                   {fault{silent: true}, fault{silent: true}, "it may have been executed: sending it again with --id x is safe"},
		"silent, then unavailable": {fault{silent: true}, unavailable, "it may have been executed: sending it again with --id x is safe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startStub(t)
			s.onCommand(func(n int, _ *nats.Msg) fault {
				if n == 1 {
					return c.first
				}
				return c.then
			})
			tm, timeout := newTerminal(t, s), "30s"
			if c.first.silent {
				timeout = "900ms"
			}
			got := tm.run("send", "account/a", "Deposit", "--id", "x", "--timeout", timeout)
			if got.code != 1 || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, "given up (--timeout)") {
				t.Errorf("got %+v, want exit code 1 and %q", got, c.want)
			}
			for end := time.Now().Add(30 * time.Second); s.count() < 2; <-time.After(time.Millisecond) { // some may be on their way
				if time.Now().After(end) {
					t.Fatalf("it tried %d times, want more", s.count())
				}
			}
		})
	}
}

func TestSendPausesLongerEachTime(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	s.onCommand(func(int, *nats.Msg) fault { return fault{status: 503, code: "unavailable"} })
	tm := newTerminal(t, s)
	tm.run("send", "account/a", "Deposit", "--id", "x", "--timeout", "30s")
	want := 50 * time.Millisecond
	for i, pause := range tm.waits {
		if pause < want*3/4 || pause > want*5/4 {
			t.Errorf("pause %d is %v, want about %v", i+1, pause, want)
		}
		want = min(2*want, 2*time.Second)
	}
	if n := len(tm.waits); n < 15 || n > 25 {
		t.Errorf("%d pauses in 30 s, want 15 to 25", n)
	}
}

func TestSendWithoutANode(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	tm := newTerminal(t, s)
	got := tm.run("send", "account/a", "Deposit", "--timeout", "30s", "--id", "x")
	if want := "start one with 'node run --context demo'"; got.code != 1 || !strings.Contains(got.err, want) {
		t.Errorf("no node: got %+v, want exit code 1 and %q", got, want)
	}
	got = tm.run("send", "account/a", "Deposit", "--context", "shop")
	if want := "does not let this login ask the context shop: is --context right"; got.code != 1 || !strings.Contains(got.err, want) {
		t.Errorf("another context: got %+v, want exit code 1 and %q", got, want)
	}
	s.server.Stop()
	got = tm.run("send", "account/a", "Deposit", "--json", "--id", "x")
	if got.code != 1 || !strings.Contains(got.out, `"code":"unreachable"`) || !strings.Contains(got.out, "is a node running? start one with 'node run'") {
		t.Errorf("no server: got %+v, want exit code 1 and the remedy", got)
	}
}

func TestSendIsInterrupted(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	for try := 1; ; try++ {
		took := interrupt(t, s)
		if took < 3*time.Second { // an attempt may take 5 s
			return
		}
		if try == 5 { // the machine does not stand still each time
			t.Fatalf("it took %v to stop", took)
		}
	}
}

// interrupt interrupts a command that nobody answers, and tells how long it takes to stop.
func interrupt(t *testing.T, s *stub) time.Duration {
	t.Helper()
	tm := newTerminal(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	tm.ctx = ctx
	var stopped time.Time
	s.onCommand(func(int, *nats.Msg) fault {
		return fault{silent: true, after: func() { stopped = time.Now(); cancel(errors.New("enough")) }}
	})
	got := tm.run("send", "account/a", "Deposit", "--id", "x", "--timeout", "1m")
	if want := "interrupted; it may have been executed: sending it again with --id x is safe"; got.code != 1 || !strings.Contains(got.err, want) {
		t.Fatalf("got %+v, want exit code 1 and %q", got, want)
	}
	return time.Since(stopped)
}

func TestAnInterruptedSendAwaitsTheAnswer(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s).inRealTime()
	ctx, cancel := context.WithCancel(t.Context())
	tm.ctx = ctx
	s.onCommand(func(int, *nats.Msg) fault {
		cancel()
		return fault{}
	})
	if got := tm.must("send", "account/a", "Deposit"); !strings.Contains(got, "Deposited, version 1") {
		t.Errorf("got %q, want the answer", got)
	}
}

func TestAnswersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault fault
		want  string
	}{
		"not JSON":         {fault{body: "moo", executed: true}, "the node's answer cannot be read"},
		"a wrong version":  {fault{body: `{"version":-1}`, executed: true}, "cannot unmarshal number -1"},
		"a strange status": {fault{status: 99, code: "what"}, `the error code "99", which is none`},
		"a control code":   {fault{status: 500, code: "internal\x1b[2J"}, `internal\u001b[2J`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startStub(t)
			s.onCommand(func(int, *nats.Msg) fault { return c.fault })
			got := newTerminal(t, s).run("send", "account/a", "Deposit")
			if got.code != cli.ExitFailure || !strings.Contains(got.err, c.want) || s.count() != 1 {
				t.Errorf("got %+v after %d attempts, want exit code 1 and %q after one", got, s.count(), c.want)
			}
		})
	}
}

// TestSendOutlivesTheServer: a lost connection is noticed at once, nothing is kept to be
// sent late, and the command takes effect once.
func TestSendOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	s.onCommand(func(n int, _ *nats.Msg) fault {
		if n > 1 {
			return fault{}
		}
		return fault{silent: true, executed: true, after: func() { go s.server.Stop() }}
	})
	tm := newTerminal(t, s).inRealTime()
	waits := 0
	tm.cfg.Wait = func(context.Context, time.Duration) error {
		if waits++; waits == 2 {
			s.restart()
		}
		return nil
	}
	got := tm.run("send", "account/a", "Deposit", `{"amount":1}`, "--id", "x", "--timeout", "30s")
	if got.code != cli.ExitOK || s.account("account/a").Balance != 1 {
		t.Errorf("got %+v and %+v, want exit code 0 and one deposit", got, s.account("account/a"))
	}
	notes := strings.SplitAfter(got.err, "\n")
	if !strings.Contains(notes[0], "was lost before the answer came") || !strings.Contains(notes[1], "is lost: is the node still running?") {
		t.Errorf("it says %q, want first that the connection was lost, then that it is", notes)
	}
}
