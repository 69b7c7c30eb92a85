package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/node/cli"
)

// A terminal runs a node's binary in this process, with a clock of its own.
type terminal struct {
	t   *testing.T
	ctx context.Context
	cfg cli.Config
	// access is how its operator reaches the nodes.
	access cli.Access
	in     string
	vars   map[string]string

	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

// An ending is how a command line went.
type ending struct {
	code     int
	out, err string
}

func newTerminal(t *testing.T, s *stub) *terminal {
	t.Helper()
	tm := &terminal{t: t, ctx: t.Context(), vars: map[string]string{}, now: time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC)}
	if s != nil {
		tm.vars["HOLDFAST_SERVER"] = s.server.ClientURL()
	}
	tm.cfg = cli.Config{
		Program: "node",
		Getenv:  func(name string) string { return tm.vars[name] },
		Now:     tm.clock,
		Wait:    tm.wait,
	}
	tm.access = nobody
	return tm
}

// inRealTime gives the terminal the real clock, for what runs at once.
func (tm *terminal) inRealTime() *terminal {
	tm.cfg.Now, tm.cfg.Wait = nil, nil
	return tm
}

func (tm *terminal) clock() time.Time {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.now
}

// wait lets the time pass at once.
func (tm *terminal) wait(ctx context.Context, d time.Duration) error {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.now = tm.now.Add(d)
	tm.waits = append(tm.waits, d)
	return ctx.Err()
}

func (tm *terminal) run(args ...string) ending {
	tm.t.Helper()
	var out, errs bytes.Buffer
	cfg := tm.cfg
	cfg.In, cfg.Out, cfg.Err = strings.NewReader(tm.in), &out, &errs
	root := newRoot(cfg)
	root.AddCommand(cli.SagasCommand(cfg, tm.access), cli.EventsCommand(cfg, tm.access), cli.ExplainCommand(cfg, tm.access),
		cli.ProjectionsCommand(cfg, tm.access), cli.ParkedCommand(cfg, tm.access), cli.InboxCommand(cfg, tm.access), cli.FeedCommand(cfg, tm.access))
	root.SetArgs(args)
	code := cli.Execute(tm.ctx, root, cfg)
	return ending{code, out.String(), errs.String()}
}

func (tm *terminal) must(args ...string) string {
	tm.t.Helper()
	e := tm.run(args...)
	if e.code != cli.ExitOK {
		tm.t.Fatalf("node %s: exit code %d\n%s%s", strings.Join(args, " "), e.code, e.out, e.err)
	}
	return e.out
}

// completes waits until the words complete to that: a shell is not kept waiting, and gets nothing
// from a machine that is busy just then.
func (tm *terminal) completes(want string, words ...string) {
	tm.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		got := tm.must(append([]string{"__complete"}, words...)...)
		if got == want {
			return
		}
		if time.Now().After(end) {
			tm.t.Errorf("%q completes to %q, want %q", words, got, want)
			return
		}
	}
}

// writeLines writes a file of commands.
func writeLines(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "commands.ndjson")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func progressOf(s *stub, file string) string { return file + "." + s.log + ".progress" }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
