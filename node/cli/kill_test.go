package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/node/cli"
)

// A process is a node's binary of its own that can be killed.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

func startProcess(t *testing.T, s *stub, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asNode+"=1", "HOLDFAST_SERVER="+s.server.ClientURL())
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code tells
	}()
	return p
}

// code waits for the end; -1 means that it was killed.
func (p *process) code() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// kill returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

// storyLines has lines of which the outcome depends on their order: withdrawals that
// are rejected or not, names that change nothing or do, and one account that is busier
// than it remembers.
func storyLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		ref := "account/busy"
		if i%3 == 0 {
			ref = fmt.Sprintf("account/a-%d", i%7)
		}
		command, data := "Deposit", fmt.Sprintf(`{"amount":%d,"line":%d}`, 1+i%5, i+1)
		switch {
		case i%4 == 1:
			command, data = "Withdraw", fmt.Sprintf(`{"amount":%d,"line":%d}`, 1+i%11, i+1)
		case i%5 == 2:
			command, data = "Rename", fmt.Sprintf(`{"owner":"%d","line":%d}`, i%2, i+1)
		case i%97 == 0:
			command = "Fly"
		}
		lines[i] = fmt.Sprintf(`{"ref":%q,"command":%q,"data":%s}`, ref, command, data)
	}
	return lines
}

// effects are what happened to each account, in order.
func effects(s *stub) map[string]string {
	all := map[string]string{}
	for ref, a := range s.all() {
		for _, event := range a.history {
			all[ref] += event.Type + string(event.Data) + "\n"
		}
	}
	return all
}

// TestKilledApplyTakesEffectOnceInOrder kills the process again and again: before a
// command is executed, after it without an answer, and after the answer.
func TestKilledApplyTakesEffectOnceInOrder(t *testing.T) {
	t.Parallel()
	lines := storyLines(2400)
	once := startStub(t)
	if got := newTerminal(t, once).run("apply", writeLines(t, lines...), "--concurrency", "1"); got.code != cli.ExitFailure {
		t.Fatalf("without a kill: got %+v, want exit code 1 for the unknown command", got)
	}
	s := startStub(t)
	file := writeLines(t, lines...)
	kills := []int{1, 2, 40, 200, 201, 333, 500, 777, 1100, 1500, 1501, 1900, 2300}
	var mu sync.Mutex
	var p, killed *process
	s.onCommand(func(n int, _ *nats.Msg) fault {
		mu.Lock()
		defer mu.Unlock()
		if len(kills) == 0 || n < kills[0] || p == killed { // what a killed one had sent before
			return fault{}
		}
		mode := len(kills) % 3
		kills = kills[1:]
		killed = p
		kill := p.kill
		switch mode {
		case 0:
			return fault{silent: true, after: kill}
		case 1:
			return fault{silent: true, executed: true, after: kill}
		}
		return fault{after: kill}
	})
	runs := 0
	for code := -1; code == -1; runs++ {
		mu.Lock()
		p = startProcess(t, s, "apply", file, "--concurrency", "5")
		mu.Unlock()
		if code = p.code(); code != -1 && code != cli.ExitFailure {
			t.Fatalf("run %d: exit code %d\n%s", runs+1, code, p.out.String())
		}
	}
	if runs != 14 {
		t.Errorf("%d runs, want 14", runs)
	}
	got, want := effects(s), effects(once)
	for ref := range want {
		if got[ref] != want[ref] {
			t.Errorf("%s: took effect\n%s\nwant\n%s", ref, got[ref], want[ref])
		}
	}
	if !strings.Contains(p.out.String(), "lines              2400\n") {
		t.Errorf("the last run says\n%s\nwant all lines", p.out.String())
	}
}

// TestKilledApplyOutrunsTheMemoryOfAnAggregate: one aggregate gets far more lines than
// it remembers while the first line of the file cannot be settled.
func TestKilledApplyOutrunsTheMemoryOfAnAggregate(t *testing.T) {
	t.Parallel()
	s := startStub(t)
	lines := depositLines(3000, 1)
	lines[0] = `{"ref":"account/slow","command":"Deposit","data":{"amount":1}}`
	file := writeLines(t, lines...)
	started := make(chan *process, 1)
	s.onCommand(func(n int, m *nats.Msg) fault {
		switch {
		case n == 2500:
			return fault{after: func() { (<-started).kill() }}
		case n < 2500 && strings.Contains(m.Subject, ".slow."):
			return fault{silent: true}
		}
		return fault{}
	})
	p := startProcess(t, s, "apply", file)
	started <- p
	if code := p.code(); code != -1 {
		t.Fatalf("exit code %d\n%s\nwant it to be killed", code, p.out.String())
	}
	newTerminal(t, s).must("apply", file)
	if n := checkOrder(t, s); n != 3000 {
		t.Errorf("%d lines took effect, want 3000", n)
	}
}

func TestASignalStopsApplyCleanly(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := startStub(t)
			file := writeLines(t, depositLines(50_000, 1)...)
			started := make(chan *process, 1)
			s.onCommand(func(n int, _ *nats.Msg) fault {
				if n != 50 {
					return fault{}
				}
				return fault{after: func() {
					if err := (<-started).cmd.Process.Signal(sig); err != nil {
						t.Errorf("signal: %v", err)
					}
				}}
			})
			p := startProcess(t, s, "apply", file)
			started <- p
			if code := p.code(); code != cli.ExitFailure || !strings.Contains(p.out.String(), "error: interrupted; run the same command again") {
				t.Errorf("exit code %d\n%s\nwant 1 and the hint", code, p.out.String())
			}
			if !strings.Contains(p.out.String(), fmt.Sprintf("accepted   %12d\n", len(s.account("account/a-0").history))) {
				t.Errorf("got\n%s\nwant %d accepted", p.out.String(), len(s.account("account/a-0").history))
			}
		})
	}
}
