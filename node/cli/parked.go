package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const parkedLong = `Show what is parked: the keys of which an event could not be handled, those waiting longest first, how many
events wait under each, which one was refused, and why. An event that is parked is kept with
all later ones of its key, in order; other keys go on. What is parked is tried again by itself
when a new build starts.

The other commands show the events under a key, have them tried again now, or leave one out.
`

// A parkedKey is of a key what people see.
type parkedKey struct {
	Where, Projection, Key string
	Generation             uint64
	Events                 int
	First                  parkedEvent
}

// A parkedEvent is of an event what people see.
type parkedEvent struct {
	ID, Type, Time, User, CommandID, Reason, Since, Unread string
	Attempts                                               int
	Data                                                   json.RawMessage
	Recorded                                               []byte
}

type parking struct {
	projecting
	limit uint64
}

// ParkedCommand makes the verb parked, for operators.
func ParkedCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &parking{projecting: projecting{operating{access: access, serving: seesProjections}}}
	cmd := &cobra.Command{
		Use:   "parked [NAME]",
		Short: "Show the events that could not be handled, and help them on",
		Long:  parkedLong + exitHelp + ".",
		Example: cfg.example(`  node parked
  node parked orders --json
  node parked show orders order/o-1
  node parked retry orders order/o-1
  node parked skip orders order/o-1@3 --reason 'a test event, which concerns nobody'`),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeName(cfg),
	}
	o.bindPlain(cmd.PersistentFlags())
	cmd.Flags().Uint64Var(&o.limit, "limit", defaultHistory, "`number` of keys to show at the most")
	check := func(args []string) error {
		if o.limit == 0 || o.limit > longestPage {
			return usagef("--limit %d: want 1 to %d", o.limit, longestPage)
		}
		if len(args) == 0 {
			return nil
		}
		return checkName(args)
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		return o.listParked(ctx, c, slices.Concat(args, []string{""})[0])
	})
	cmd.AddCommand(o.showParkedCommand(cfg), o.retryCommand(cfg), o.skipCommand(cfg))
	return cmd
}

func (o *parking) listParked(ctx context.Context, c *client, name string) error {
	var page struct {
		Parked    []json.RawMessage
		Unreached []struct{ Projection, Reason string }
	}
	subject := messages.ProjectionSubject{Context: c.context, Verb: messages.ProjectionParked, Projection: name}
	if err := c.ask(ctx, request{subject: subject.String(), body: fmt.Appendf(nil, `{"limit":%d}`, o.limit)}, &page); err != nil {
		return about(err, name, "")
	}
	rows := [][]string{{"WHERE", "NAME", "KEY", "EVENTS", "SINCE", "TRIED", "EVENT", "REASON"}}
	for _, raw := range page.Parked {
		var k parkedKey
		if err := decodeAnswer(raw, &k); err != nil {
			return err
		}
		if o.json {
			if err := writeJSON(c.cfg.Out, raw); err != nil {
				return err
			}
		}
		rows = append(rows, []string{
			k.Where, k.Projection, k.Key, fmt.Sprint(k.Events), before(c.cfg.Now(), k.First.Since), fmt.Sprint(k.First.Attempts),
			k.First.ID, shorten(k.First.Reason, shownData),
		})
	}
	if !o.json {
		if err := c.cfg.writeTable(rows, true, alignLeft); err != nil {
			return err
		}
	}
	for _, u := range page.Unreached {
		fmt.Fprintln(c.cfg.Err, oneLine(fmt.Sprintf("what %s has parked cannot be seen: %s", u.Projection, u.Reason)))
	}
	if uint64(len(page.Parked)) >= o.limit {
		fmt.Fprintf(c.cfg.Err, "%d are shown, and there may be more: see --limit\n", len(page.Parked))
	}
	return nil
}

func (o *parking) showParkedCommand(cfg Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME KEY",
		Short: "Show the events that are parked under a key",
		Long: `Show the events that are parked under the key KEY of the projection NAME, in their order, with what is in
them. A key is an aggregate, written type/id, unless the projection says otherwise.
` + exitHelp + ".",
		Example:           cfg.example("  node parked show orders order/o-1\n  node parked show orders order/o-1 --json"),
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: o.completeParked(cfg, func(k parkedKey) string { return k.Key }),
	}
	cmd.RunE = o.runner(cfg, checkName, func(ctx context.Context, c *client, args []string) error {
		var shown struct {
			Key    parkedKey
			Events []parkedEvent
		}
		a, err := c.projection(ctx, messages.ProjectionParked, args[0], "", map[string]any{"key": args[1], "limit": longestPage}, 0)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(c.cfg.Out, a.raw)
		}
		if err := decodeAnswer(a.raw, &shown); err != nil {
			return err
		}
		return c.cfg.showParked(shown.Key, shown.Events)
	})
	return cmd
}

