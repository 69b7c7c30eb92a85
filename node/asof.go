package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/replay"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

const asOfLong = `Show the projection NAME as it would have been at a time or a position, with the definition that this
binary has. The command reads the log from its beginning up to there, into files of its own,
which are gone when it ends; no projection of a node is touched, and the node need not run.

A time means all that the log had taken by then. A position is written 0-42; of a log with
several partitions give one of each, with commas between them.

With --key it shows what a query for that key would have been answered, without it all rows
or documents, in no certain order. Events that the handlers refuse are left out, with all
later ones of their keys, and are told of.

Exit codes: 0 shown, 1 failed, or there was nothing under the key, 2 wrong usage.`

// A past is one run of the verb as-of.
type past struct {
	log        verification // which knows how to reach it
	projection *projections.Projection
	key        string
	keyed      bool // a key was given
	moment     replay.Config
}

func asOfCommand(d Domain, cfg cli.Config) *cobra.Command {
	p := &past{log: verification{domain: d}}
	var at string
	cmd := &cobra.Command{
		Use:   "as-of NAME",
		Short: "Show a projection as it would have been at a time or a position",
		Long:  asOfLong,
		Example: fmt.Sprintf(`  %[1]s projections as-of orders --at 2026-03-14T09:26:53Z --key o-1
  %[1]s projections as-of orders --at 0-4711 --json`, cfg.Program),
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (names []cobra.Completion, none cobra.ShellCompDirective) {
			for _, one := range d.Projections {
				if len(args) == 0 {
					names = append(names, one.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	fs := cmd.Flags()
	bindStore(fs, &p.log.config)
	fs.BoolVar(&p.log.json, "json", false, "write JSON, one document a line")
	cli.BindEnv(fs)
	fs.StringVar(&at, "at", "", "time, such as 2026-03-14T09:26:53Z, or `position`, such as 0-42; required")
	fs.StringVar(&p.key, "key", "", "`key` to show alone")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := cli.ReadEnv(fs, cfg.Getenv); err != nil {
			return cli.Usage(err)
		}
		p.keyed = fs.Changed("key")
		if err := p.parse(args[0], at, cmd); err != nil {
			return cli.Usage(err)
		}
		bar := io.Discard
		if cfg.ErrTerminal {
			bar = cmd.ErrOrStderr()
		}
		return p.log.tell(p.log.over(cmd.Context(), func(ctx context.Context, nc *nats.Conn) error { return p.show(ctx, nc, bar) }))
	}
	return cmd
}

// parse reads the command line. Its errors are of usage.
func (p *past) parse(name, at string, cmd *cobra.Command) error {
	p.log.out, p.log.progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
	for _, one := range p.log.domain.Projections {
		if one.Name() == name {
			p.projection = one
		}
	}
	if p.projection == nil {
		return fmt.Errorf("NAME: this binary has no projection %q", name)
	}
	if p.keyed && p.key == "" {
		return errors.New("--key: it is given and empty: leave it out, or give it a value (is a variable not set?)")
	}
	if p.keyed && !p.projection.Shown() {
		return fmt.Errorf("--key: the projection %s has no Show, which answers for keys: leave it out", name)
	}
	if err := p.parseMoment(at); err != nil {
		return err
	}
	return p.log.parse(nil)
}

func (p *past) parseMoment(at string) error {
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		p.moment.Time = t
		return nil
	}
	for text := range strings.SplitSeq(at, ",") {
		position, err := holdfast.ParsePosition(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("--at %q: want a time such as 2026-03-14T09:26:53Z, or a position such as 0-42, of several partitions with commas between them", at)
		}
		p.moment.At = append(p.moment.At, position)
	}
	return nil
}

// show makes the projection anew, and shows it.
func (p *past) show(ctx context.Context, nc *nats.Conn, progress io.Writer) error {
	store, err := p.log.open(ctx, nc)
	if err != nil {
		return err
	}
	defer store.Close()
	folder, err := os.MkdirTemp("", "holdfast-as-of-")
	if err != nil {
		return fmt.Errorf("make a folder for what is made anew: %w", err)
	}
	defer os.RemoveAll(folder)
	sink, err := sqlsink.Open(sqlsink.Config{Context: p.log.context, Log: messages.NewLogName(store.Created()), Folder: folder})
	if err != nil {
		return err
	}
	defer sink.Close()
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(progress), progressbar.OptionSetDescription("reading"),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond))
	c := p.moment
	c.Projection, c.Log, c.Sink = p.projection, store, sink
	c.Progress = func(done, total uint64) {
		bar.ChangeMax64(int64(total))
		_ = bar.Set64(int64(done)) // a bar that cannot be drawn is no reason to stop
	}
	made, err := replay.Run(ctx, c)
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if made.Left > 0 {
		first := made.Refused[0]
		fmt.Fprintf(p.log.progress, "left out are %d events, which could not be handled, or come after such in their key; the first is %s: %q\n", made.Left, first.Event, first.Reason)
	}
	return p.print(ctx, sink, made)
}

// print shows what was made: what is under the key, or all.
func (p *past) print(ctx context.Context, sink projections.Sink, made replay.Result) error {
	if !p.keyed {
		return sink.Dump(ctx, p.projection.Name(), replay.Generation, func(table, key string, row []byte) error {
			if p.log.json {
				return writeJSON(p.log.out, map[string]any{"table": table, "key": key, "row": json.RawMessage(row)})
			}
			if table != "" {
				table += "  "
			}
			_, err := fmt.Fprintf(p.log.out, "%s%q  %s\n", table, key, row)
			return err
		})
	}
	body, err := p.projection.Answer(ctx, sink, replay.Generation, p.key)
	switch {
	case err != nil:
		return err
	case body == nil:
		return fmt.Errorf("%s had nothing under the key %q then", p.projection.Name(), p.key)
	case !p.log.json:
		_, err := fmt.Fprintf(p.log.out, "%s\n", body)
		return err
	}
	var positions []string
	for _, at := range made.Positions {
		positions = append(positions, at.String())
	}
	return writeJSON(p.log.out, map[string]any{
		"projection": p.projection.Name(), "key": p.key, "position": strings.Join(positions, ","), "value": json.RawMessage(body),
	})
}
