package bench_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/bench"
	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/node/cli"
)

// TestMain is a victim in the process that a benchmark has started for it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "victim" {
		cfg := cli.Config{Program: "node"}
		root := bench.Small(cfg, 32)
		root.SetArgs(os.Args[1:])
		os.Exit(cli.Execute(context.Background(), root, cfg))
	}
	goleak.VerifyTestMain(m)
}

// A said is what a command line said, and how it ended.
type said struct {
	code     int
	out, err string
}

func command(ctx context.Context, args ...string) said {
	return commandWith(ctx, new(told), args...)
}

// A told is what is told on stderr. It calls then when a text has been.
type told struct {
	strings.Builder
	text string
	then func()
}

func (t *told) Write(p []byte) (int, error) {
	if t.then != nil && strings.Contains(string(p), t.text) {
		t.then()
	}
	return t.Builder.Write(p)
}

func commandWith(ctx context.Context, errs *told, args ...string) said {
	var out strings.Builder
	cfg := cli.Config{Program: "node", Out: &out, Err: errs, Getenv: func(string) string { return "" }}
	root := bench.Small(cfg, 32)
	root.SetArgs(args)
	code := cli.Execute(ctx, root, cfg)
	return said{code, out.String(), errs.String()}
}

// TestEachWorkload runs each for a blink, so that none of them rots: it prints figures, finds
// in the store what was answered, and leaves nothing in the folder.
func TestEachWorkload(t *testing.T) {
	for _, name := range bench.Names() {
		t.Run(name, func(t *testing.T) { blink(t, "always", name) })
	}
	t.Run("many evenly and not", func(t *testing.T) { blink(t, "relaxed", "many", "--zipf") })
	t.Run("an old log", func(t *testing.T) { blink(t, "relaxed", "return", "--events", "200") })
	t.Run("more aggregates than may be active", func(t *testing.T) {
		blink(t, "relaxed", "soak", "--aggregates", "2000", "--live", "256")
	})
	t.Run("three servers", func(t *testing.T) { blink(t, "three", "many") })
}

// TestLeaderKilled: also a server that leads the log can go without a word, which takes an
// election.
func TestLeaderKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("an election takes some seconds")
	}
	t.Parallel()
	rounds(t, 1, "three", "failover")
}

func blink(t *testing.T, mode string, args ...string) {
	t.Helper()
	rounds(t, 2, mode, args...)
}

