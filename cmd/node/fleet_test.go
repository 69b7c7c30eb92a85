package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/node/cli"
)

var started = regexp.MustCompile(`\(process (\d+)\)`)

// processes are those of the nodes that a demo says it has started.
func processes(t *testing.T, told string) (pids []int) {
	t.Helper()
	for _, m := range started.FindAllStringSubmatch(told, -1) {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 3 {
		t.Fatalf("%d processes, want 3, in:\n%s", len(pids), told)
	}
	return pids
}

// gone waits until none of the processes runs.
func gone(t *testing.T, pids []int) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for runs(pid) {
			select {
			case <-tick.C:
			case <-deadline:
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Errorf("process %d has outlived the demo", pid)
				return
			}
		}
	}
}

// runs reports whether a process does: one that nobody has buried yet does not.
func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

// Three nodes tell the story, though the one that owns the family is killed in the middle.
func TestDemoOnThreeNodes(t *testing.T) {
	begin := time.Now()
	told := play(t, 3, "NAME  STATE  ADDRESS", "family/f-lovelace is owned by n", "is started again", "stopped in order")
	t.Logf("played in %v", time.Since(begin))
	struck := regexp.MustCompile(`⚡ (n\d), which owns family/f-lovelace, is killed`).FindStringSubmatch(told)
	after := regexp.MustCompile(`↳ Answered (\d+\.\d s) after it was first sent, by (n\d), which owns the family now`).FindStringSubmatch(told)
	if struck == nil || after == nil || struck[1] == after[2] {
		t.Fatalf("who is killed, and who follows? %q, %q in\n%s", struck, after, told)
	}
	if !strings.Contains(told, "family/f-lovelace is owned by "+struck[1]) || !strings.Contains(told, struck[1]+" came back") {
		t.Errorf("%s is not the owner, or does not come back:\n%s", struck[1], told)
	}
	t.Logf("answered after %s", after[1])
	gone(t, processes(t, told))
}

// startDemo runs a demo of three nodes as a process, until it has told a text.
func startDemo(t *testing.T, until string) (cmd *exec.Cmd, folder string, nodes []int) {
	t.Helper()
	folder = t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], "demo", "--nodes", "3")
	cmd.Env = append(os.Environ(), "TMPDIR="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%v\n%s", err, &told)
		}
		if told.WriteString(line); strings.Contains(line, until) {
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return cmd, folder, processes(t, told.String())
		}
	}
}

// An interrupted demo takes its nodes with it.
func TestInterruptedDemoLeavesNoProcess(t *testing.T) {
	cmd, folder, nodes := startDemo(t, "Started")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ends as if all were well")
	}
	gone(t, nodes)
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind: %v", left, err)
	}
}

// A stumbling output panics as soon as a text is told.
type stumbling struct {
	strings.Builder
	at string
}

func (s *stumbling) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.at) {
		panic(s.at)
	}
	return s.Builder.Write(b)
}

// Neither does one that panics leave any.
func TestPanickingDemoLeavesNoProcess(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	out := &stumbling{at: "Waiting"}
	func() {
		defer func() { _ = recover() }()
		_ = runDemo(t.Context(), out, 3)
		t.Error("it did not panic")
	}()
	gone(t, processes(t, out.String()))
}

// A node that ends before it serves, or does not serve in time, is told of with its reason.
func TestDemoTellsWhyANodeDoesNotServe(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*fleet)
		says  []string
	}{
		"ended": {func(f *fleet) { // something is where its folder would be
			if err := os.WriteFile(f.nodes[1].folder, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"n2 has ended", "make data folder"}},
		"late": {func(f *fleet) { f.patience = time.Millisecond }, []string{" does not serve: context deadline exceeded"}},
	} {
		f := newFleet(&demo{out: io.Discard, client: &client{}}, t.TempDir(), 3)
		c.spoil(f)
		err := f.begin(t.Context())
		for _, says := range c.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: it says %v, and not %q", name, err, says)
			}
		}
		if err := f.end(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A node that does not stop, or not in order, is told of.
func TestTerminate(t *testing.T) {
	for script, says := range map[string]string{
		`trap "exit 0" TERM; echo "serves the context demo at here. "; read _`:               "",
		`trap "echo why >&2; exit 3" TERM; echo "serves the context demo at here. "; read _`: "did not stop in order: exit status 3; the end of its log:\nwhy",
		`trap "" TERM; echo "serves the context demo at here. "; exec sleep 100`:             "does not stop",
	} {
		p := &process{name: "n1"}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		in, err := cmd.StdinPipe() // which keeps it reading
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := p.launch(cmd); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if url, err := p.await(ctx); err != nil || url != "here" {
			t.Errorf("%s: %q, %v", script, url, err)
		}
		if says == "does not stop" {
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
		}
		if err := p.terminate(ctx); err == nil && says != "" || err != nil && (says == "" || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", script, err)
		}
		if p.kill(); p.running() {
			t.Errorf("%s: it runs", script)
		}
	}
}

// The one that was killed is not the owner, whatever an operator sees at first.
func TestAnotherOwner(t *testing.T) {
	killed, other := &process{name: "n1"}, &process{name: "n2"}
	seen := 0
	owner, err := anotherOwner(t.Context(), killed, func(context.Context) (*process, error) {
		switch seen++; seen {
		case 1:
			return nil, errors.New("no leader")
		case 2:
			return killed, nil
		}
		return other, nil
	})
	if err != nil || owner != other || seen != 3 {
		t.Errorf("%v, %v after %d", owner, err, seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	why := errors.New("no leader")
	if _, err := anotherOwner(ctx, killed, func(context.Context) (*process, error) { return nil, why }); !errors.Is(err, why) || !errors.Is(err, context.Canceled) {
		t.Errorf("in vain: %v", err)
	}
}

func TestDemoRefusesOtherNumbers(t *testing.T) {
	for _, n := range []string{"-1", "0", "2", "4", "9"} {
		var out strings.Builder
		root := demoCommand()
		root.SetArgs([]string{"--nodes", n})
		code := cli.Execute(t.Context(), root, cli.Config{Out: &out, Err: &out})
		if code != cli.ExitUsage || !strings.Contains(out.String(), "--nodes: it is "+n+": choose 1") {
			t.Errorf("%s: exit code %d\n%s", n, code, &out)
		}
	}
}
