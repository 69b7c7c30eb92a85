package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const parkedLong = `Show what is parked, that waiting longest first: of projections the keys of which an event could
not be handled, and how many events are kept under each; of the inbox the aggregates of which a
command could not; and why. What is parked is kept with all that comes later for its key or
aggregate, in order; others go on. It is tried again by itself when a new build starts.

The other commands show what is parked under a key, have it tried again now, or leave one event
or command out. WHERE is the name of a projection, or inbox.
`

// inInbox is what WHERE says that is no projection.
const inInbox = "inbox"

// A parkedKey is of a key what people see.
type parkedKey struct {
	Projection, Key string
	Generation      uint64
	Events          int
	First           parkedEvent
}

// A parkedEvent is of an event what people see.
type parkedEvent struct {
	ID, Type, Time, User, CommandID, Reason, Since, Unread string
	Attempts                                               int
	Data                                                   json.RawMessage
	Recorded                                               []byte
}

// A parkedRow is one line of the list.
type parkedRow struct {
	raw          json.RawMessage
	where, key   string
	id           string // of the event or the command that comes first
	count, tried int
	since        string
	reason       string
}

type parking struct {
	projecting
	where string
	limit uint64
}

// ParkedCommand makes the verb parked, for operators.
func ParkedCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &parking{projecting: projecting{operating{access: access, serving: seesParked}}}
	cmd := &cobra.Command{
		Use:   "parked",
		Short: "Show the events and commands that could not be handled, and help them on",
		Long:  parkedLong + exitHelp + ".",
		Example: cfg.example(`  node parked
  node parked --where orders --json
  node parked --where inbox
  node parked show orders order/o-1
  node parked show inbox account/a-1
  node parked retry orders order/o-1
  node parked skip orders order/o-1@3 --reason 'a test event, which concerns nobody'
  node parked skip inbox account/a-1 order-17 --reason 'the customer has withdrawn it'`),
		Args: cobra.NoArgs,
	}
	o.bindPlain(cmd.PersistentFlags())
	fs := cmd.Flags()
	fs.StringVar(&o.where, "where", "", "`name` of a projection, or inbox: show only what is parked there (default all)")
	fs.Uint64Var(&o.limit, "limit", defaultHistory, "`number` of keys to show at the most")
	_ = cmd.RegisterFlagCompletionFunc("where", o.completeWhere(cfg)) // it fails only for a flag that is not there
	check := func([]string) error {
		if o.limit == 0 || o.limit > longestPage {
			return usagef("--limit %d: want 1 to %d", o.limit, longestPage)
		}
		if o.where == "" {
			return nil
		}
		if _, err := messages.ParseProjection(o.where); err != nil {
			return usagef("--where: want inbox, or the name of a projection: %w", err)
		}
		return nil
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, _ []string) error { return o.listParked(ctx, c) })
	cmd.AddCommand(o.showParkedCommand(cfg), o.retryCommand(cfg), o.skipCommand(cfg))
	return cmd
}

func (o *parking) listParked(ctx context.Context, c *client) error {
	var rows []parkedRow
	if o.where == "" || o.where == inInbox {
		commands, err := c.parkedCommands(ctx, o.limit)
		if err != nil {
			return err
		}
		rows = commands
	}
	if o.where != inInbox {
		keys, err := c.parkedKeys(ctx, o.where, o.limit)
		if err != nil {
			return err
		}
		rows = append(rows, keys...)
	}
	slices.SortStableFunc(rows, func(x, y parkedRow) int { return timeOf(x.since).Compare(timeOf(y.since)) })
	more := uint64(len(rows)) >= o.limit
	rows = rows[:min(uint64(len(rows)), o.limit)]
	table := [][]string{{"WHERE", "KEY", "PARKED", "SINCE", "TRIED", "FIRST", "REASON"}}
	for _, r := range rows {
		if o.json {
			if err := writeJSON(c.cfg.Out, r.raw); err != nil {
				return err
			}
		}
		table = append(table, []string{
			r.where, r.key, fmt.Sprint(r.count), before(c.cfg.Now(), r.since), fmt.Sprint(r.tried), r.id, shorten(r.reason, shownData),
		})
	}
	if !o.json {
		if err := c.cfg.writeTable(table, true, alignLeft); err != nil {
			return err
		}
	}
	if more {
		fmt.Fprintf(c.cfg.Err, "%d are shown, and there may be more: see --limit\n", len(rows))
	}
	return nil
}

func timeOf(text string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, text) // what is none is shown first
	return t
}

// parkedKeys gives what is parked of one projection, or all.
func (c *client) parkedKeys(ctx context.Context, name string, limit uint64) (rows []parkedRow, err error) {
	var page struct {
		Parked    []json.RawMessage
		Unreached []struct{ Projection, Reason string }
	}
	subject := messages.ProjectionSubject{Context: c.context, Verb: messages.ProjectionParked, Projection: name}
	q := request{subject: subject.String(), body: fmt.Appendf(nil, `{"limit":%d}`, limit)}
	body, missed := c.attempt(ctx, q, c.timeout)
	switch {
	case missed == nil:
		err = decodeAnswer(body, &page)
	case name == "" && errors.Is(missed, nats.ErrNoResponders):
		return nil, nil // where the inbox has been answered for, and this not, there are no projections
	default:
		err = c.ask(ctx, q, &page)
	}
	if err != nil {
		return nil, about(err, name, "")
	}
	for _, raw := range page.Parked {
		var k parkedKey
		if err := decodeAnswer(raw, &k); err != nil {
			return nil, err
		}
		rows = append(rows, parkedRow{raw, k.Projection, k.Key, k.First.ID, k.Events, k.First.Attempts, k.First.Since, k.First.Reason})
	}
	for _, u := range page.Unreached {
		fmt.Fprintln(c.cfg.Err, oneLine(fmt.Sprintf("what %s has parked cannot be seen: %s", u.Projection, u.Reason)))
	}
	return rows, nil
}

func checkWhere(args []string) error {
	if _, err := messages.ParseProjection(args[0]); err != nil {
		return usagef("WHERE: want inbox, or the name of a projection: %w", err)
	}
	return nil
}

func (o *parking) showParkedCommand(cfg Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show WHERE KEY",
		Short: "Show what is parked under a key",
		Long: `Show the events that are parked under the key KEY of the projection WHERE, in their order, with
what is in them. A key is an aggregate, written type/id, unless the projection says otherwise. Of
the inbox, show the parked command of the aggregate KEY, and those that wait behind it.
` + exitHelp + ".",
		Example:           cfg.example("  node parked show orders order/o-1\n  node parked show inbox account/a-1 --json"),
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: o.completeParked(cfg, parkedRow.args),
	}
	check := func(args []string) error { return errors.Join(checkWhere(args), checkKey(args)) }
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		if args[0] == inInbox {
			return o.showCommandOf(ctx, c, args[1])
		}
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
			line("    by %s, command id %s", cmp.Or(e.User, "nobody named"), e.CommandID)
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