func (c Config) showParked(k parkedKey, events []parkedEvent) error {
	line := func(format string, args ...any) { fmt.Fprintln(c.Out, oneLine(fmt.Sprintf(format, args...))) }
	fmt.Fprintln(c.Out, c.paint(bold, oneLine(fmt.Sprintf("%s %s: %d parked, generation %d", k.Projection, k.Key, k.Events, k.Generation))))
	for _, e := range events {
		line("%s  %s, recorded %s", e.ID, shortName(e.Type), when(c.Now(), e.Time))
		if e.CommandID != "" {
			line("    by %s, command id %s", e.User, e.CommandID)
		}
		if e.Reason == "" {
			line("    waits for the one before it, since %s", when(c.Now(), e.Since))
		} else {
			line("    refused: %s; tried %d times, parked %s", e.Reason, e.Attempts, when(c.Now(), e.Since))
		}
		var data bytes.Buffer
		if json.Compact(&data, e.Data) == nil && data.Len() > 0 {
			line("    %s", data.String())
		} else if e.Unread != "" {
			line("    %s; recorded are %d bytes, which --json shows", e.Unread, len(e.Recorded))
		}
	}
	return nil
}

func (o *parking) retryCommand(cfg Config) *cobra.Command {
	var as string
	var all bool
	var generation uint64
	cmd := &cobra.Command{
		Use:   "retry NAME [KEY]",
		Short: "Try what is parked again, now",
		Long: `Try the events again that are parked under the key KEY of the projection NAME, in their order, or with
--all those under all its keys. Do it when what was in their way is gone; a new build does it
by itself. What cannot be handled stays parked, with the new reason.
` + exitHelp + ".",
		Example:           cfg.example("  node parked retry orders order/o-1\n  node parked retry orders --all"),
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: o.completeParked(cfg, func(k parkedKey) string { return k.Key }),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().BoolVar(&all, "all", false, "try the events under all keys")
	cmd.Flags().Uint64Var(&generation, "generation", 0, "`number` of the generation (default the one that serves)")
	check := func(args []string) error {
		if all == (len(args) == 2) {
			return usagef("KEY: name one, or give --all")
		}
		return checkNameAndAs(&as)(args)
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
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
		Use:   "skip NAME EVENT",
		Short: "Leave an event out",
		Long: `Have the projection NAME leave the event EVENT out for good, by its id as 'parked show' shows it, such
as order/o-1@3: one that is parked, or one at which the projection is blocked. Who did it and
why is kept. The events behind it are tried again.
` + exitHelp + ".",
		Example:           cfg.example("  node parked skip orders order/o-1@3 --reason 'a test event, which concerns nobody'"),
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: o.completeParked(cfg, func(k parkedKey) string { return k.First.ID }),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever looks at it later; required")
	cmd.Flags().Uint64Var(&generation, "generation", 0, "`number` of the generation (default the one that serves)")
	check := func(args []string) error {
		switch {
		case strings.TrimSpace(reason) == "":
			return usagef("--reason: say why, for whoever looks at it later")
		case args[1] == "":
			return usagef("EVENT: name the one to leave out, such as order/o-1@3")
		}
		return checkNameAndAs(&as)(args)
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		return o.order(ctx, c, messages.ProjectionSkip, args, as, map[string]any{"event": args[1], "reason": reason, "generation": generation})
	})
	return cmd
}

// order has something done to what is parked.
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

// completeParked completes NAME, and what follows it to what is parked there.
func (o *parking) completeParked(cfg Config, of func(parkedKey) string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (found []cobra.Completion, none cobra.ShellCompDirective) {
		if len(args) != 1 {
			return o.completeName(cfg)(cmd, args, toComplete)
		}
		_ = o.withClient(cmd, cfg, func(ctx context.Context, c *client) error {
			var page struct{ Parked []parkedKey }
			subject := messages.ProjectionSubject{Context: c.context, Verb: messages.ProjectionParked, Projection: args[0]}
			err := c.ask(ctx, request{subject: subject.String()}, &page)
			for _, k := range page.Parked {
				// One that a shell would take for several words is left out.
				if text := of(k); messages.CheckCommandID(text) == nil {
					found = append(found, text)
				}
			}
			return err
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
