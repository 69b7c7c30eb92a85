package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

func TestApplyLetsOneBadAggregateStandAlone(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	bad := func(_ int, m *nats.Msg) fault {
		if strings.Contains(m.Subject, ".a-1.") {
			return fault{status: 500, code: "corrupt"}
		}
		return fault{}
	}
	s.onCommand(bad)
	tm := newTerminal(t, s)
	file := writeLines(t, depositLines(12, 4)...)
	got := tm.run("apply", file)
	for _, want := range []string{
		"failed     line 2: account/a-1 Deposit: corrupt: as the test wants it\n",
		"failed     line 6: account/a-1 Deposit: not sent: it waits for line 2 of the same aggregate\n",
		"accepted              9\n", "failed                3\n",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("got\n%s\nwant %q", got.out, want)
		}
	}
	if got.code != cli.ExitFailure || !strings.Contains(got.err, "3 lines have failed and may be tried again; run the same command again") {
		t.Errorf("got exit code %d and %q, want 1 and the remedy", got.code, got.err)
	}
	sent := s.count()
	s.onCommand(nil)
	if got := tm.must("apply", file); !strings.Contains(got, "accepted             12\n") || !strings.Contains(got, "9 of the lines were settled by earlier runs\n") {
		t.Errorf("the second time: got\n%s\nwant all 12 accepted", got)
	}
	if n := s.count() - sent; n != 3 {
		t.Errorf("the second time it sends %d lines, want the 3 that failed", n)
	}
	checkOrder(t, s)
}

func TestApplyStopsWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	first := map[string]bool{}
	s.onCommand(func(_ int, m *nats.Msg) fault { // the first 30 are answered, however often they are asked
		if len(first) < 30 {
			first[m.Header.Get(nats.MsgIdHdr)] = true
		}
		return fault{silent: !first[m.Header.Get(nats.MsgIdHdr)]}
	})
	tm := newTerminal(t, s)
	file := writeLines(t, depositLines(2000, 100)...)
	got := tm.run("apply", file, "--timeout", "4s", "--concurrency", "8", "--json")
	var doc struct {
		Summary struct {
			Accepted, Duplicates, Failed int
			Error                        string
			Resumable                    bool
		}
	}
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != cli.ExitFailure {
		t.Fatalf("got %+v: %v", got, err)
	}
	if sum := doc.Summary; sum.Accepted+sum.Duplicates != 30 || sum.Failed != 0 || !strings.Contains(sum.Error, "no answer within") || !sum.Resumable {
		t.Errorf("got %+v, want 30 accepted, the reason, and that it can be resumed", sum)
	}
	if s.count() > 200 {
		t.Errorf("it sent %d commands to a node that does not answer", s.count())
	}
	s.onCommand(nil)
	tm.must("apply", file)
	if n := checkOrder(t, s); n != 2000 {
		t.Errorf("%d lines took effect, want 2000", n)
	}
}

func TestApplyIsInterruptedAndGoesOn(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s).inRealTime()
	ctx, cancel := context.WithCancelCause(t.Context())
	tm.ctx = ctx
	s.onCommand(func(n int, _ *nats.Msg) fault {
		if n == 100 {
			return fault{after: func() { cancel(errors.New("enough")) }}
		}
		return fault{}
	})
	file := writeLines(t, depositLines(3000, 1)...)
	got := tm.run("apply", file)
	if want := "error: interrupted; run the same command again to go on (" + progressOf(s, file) + " knows where)\n"; got.code != cli.ExitFailure || got.err != want {
		t.Errorf("got exit code %d and %q, want 1 and %q", got.code, got.err, want)
	}
	if n := s.count(); n < 100 || n > 110 {
		t.Errorf("%d lines were sent, want about 100", n)
	}
	if !strings.Contains(got.out, fmt.Sprintf("accepted   %12d\n", len(s.account("account/a-0").history))) {
		t.Errorf("got\n%s\nwant %d accepted", got.out, len(s.account("account/a-0").history))
	}
	tm.ctx = t.Context()
	tm.must("apply", file)
	if n := checkOrder(t, s); n != 3000 || s.count() != 3000 {
		t.Errorf("%d of 3000 lines took effect, %d were sent", n, s.count())
	}
}

func TestApplyOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	stop := make(chan struct{})
	s.onCommand(func(n int, _ *nats.Msg) fault {
		if n%400 != 0 {
			return fault{}
		}
		return fault{silent: true, executed: n%800 == 0, after: func() { stop <- struct{}{} }}
	})
	result := make(chan ending, 1)
	file := writeLines(t, depositLines(1500, 20)...)
	go func() {
		result <- newTerminal(t, s).inRealTime().run("apply", file, "--timeout", "30s", "--concurrency", "8")
	}()
	for {
		select {
		case <-stop:
			s.restart()
		case got := <-result:
			if got.code != cli.ExitOK {
				t.Fatalf("got %+v, want exit code 0", got)
			}
			if n := checkOrder(t, s); n != 1500 {
				t.Errorf("%d lines took effect, want 1500", n)
			}
			return
		}
	}
}

