package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/examples/coop"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
)

// mostNodes a demo starts: more would only be slower.
const mostNodes = 7

func demoCommand() *cobra.Command {
	var nodes int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play a story on a node of its own, and show what is kept of it",
		Long: `Play a story on a node of its own, in a temporary folder that is removed afterwards:
a family of a homeschool co-op pays late, is locked out, pays, is withdrawn by mistake
and reinstated; then fifty families are withdrawn by mistake and put right; then two
customers of a shop check out, of whom one lives nowhere. Then read models: one that has
what was just written, one that an event is poison to until it is mended, and one that is
built anew. In the middle the node is stopped without ceremony. It takes some seconds.

With --nodes 3 the story is played on three nodes, which are processes of their own and
form a cluster. In the middle the one that owns the family is killed, another one takes
over, and later the killed one comes back. That takes 10 to 20 seconds.`,
		Example: "  node demo\n  node demo --nodes 3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 || nodes > mostNodes || nodes%2 == 0 {
				return cli.Usage(fmt.Errorf("--nodes: it is %d: choose 1 for a node without others, or 3, 5 or %d for a cluster, of which the minority may fail", nodes, mostNodes))
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), nodes)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 1, "`number` of nodes: 1, or an odd number that form a cluster")
	return cmd
}

// A demo is one play of the story.
type demo struct {
	out    io.Writer
	client *client
	stage  stage
}

// A stage is what the story is played on: a node in this process, or some in processes of
// their own.
type stage interface {
	// begin starts what is needed, and says what.
	begin(ctx context.Context) error
	// strike has the node that owns an aggregate be lost, and says so.
	strike(ctx context.Context, ref string) error
	// recovered is told how long it took until the next command of the aggregate was
	// answered.
	recovered(ctx context.Context, ref string, after time.Duration) error
	// meanwhile is what happens in the middle of the import; what it gives is said
	// afterwards.
	meanwhile(ctx context.Context) (says string, err error)
	// poison has an event come that a read model cannot handle.
	poison(ctx context.Context) error
	// show runs a command of an operator's on a node that runs.
	show(ctx context.Context, args ...string) error
	// verify has the log checked.
	verify(ctx context.Context) error
	// end leaves nothing running, whatever has happened. It bears repetition.
	end(ctx context.Context) error
}

func runDemo(ctx context.Context, out io.Writer, nodes int) (err error) {
	folder, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	d := &demo{out: out, client: &client{}}
	d.stage = &single{demo: d, folder: folder}
	if nodes > 1 {
		d.stage = newFleet(d, folder, nodes)
	}
	defer func() { err = errors.Join(err, d.stage.end(context.WithoutCancel(ctx))) }()
	return d.play(ctx)
}

func (d *demo) play(ctx context.Context) error {
	for _, scene := range []func(context.Context) error{d.stage.begin, d.family, d.trail, d.past, d.fifty, d.checkouts, d.own, d.stage.poison, d.rebuild, d.stage.verify} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.title("Three commands to try next, in two terminals")
	d.say("  go run ./cmd/node run")
	d.say(`  go run ./cmd/node send account/a-1 OpenAccount '{"owner":"ada"}'`)
	d.say("  go run ./cmd/node history account/a-1")
	return nil
}

func (d *demo) title(s string) {
	fmt.Fprintf(d.out, "\n%s\n%s\n", s, strings.Repeat("─", len([]rune(s))))
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// verb runs the very command that an operator uses, on the folder of a node.
func (d *demo) verb(ctx context.Context, out io.Writer, folder string, args ...string) error {
	root := node.Command(domain, cli.Config{Program: "node", Out: out, Err: d.out, Getenv: func(string) string { return "" }})
	root.SetArgs(append(args, "--data", folder, "--context", "demo"))
	root.SetOut(out)
	root.SetErr(d.out)
	root.SilenceUsage, root.SilenceErrors = true, true
	return root.ExecuteContext(ctx)
}

// family plays the story of the one family, from its file.
func (d *demo) family(ctx context.Context) error {
	d.title("The family that paid late")
	lines, err := parseStory(coop.Story)
	if err != nil {
		return err
	}
	for i, line := range lines {
		struck := i == len(lines)/2
		if struck {
			if err := d.stage.strike(ctx, line.Ref); err != nil {
				return err
			}
		}
		d.say("%s", line.Note)
		begin := time.Now()
		a, err := d.client.send(ctx, line)
		if err != nil {
			return err
		}
		d.say("    %-22s %s", line.Command, a)
		if struck {
			if err := d.stage.recovered(ctx, line.Ref, time.Since(begin)); err != nil {
				return err
			}
		}
	}
	return nil
}