func rounds(t *testing.T, n int, mode string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	got := command(t.Context(), append(args, "--mode", mode, "--rounds", strconv.Itoa(n), "--for", "10ms", "--dir", dir, "--out", filepath.Join(dir, "x.json"))...)
	if got.code != cli.ExitOK {
		t.Fatalf("got %+v", got)
	}
	d, err := report.Read(filepath.Join(dir, "x.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !d.Complete || len(d.Results) == 0 || d.Machine.Fsync <= 0 {
		t.Fatalf("got %+v", d)
	}
	for _, r := range d.Results {
		check(t, r, n)
		if !strings.Contains(got.out, r.Verified) || !strings.Contains(got.err, fmt.Sprintf("round %d of %d", n, n)) {
			t.Errorf("it says %s and %s", got.out, got.err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func check(t *testing.T, r report.Result, rounds int) {
	t.Helper()
	if r.Rounds != rounds || r.Ours.PerSecond <= 0 || r.Ours.P50 <= 0 || r.Raw.PerSecond <= 0 || r.Verified == "" || len(r.Heaps) != rounds || r.Memory < r.Heaps[rounds-1] {
		t.Errorf("got %+v", r)
	}
	judged := 0
	for _, x := range r.Ratios {
		if x.Judged {
			judged++
		}
	}
	if judged == 0 {
		t.Errorf("no ratio is judged: %+v", r.Ratios)
	}
}

// TestInterrupted: what was complete is told, and that it was not all.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := commandWith(ctx, &told{text: "round 3 of", then: cancel}, "one-caller", "--rounds", "1000", "--for", "20ms", "--dir", dir, "--json")
	if got.code != cli.ExitFailure || !strings.Contains(got.err, "interrupted: what was complete by then is told") ||
		!strings.Contains(got.out, `"complete": false`) || !strings.Contains(got.out, `"rounds": 2,`) || !strings.Contains(got.out, "deposits were answered") {
		t.Errorf("got %+v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct{ args, want string }{
		{"fly", `there is no workload "fly": choose among one-caller, hot, `},
		{"hot --mode fast", `--mode "fast": want always, relaxed, three or all`},
		{"hot --rounds 0", "--rounds 0: want 1 to 1000"},
		{"hot --rounds many", `invalid argument "many" for "--rounds"`},
		{"hot --for 0s", "--for 0s: want 1ms to 1h0m0s, for instance 1s"},
		{"hot --for -1s", "--for -1s: want"},
		{"hot --dir /does/not/exist", "--dir /does/not/exist: it is no folder: make it, or name another"},
		{"hot --out /does/not/exist/x.json", "--out /does/not/exist/x.json: its folder is not there"},
		{"hot --zipf", "--zipf: it is for the workload many: name it, or leave the flag out"},
		{"hot --events 10", "--events: it is for the workloads many, load and return: name one of them, or leave the flag out"},
		{"many --events 15", "--events 15: want 0 to 1000000000, by tens, for instance 1000000"},
		{"many --events -10", "--events -10: want 0 to"},
		{"hot --aggregates 10", "--aggregates: it is for the workload soak: name it, or leave the flag out"},
		{"soak --aggregates -1", "--aggregates -1: want 1 to 100000000"},
		{"hot --live 1000", "--live: it is for the workload soak: name it, or leave the flag out"},
		{"soak --live 10", "--live 10: want 256 to 100000000"},
		{"hot --fast", "unknown flag: --fast"},
		{"compare x.json", "accepts 2 arg(s), received 1"},
		{"compare /does/not/exist.json x.json", "open /does/not/exist.json"},
		{"compare x.json x.json --tolerance 2", "--tolerance 2: want a share between 0 and 1, for instance 0.2"},
		{"page", "accepts 1 arg(s), received 0"},
		{"page /does/not/exist.md", "open /does/not/exist.md"},
	} {
		args := strings.Fields(c.args)
		if args[0] != "compare" && args[0] != "page" && !slices.Contains(args, "--dir") {
			args = append(args, "--dir", dir)
		}
		got := command(t.Context(), args...)
		if got.code != cli.ExitUsage || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("bench %s: got %+v, want exit code 2 and %q", c.args, got, c.want)
		}
	}
}

// TestHelp: every workload and mode is in it.
func TestHelp(t *testing.T) {
	t.Parallel()
	got := command(t.Context(), "--help")
	for _, want := range append(bench.Names(), "always", "relaxed", "three", "node bench compare", "Exit codes") {
		if !strings.Contains(got.out, want) {
			t.Errorf("the help does not tell of %s:\n%s", want, got.out)
		}
	}
}

// written is a file with a document that has one ratio.
func written(t *testing.T, name string, rate float64) (path string) {
	t.Helper()
	r := report.Result{Workload: "hot", Mode: "always", Ratios: []report.Ratio{{
		Figure: "rate", Higher: true, Judged: true, Spread: report.Spread{Min: rate, Median: rate, Max: rate},
	}}}
	text, err := report.Document{Format: report.Format, Complete: true, Results: []report.Result{r}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	t.Parallel()
	old, now := written(t, "old.json", 10), written(t, "new.json", 7.5)
	if got := command(t.Context(), "compare", old, now); got.code != cli.ExitFailure || !strings.Contains(got.out, "worse") || !strings.Contains(got.err, "1 of 1 ratios are worse by more than 20 %") {
		t.Errorf("got %+v", got)
	}
	if got := command(t.Context(), "compare", old, now, "--tolerance", "0.3"); got.code != cli.ExitOK || strings.Contains(got.out, "worse") {
		t.Errorf("when more is tolerated: got %+v", got)
	}
}

// TestPage: --check finds that a page says something else than its document, which lies beside
// it, and changes nothing; without it the page is written anew, and then it is right.
func TestPage(t *testing.T) {
	t.Parallel()
	page := filepath.Join(filepath.Dir(written(t, "x.json", 7.5)), "page.md")
	const old = "# Speed\n<!-- bench: x.json -->\nAll is fast.\n<!-- end of bench -->\n"
	if err := os.WriteFile(page, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	says := func() string {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := command(t.Context(), "page", page, "--check"); got.code != cli.ExitFailure || !strings.Contains(got.err, "does not say what its documents say: run 'node bench page "+page+"'") || says() != old {
		t.Errorf("--check: got %+v, and the page says %q", got, says())
	}
	if got := command(t.Context(), "page", page); got.code != cli.ExitOK || !strings.Contains(says(), "**One server, fsync before every answer (always)**") || !strings.Contains(says(), "7.50 (7.50–7.50)") {
		t.Errorf("got %+v, and the page says %q", got, says())
	}
	if got := command(t.Context(), "page", page, "--check"); got.code != cli.ExitOK {
		t.Errorf("--check of what was just written: got %+v", got)
	}
}