func TestAnInterruptedLineIsNoFailure(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s) // which does not wait for answers under way
	ctx, cancel := context.WithCancel(t.Context())
	tm.ctx = ctx
	s.onCommand(func(n int, m *nats.Msg) fault {
		switch {
		case strings.Contains(m.Subject, ".a-0."): // while the others are settled
			return fault{silent: true}
		case n == 5:
			return fault{silent: true, after: cancel}
		}
		return fault{}
	})
	got := tm.run("apply", writeLines(t, depositLines(20, 2)...))
	if want := "accepted              3\n"; got.code != 1 || !strings.Contains(got.out, want) || !strings.Contains(got.out, "failed                0\n") {
		t.Errorf("got %+v, want exit code 1, %q and no failure", got, want)
	}
}

func TestMalformedLinesCountOnceOverSeveralRuns(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	s.onCommand(func(n int, _ *nats.Msg) fault {
		if n == 1 {
			return fault{status: 500, code: "internal"}
		}
		return fault{}
	})
	tm := newTerminal(t, s)
	file := writeLines(t, depositLines(1, 1)[0], "not JSON")
	tm.run("apply", file)
	got := tm.run("apply", file)
	if want := "malformed             1\n"; got.code != 1 || !strings.Contains(got.out, want) || strings.Count(got.out, "line 2: it is not JSON") != 1 {
		t.Errorf("the second time: got %+v, want exit code 1, %q and the line listed once", got, want)
	}
}

func TestApplyRefusesAChangedFile(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	s.onCommand(func(int, *nats.Msg) fault { return fault{status: 500, code: "internal"} })
	file := writeLines(t, depositLines(3, 1)...)
	tm.run("apply", file)
	s.onCommand(nil)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--batch", "b"}, `the earlier run was with --batch ""`},
		{[]string{"--encoded"}, "the earlier run was with --encoded=false"},
	} {
		if got := tm.run(append([]string{"apply", file}, c.args...)...); got.code != 1 || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, "--restart") {
			t.Errorf("apply %v: got %+v, want exit code 1 and %q", c.args, got, c.want)
		}
	}
	change(t, file, "\n"+`{"ref":"account/a-9","command":"Deposit"}`)
	got := tm.run("apply", file)
	if got.code != 1 || !strings.Contains(got.err, "the file was changed after an earlier run") || !strings.Contains(got.err, "--restart") {
		t.Errorf("a changed file: got %+v, want exit code 1 and the remedy", got)
	}
	sent := s.count()
	tm.must("apply", file, "--restart")
	if n := s.count() - sent; n != 4 {
		t.Errorf("with --restart it sends %d lines, want 4", n)
	}
}

func change(t *testing.T, file, more string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(b, more...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestApplyNoticesAChangeUnderItsHands(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, file string){
		"a line more": func(t *testing.T, file string) {
			t.Helper()
			change(t, file, `{"ref":"account/a-9","command":"Deposit"}`)
		},
		"another line": changeLast,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startStub(t)
			file := writeLines(t, depositLines(9_500, 50)...)
			s.onCommand(func(n int, _ *nats.Msg) fault {
				if n == 1 {
					change(t, file)
				}
				return fault{}
			})
			got := newTerminal(t, s).run("apply", file)
			if got.code != 1 || !strings.Contains(got.err, "the file was changed while it was being applied") || !exists(progressOf(s, file)) {
				t.Errorf("got %+v, want exit code 1 and the reason", got)
			}
		})
	}
}

// changeLast changes the last line and no other, nor the length.
func changeLast(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)-4] ^= 1 // a digit of the amount, before }}
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestApplyMistrustsABrokenProgressFile(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	tm := newTerminal(t, s)
	file := writeLines(t, depositLines(3, 1)...)
	tm.must("apply", file)
	progress := progressOf(s, file)
	good, err := os.ReadFile(progress)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, want string }{
		"empty":           {"", "it cannot be read"},
		"cut off":         {`{"format":2,"sha`, "it cannot be read"},
		"next format":     {`{"format":2,"batch":"demo"}`, "its format 2 is unknown to this build, which reads 1"},
		"a line less":     {string(good[:len(good)-1]), "it has the outcomes of 2 lines, and the file has 3"},
		"a line more":     {string(good) + ".", "it has the outcomes of 4 lines, and the file has 3"},
		"unknown outcome": {string(good[:len(good)-2]) + "o.", "the outcome of line 2 is unknown"},
	} {
		if err := os.WriteFile(progress, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := tm.run("apply", file)
		if got.code != 1 || !strings.Contains(got.err, "progress file "+progress+": ") || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, "--restart") {
			t.Errorf("%s: got %+v, want exit code 1, %q and the remedy", name, got, c.want)
		}
	}
	tm.must("apply", file, "--restart")
}

func TestApplyWorksOnAFileOnceAtATime(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	file := writeLines(t, depositLines(3, 1)...)
	tm := newTerminal(t, s)
	second := make(chan ending, 1)
	s.onCommand(func(n int, _ *nats.Msg) fault {
		if n == 1 {
			second <- newTerminal(t, s).run("apply", file)
		}
		return fault{}
	})
	tm.must("apply", file, "--timeout", time.Minute.String())
	if got := <-second; got.code != 1 || !strings.Contains(got.err, "another run is applying it") {
		t.Errorf("the second run: got %+v, want exit code 1 and the reason", got)
	}
}

func TestApplyWithoutAPlaceForProgress(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	file := writeLines(t, depositLines(3, 1)...)
	if err := os.Mkdir(progressOf(s, file)+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	got := newTerminal(t, s).run("apply", file)
	if got.code != 1 || !strings.Contains(got.err, "pipe it in with '-'") || s.count() != 0 {
		t.Errorf("got %+v and %d commands, want exit code 1, the remedy and none", got, s.count())
	}
}
