package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/node/cli"
)

const (
	defaultRounds = 5
	defaultPer    = 500 * time.Millisecond
	mostRounds    = 1000
	shortest      = time.Millisecond
	longest       = time.Hour
	mostEvents    = 1_000_000_000

	mostAggregates = 100_000_000
	leastLive      = 256 // several times as many as there are callers
)

// flags are what the command line says.
type flags struct {
	mode, dir, out string
	rounds, events int
	aggregates     int
	live           int
	per            time.Duration
	zipf, json     bool
}

// Command is bench, with compare and page below it.
func Command(cfg cli.Config) *cobra.Command { return command(cfg, 0) }

// command is Command, whose workloads have at most so many aggregates and callers.
func command(cfg cli.Config, most int) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "bench [WORKLOAD...]",
		Short: "Measure on this machine, beside the raw engine",
		Long: fmt.Sprintf(`Measure Holdfast on this machine, beside the raw engine: what the least client of NATS
would reach by hand on the same servers, with messages of the same size and the same guard
against a second writer. They take turns in one process, in rounds; what counts is the ratio
of the two, and how far it spreads. What was answered is found in the store afterwards, and
it is a failure when it is not.

Servers are started for it, in a temporary folder that is removed afterwards. Whatever else
the machine does meanwhile is measured, too.

Workloads, of which the quick set, marked *, is run when none is named, in about a minute:
%s
Modes:
%s
Exit codes: 0 measured and verified, 1 failed, not verified or interrupted, 2 wrong usage.`, listKinds(), listModes()),
		Example: fmt.Sprintf(`  %[1]s bench
  %[1]s bench hot many --mode all
  %[1]s bench many --zipf --rounds 9 --for 5s
  %[1]s bench many load return --events 10000000
  %[1]s bench soak --aggregates 1000000 --live 50000 --rounds 30 --for 20s
  %[1]s bench --dir /var/lib/holdfast --out today.json
  %[1]s bench compare recorded.json today.json`, cfg.Program),
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return strings.Split(names(), ", "), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return cli.Usage(err)
			}
			tell := progress{cmd.ErrOrStderr(), cfg.ErrTerminal}
			o.told, o.most = tell.say, most
			if o.self, err = self(cmd); err != nil {
				return err
			}
			if len(args) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "No workload is named: this is the quick set, which takes about %s. '%s --help' lists all.\n", o.takes(), cmd.CommandPath())
			}
			return f.finish(cmd, o, &tell)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.mode, "mode", modes[0].name, "how the `servers` are: "+modeNames()+", or all of these")
	fs.StringVar(&f.dir, "dir", "", "`folder` in which the servers get a folder of their own; it should be on the disk that is to be measured (default: the one for temporary files)")
	fs.IntVar(&f.rounds, "rounds", defaultRounds, "`number` of rounds of each workload")
	fs.DurationVar(&f.per, "for", defaultPer, "`time` that each side runs in a round")
	fs.BoolVar(&f.zipf, "zipf", false, "have many pick few aggregates often and many seldom")
	fs.IntVar(&f.events, "events", 0, "`number` of events that are in the log before many, load and return begin, over a tenth as many other aggregates")
	fs.IntVar(&f.aggregates, "aggregates", 0, "`number` of aggregates of soak (default 1000)")
	fs.IntVar(&f.live, "live", 0, "`number` of aggregates that may be active in soak, beyond which those that are longest unused go (default: all)")
	fs.BoolVar(&f.json, "json", false, "write one JSON document instead of tables")
	fs.StringVar(&f.out, "out", "", "`file` to write the JSON document to as well")
	cmd.AddCommand(compareCommand(cfg), pageCommand(cfg), victimCommand())
	return cmd
}

