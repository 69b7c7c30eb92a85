package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

// checkParked is for what is done to something parked: WHERE, --as, and KEY of the inbox.
func checkParked(as *string, args []string) error {
	for _, err := range []error{checkWhere(args), checkKey(args)} {
		if err != nil {
			return err
		}
	}
	return checkAs(as)
}

func (o *parking) retryCommand(cfg Config) *cobra.Command {
	var as string
	var all bool
	var generation uint64
	cmd := &cobra.Command{
		Use:   "retry WHERE [KEY]",
		Short: "Try what is parked again, now",
		Long: `Try the events again that are parked under the key KEY of the projection WHERE, in their order, or
with --all those under all its keys; of the inbox, the parked command of the aggregate KEY. Do it
when what was in their way is gone; a new build does it by itself. What cannot be handled stays
parked, with the new reason.
` + exitHelp + ".",
		Example:           cfg.example("  node parked retry orders order/o-1\n  node parked retry orders --all\n  node parked retry inbox account/a-1"),
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: o.completeParked(cfg, parkedRow.args),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().BoolVar(&all, "all", false, "try the events under all keys of a projection")
	cmd.Flags().Uint64Var(&generation, "generation", 0, "`number` of the generation (default the one that serves)")
	check := func(args []string) error {
		switch {
		case args[0] == inInbox && (all || generation != 0):
			return usagef("--all, --generation: they are of a projection, and the inbox is none: name a KEY")
		case all == (len(args) == 2):
			return usagef("KEY: name one, or give --all")
		}
		return checkParked(&as, args)
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		if args[0] == inInbox {
			return o.wish(ctx, c, messages.ParkedRetry, args, as, map[string]any{})
		}
		body := map[string]any{"generation": generation, "all": all}
		if !all {
			body["key"] = args[1]
		}
		return o.order(ctx, c, messages.ProjectionRetry, args, as, body)
	})
	return cmd
}

func (o *parking) skipCommand(cfg Config) *cobra.Command {
	var as, reason string
	var generation uint64
	cmd := &cobra.Command{
		Use:   "skip WHERE EVENT | skip inbox KEY COMMAND-ID",
		Short: "Leave an event or a command out",
		Long: `Have the projection WHERE leave the event EVENT out for good, by its id as 'parked show' shows it,
such as order/o-1@3: one that is parked, or one at which the projection is blocked. Of the inbox,
give up the parked command of the aggregate KEY: it is not executed, and its outcome says who gave
it up, and why. Its id is named, so that none is skipped that nobody has looked at.

Who did it and why is kept. What is behind it is tried again.
` + exitHelp + ".",
		Example: cfg.example(`  node parked skip orders order/o-1@3 --reason 'a test event, which concerns nobody'
  node parked skip inbox account/a-1 order-17 --reason 'the customer has withdrawn it'`),
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: o.completeParked(cfg, parkedRow.skipArgs),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at it later; required")
	cmd.Flags().Uint64Var(&generation, "generation", 0, "`number` of the generation (default the one that serves)")
	check := func(args []string) error {
		inbox := args[0] == inInbox
		switch {
		case inbox && generation != 0:
			return usagef("--generation: it is of a projection, and the inbox is none: leave it out")
		case inbox && len(args) != 3:
			return usagef("COMMAND-ID: name the command to leave out, as 'parked show inbox %s' shows it", args[1])
		case !inbox && len(args) != 2:
			return usagef("%s: nothing follows the EVENT of a projection", args[2])
		case strings.TrimSpace(reason) == "":
			return usagef("--reason: say why, for whoever looks at it later")
		case args[1] == "":
			return usagef("EVENT: name the one to leave out, such as order/o-1@3")
		}
		return checkParked(&as, args)
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		if args[0] == inInbox {
			return o.wish(ctx, c, messages.ParkedSkip, args, as, map[string]any{"commandId": args[2], "reason": reason})
		}
		return o.order(ctx, c, messages.ProjectionSkip, args, as, map[string]any{"event": args[1], "reason": reason, "generation": generation})
	})
	return cmd
}

// order has something done to what is parked of a projection.
func (o *parking) order(ctx context.Context, c *client, verb messages.ProjectionVerb, args []string, as string, body map[string]any) error {
	a, err := c.projection(ctx, verb, args[0], as, body, acting)
	switch {
	case err != nil:
		return err
	case o.json:
		return writeJSON(c.cfg.Out, a.raw)
	}
	text := fmt.Sprintf("%s: %s, by %s", strings.Join(args, " "), verb, as)
	switch {
	case !a.Done:
		text += "; it is ordered, and not done yet: see 'parked'"
	case a.Left == 0:
		text += "; nothing is parked any more"
	default:
		text += fmt.Sprintf("; keys with parked events: %d", a.Left)
	}
	return c.cfg.say(text)
}

// args are what names it on the command line, after WHERE.
func (r parkedRow) args() []string { return []string{r.key} }

// skipArgs are what names what is to be left out.
func (r parkedRow) skipArgs() []string {
	if r.where == inInbox {
		return []string{r.key, r.id}
	}
	return []string{r.id}
}

// completeWhere completes to inbox and the projections.
func (o *parking) completeWhere(cfg Config) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names, none := o.completeName(cfg)(cmd, nil, toComplete)
		return append([]cobra.Completion{inInbox}, names...), none
	}
}

// completeParked completes WHERE, and what follows it to what is parked there.
func (o *parking) completeParked(cfg Config, of func(parkedRow) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (found []cobra.Completion, none cobra.ShellCompDirective) {
		if len(args) == 0 {
			return o.completeWhere(cfg)(cmd, nil, toComplete)
		}
		_ = o.withClient(cmd, cfg, func(ctx context.Context, c *client) error {
			list := func() ([]parkedRow, error) { return c.parkedKeys(ctx, args[0], defaultHistory) }
			if args[0] == inInbox {
				list = func() ([]parkedRow, error) { return c.parkedCommands(ctx, defaultHistory) }
			}
			rows, err := list()
			for _, r := range rows {
				words := of(r)
				given := len(args) - 1
				if given >= len(words) || strings.Join(words[:given], " ") != strings.Join(args[1:], " ") {
					continue
				}
				// One that a shell would take for several words is left out.
				if messages.CheckCommandID(words[given]) == nil {
					found = append(found, words[given])
				}
			}
			return err
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
