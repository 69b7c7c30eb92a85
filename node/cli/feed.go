package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

// InboxCommand makes the verb inbox, for operators.
func InboxCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &operating{access: access, serving: executesInbox}
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "Show how many commands wait in the inbox",
		Long: `Show how many commands wait in the inbox, since when the first of them does, and of how many
aggregates one is parked, behind which others wait: 'parked --where inbox' shows which.
` + exitHelp + ".",
		Example: cfg.example("  node inbox\n  node inbox --json"),
		Args:    cobra.NoArgs,
	}
	o.bindPlain(cmd.Flags())
	cmd.RunE = o.runner(cfg, noCheck, func(ctx context.Context, c *client, _ []string) error {
		var raw json.RawMessage
		subject := messages.ParkedSubject{Context: c.context, Verb: messages.ParkedStatus}
		if err := c.ask(ctx, request{subject: subject.String()}, &raw); err != nil {
			return err
		}
		if o.json {
			return writeJSON(c.cfg.Out, raw)
		}
		var b struct {
			Waiting uint64
			Oldest  string
			Parked  int
		}
		if err := decodeAnswer(raw, &b); err != nil {
			return err
		}
		return c.cfg.writeTable([][]string{
			{"WAITING", "OLDEST", "PARKED"}, {fmt.Sprint(b.Waiting), before(c.cfg.Now(), b.Oldest), fmt.Sprint(b.Parked)},
		}, true, alignLeft)
	})
	return cmd
}

// FeedCommand makes the verb feed, for operators.
func FeedCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &operating{access: access, serving: writesFeed}
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Show how far the feed of events is",
		Long: `Show of each partition of the log up to where its events are in the feed, how many commits that
is behind and for how long, how many events could not be shown in their newest form, which node
writes it, and why it does not go on. The last is known to the node that writes it: ask where that runs.
` + exitHelp + ".",
		Example: cfg.example("  node feed\n  node feed --json"),
		Args:    cobra.NoArgs,
	}
	o.bindPlain(cmd.Flags())
	cmd.RunE = o.runner(cfg, noCheck, o.listFeed)
	return cmd
}

func (o *operating) listFeed(ctx context.Context, c *client, _ []string) error {
	var answer struct{ Partitions []json.RawMessage }
	if err := c.ask(ctx, request{subject: c.context.FeedStatusSubject()}, &answer); err != nil {
		return err
	}
	rows := [][]string{{"PARTITION", "POSITION", "BEHIND", "LATE", "UNREAD", "HOLDER", "ERROR"}}
	for _, raw := range answer.Partitions {
		if o.json {
			if err := writeJSON(c.cfg.Out, raw); err != nil {
				return err
			}
			continue
		}
		var p struct {
			Partition        uint32
			Holder, Position string
			Here             bool
			Behind, Unread   uint64
			Late             float64
			Error            string
		}
		if err := decodeAnswer(raw, &p); err != nil {
			return err
		}
		late, unread := "", "?"
		if p.Late > 0 {
			late = span(time.Duration(p.Late * float64(time.Second)))
		}
		switch {
		case p.Here:
			unread = fmt.Sprint(p.Unread)
		case p.Holder == "":
			p.Error = "no node writes it"
		case p.Behind > 0:
			p.Error = "ask where " + p.Holder + " runs, or see its log"
		}
		rows = append(rows, []string{fmt.Sprint(p.Partition), p.Position, fmt.Sprint(p.Behind), late, unread, p.Holder, shorten(p.Error, shownData)})
	}
	if o.json {
		return nil
	}
	return c.cfg.writeTable(rows, true, alignLeft)
}