// options checks what was given. The error says which flag is wrong, and what to do.
func (f flags) options(args []string) (options, error) {
	o := options{rounds: f.rounds, per: f.per, zipf: f.zipf, events: f.events, aggregates: f.aggregates, live: f.live, dir: f.dir}
	var unknown string
	if o.kinds, unknown = find(args); unknown != "" {
		return o, fmt.Errorf("there is no workload %q: choose among %s", unknown, names())
	}
	for _, m := range modes {
		if m.name == f.mode || f.mode == "all" {
			o.modes = append(o.modes, m)
		}
	}
	if len(o.modes) == 0 {
		return o, fmt.Errorf("--mode %q: want %s or all", f.mode, modeNames())
	}
	if f.rounds < 1 || f.rounds > mostRounds {
		return o, fmt.Errorf("--rounds %d: want 1 to %d", f.rounds, mostRounds)
	}
	if f.per < shortest || f.per > longest {
		return o, fmt.Errorf("--for %v: want %v to %v, for instance 1s", f.per, shortest, longest)
	}
	if o.dir == "" {
		o.dir = os.TempDir()
	}
	if info, err := os.Stat(o.dir); err != nil || !info.IsDir() {
		return o, fmt.Errorf("--dir %s: it is no folder: make it, or name another", o.dir)
	}
	if f.out != "" {
		if info, err := os.Stat(filepath.Dir(f.out)); err != nil || !info.IsDir() {
			return o, fmt.Errorf("--out %s: its folder is not there: make it, or name another file", f.out)
		}
	}
	if f.events < 0 || f.events > mostEvents || f.events%eventsOfAged != 0 {
		return o, fmt.Errorf("--events %d: want 0 to %d, by tens, for instance 1000000", f.events, mostEvents)
	}
	if f.aggregates < 0 || f.aggregates > mostAggregates {
		return o, fmt.Errorf("--aggregates %d: want 1 to %d", f.aggregates, mostAggregates)
	}
	if f.live != 0 && (f.live < leastLive || f.live > mostAggregates) {
		return o, fmt.Errorf("--live %d: want %d to %d", f.live, leastLive, mostAggregates)
	}
	return o, f.checkUse(o)
}

// checkUse refuses flags that would have no effect.
func (f flags) checkUse(o options) error {
	for _, c := range []struct {
		given    bool
		flag, of string
		is       func(kind) bool
	}{
		{f.zipf, "--zipf", "the workload many: name it", func(k kind) bool { return k.zipf }},
		{f.aggregates > 0, "--aggregates", "the workload soak: name it", func(k kind) bool { return k.soaks }},
		{f.live > 0, "--live", "the workload soak: name it", func(k kind) bool { return k.soaks }},
		{f.events > 0, "--events", "the workloads many, load and return: name one of them", func(k kind) bool { return k.ages }},
	} {
		if c.given && !slices.ContainsFunc(o.kinds, c.is) {
			return fmt.Errorf("%s: it is for %s, or leave the flag out", c.flag, c.of)
		}
	}
	return nil
}

// takes is about how long it will be.
func (o options) takes() time.Duration {
	const sides, besides = 3, 2 * time.Second
	var one time.Duration
	for _, k := range o.kinds {
		one += sides*o.each(k)*time.Duration(o.rounds) + besides
	}
	return (one * time.Duration(len(o.modes))).Round(time.Second)
}

// finish runs it, and writes what came of it, also when something went wrong.
func (f flags) finish(cmd *cobra.Command, o options, tell *progress) error {
	d, err := run(cmd.Context(), o)
	tell.end()
	text, encoding := d.Encode()
	if encoding != nil {
		return errors.Join(err, encoding)
	}
	if f.out != "" {
		if failed := os.WriteFile(f.out, text, 0o644); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	out := cmd.OutOrStdout()
	if f.json {
		_, failed := out.Write(text)
		return errors.Join(err, failed)
	}
	d.Head(out)
	report.Table(out, d.Results, titleOf)
	return err
}

func titleOf(name string) string {
	for _, m := range modes {
		if m.name == name {
			return m.title
		}
	}
	return name
}

func modeNames() string {
	var out []string
	for _, m := range modes {
		out = append(out, m.name)
	}
	return strings.Join(out, ", ")
}

func listKinds() string {
	var b strings.Builder
	for _, k := range kinds {
		mark := " "
		if k.quick {
			mark = "*"
		}
		fmt.Fprintf(&b, "  %s %-11s %s\n", mark, k.name, k.does)
	}
	return b.String()
}

func listModes() string {
	var b strings.Builder
	for _, m := range modes {
		fmt.Fprintf(&b, "    %-11s %s\n", m.name, m.title)
	}
	return b.String()
}

// A progress tells a person on one line of a terminal what is being done, and others on a line
// each.
type progress struct {
	w        io.Writer
	terminal bool
}

const clearLine = "\r\x1b[K"

func (p *progress) say(format string, args ...any) {
	if p.terminal {
		fmt.Fprintf(p.w, clearLine+format, args...)
		return
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// end leaves the line to others.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, clearLine)
	}
}
