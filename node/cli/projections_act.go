package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// acting is how long a node may take over what it is told to do.
const acting = 10 * time.Second

// A projectionAct is what an operator does to a projection.
type projectionAct struct {
	verb          messages.ProjectionVerb
	use, short    string
	long, example string
	// flags of it are bound to what stands in the body.
	flags func(cmd *cobra.Command, o *projectionActOptions)
	body  func(o *projectionActOptions) (map[string]any, error)
	// said tells what was done.
	said func(a projectionAnswer) string
}

type projectionActOptions struct {
	*projecting
	as, reason, to string
	generation     uint64
}

const asHelp = "`name` of who does it (default who runs the command, as the operating system says)"

var projectionActs = []projectionAct{
	{
		verb: messages.ProjectionPause, use: "pause NAME", short: "Have a projection stand still",
		long:    "Have the projection NAME stand still, in all its generations, until somebody resumes it. What it\nshows stays as it is; nothing is lost.",
		example: `  node projections pause orders --reason 'the database is moved'`,
		flags: func(cmd *cobra.Command, o *projectionActOptions) {
			cmd.Flags().StringVar(&o.reason, "reason", "", "why, for whoever looks at the projection later; required")
		},
		body: func(o *projectionActOptions) (map[string]any, error) {
			if strings.TrimSpace(o.reason) == "" {
				return nil, usagef("--reason: say why, for whoever looks at the projection later")
			}
			return map[string]any{"reason": o.reason}, nil
		},
	},
	{
		verb: messages.ProjectionResume, use: "resume NAME", short: "Have a paused projection go on",
		long: "Have the projection NAME go on, which somebody has paused.", example: `  node projections resume orders`,
	},
	{
		verb: messages.ProjectionReset, use: "reset NAME", short: "Have a projection do again what it has done, or leave something out",
		long: `Have the generation of the projection NAME that serves go on after a position of the log, or with
what the log has had since a time, whatever it has done already. What it did stays: rows are
changed once more by events that have changed them before. To do everything anew, from
nothing, rebuild it.`,
		example: `  node projections reset orders --to 0-4711
  node projections reset orders --to 2026-03-14T09:26:53Z`,
		flags: func(cmd *cobra.Command, o *projectionActOptions) {
			cmd.Flags().StringVar(&o.to, "to", "", "`position` after which it goes on in its partition, such as 0-42, or time, such as 2026-03-14T09:26:53Z; required")
		},
		body: func(o *projectionActOptions) (map[string]any, error) {
			_, notTime := time.Parse(time.RFC3339Nano, o.to)
			if _, err := holdfast.ParsePosition(o.to); err != nil && notTime != nil {
				return nil, usagef("--to %q: want a position such as 0-42, or a time such as 2026-03-14T09:26:53Z", o.to)
			}
			return map[string]any{"to": o.to}, nil
		},
	},
	{
		verb: messages.ProjectionBack, use: "back NAME", short: "Have the generation serve that served before",
		long:    "Have the generation of the projection NAME serve that served before the last switch. It is kept up\nto date until it is dropped, and that which served is kept in its place.",
		example: `  node projections back orders`,
		said: func(a projectionAnswer) string {
			return fmt.Sprintf("generation %d serves", a.Projection.Record.Serving)
		},
	},
	{
		verb: messages.ProjectionDrop, use: "drop NAME", short: "Take a generation away that does not serve",
		long: `Take a generation of the projection NAME away that does not serve: the one that is being built, or,
if there is none, the one that served before the last switch.`,
		example: `  node projections drop orders
  node projections drop orders --generation 3`,
		flags: func(cmd *cobra.Command, o *projectionActOptions) {
			cmd.Flags().Uint64Var(&o.generation, "generation", 0, "`number` of the generation, as 'projections show' tells it")
		},
		body: func(o *projectionActOptions) (map[string]any, error) {
			return map[string]any{"generation": o.generation}, nil
		},
		said: func(a projectionAnswer) string { return fmt.Sprintf("generation %d is dropped", a.Generation) },
	},
}

func (o *projecting) actCommand(cfg Config, act projectionAct) *cobra.Command {
	opts := &projectionActOptions{projecting: o}
	cmd := &cobra.Command{
		Use: act.use, Short: act.short, Long: act.long + "\n" + exitHelp + ".", Example: cfg.example(act.example),
		Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName(cfg),
	}
	cmd.Flags().StringVar(&opts.as, "as", "", asHelp)
	if act.flags != nil {
		act.flags(cmd, opts)
	}
	var body map[string]any
	check := func(args []string) (err error) {
		if err := checkName(args); err != nil {
			return err
		}
		if act.body != nil {
			if body, err = act.body(opts); err != nil {
				return err
			}
		}
		return checkAs(&opts.as)
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		a, err := c.projection(ctx, act.verb, args[0], opts.as, body, acting)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(c.cfg.Out, a.raw)
		}
		text := fmt.Sprintf("%s: %s, by %s", args[0], act.verb, opts.as)
		if act.said != nil {
			text += "; " + act.said(a)
		}
		return c.cfg.say(text)
	})
	return cmd
}

// say writes one line.
func (c Config) say(text string) error {
	_, err := fmt.Fprintln(c.Out, oneLine(text))
	return err
}

// checkAs fills in who acts.
func checkAs(as *string) (err error) {
	if *as == "" {
		*as, err = osUser()
		return err
	}
	if err := messages.CheckUser(*as); err != nil {
		return usagef("--as: %w", err)
	}
	return nil
}
