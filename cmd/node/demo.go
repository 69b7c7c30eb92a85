package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/examples/coop"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Play a story on a node of its own, and show what is kept of it",
		Long: `Play a story on a node of its own, in a temporary folder that is removed afterwards:
a family of a homeschool co-op pays late, is locked out, pays, is withdrawn by mistake
and reinstated; then fifty families are withdrawn by mistake and put right. In the
middle the node is stopped without ceremony, twice. It takes a few seconds.`,
		Example: "  node demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

// A demo is one play of the story.
type demo struct {
	out    io.Writer
	folder string
	node   *node.Node
	client *client
}

func runDemo(ctx context.Context, out io.Writer) error {
	folder, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	d := &demo{out: out, folder: folder}
	err = d.play(ctx)
	return errors.Join(err, d.stop(context.WithoutCancel(ctx)), os.RemoveAll(folder))
}

func (d *demo) play(ctx context.Context) error {
	d.title("A node, in a folder of its own")
	if err := d.start(ctx); err != nil {
		return err
	}
	d.say("It serves the context demo, on an embedded NATS server that fsyncs before it answers.")
	for _, scene := range []func(context.Context) error{d.family, d.trail, d.past, d.fifty, d.verify} {
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

func (d *demo) start(ctx context.Context) (err error) {
	if d.node, err = node.Start(ctx, node.Config{
		Context: "demo", Types: domain.Types, Data: d.folder, Listen: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler), // the story is told here
	}); err != nil {
		return err
	}
	if d.client == nil {
		d.client = &client{}
	}
	return d.client.connect(d.node.ClientURL())
}

// stop stops in order, if there is a node.
func (d *demo) stop(ctx context.Context) error {
	if d.node == nil {
		return nil
	}
	d.client.close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	n := d.node
	d.node = nil
	return n.Stop(ctx)
}

// crash stops the node without ceremony, with whatever is on its way, and starts it again
// on the same folder.
func (d *demo) crash(ctx context.Context) error {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_ = d.node.Stop(gone) // that it did not wait is what was wanted
	return d.start(ctx)
}

// verify has the log checked by the very command that an operator uses.
func (d *demo) verify(ctx context.Context) error {
	d.title("The log, verified")
	if err := d.stop(ctx); err != nil {
		return err
	}
	d.say("$ node verify")
	root := node.Command(domain, cli.Config{Program: "node"})
	root.SetArgs([]string{"verify", "--data", d.folder, "--context", "demo"})
	root.SetOut(d.out)
	root.SetErr(d.out)
	root.SilenceUsage = true
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
		if i == len(lines)/2 {
			d.say("")
			d.say("    ⚡ The node is stopped without ceremony, and started again on what it had made durable.")
			d.say("")
			if err := d.crash(ctx); err != nil {
				return err
			}
		}
		d.say("%s", line.Note)
		a, err := d.client.send(ctx, line)
		if err != nil {
			return err
		}
		d.say("    %-22s %s", line.Command, a)
	}
	return nil
}
