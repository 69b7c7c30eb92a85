package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const eventsLong = `Look for events in the index: by event, aggregate, time, correlation, causation, user and
command. What several flags say must all hold. The oldest come first; each line tells when,
which event of which aggregate, who, and by which command.

The index follows the log by moments.
`

type eventsOptions struct {
	operating
	event, ref, since, until              string
	correlation, causation, user, command string
	limit                                 uint64
	all                                   bool
}

// EventsCommand makes the verb events, for operators.
func EventsCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &eventsOptions{operating: operating{access: access, serving: indexing}}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Look for events: by type, time, aggregate, correlation, causation, user, command",
		Long:  eventsLong + exitHelp + ".",
		Example: cfg.example(`  node events --type OrderPlaced --since 1h
  node events --ref order/o-1
  node events --ref order --user ada --since 2026-03-14 --until 2026-03-15
  node events --correlation c-17 --all --json`),
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.bind(cmd.PersistentFlags())
	fs := cmd.Flags()
	fs.StringVar(&o.event, "type", "", "`name` of the event, short or full")
	fs.StringVar(&o.ref, "ref", "", "`aggregate` as type/id, or a type")
	fs.StringVar(&o.since, "since", "", "first `time` that counts: 2026-03-14, 2026-03-14T09:26:53Z, or how long ago, as 90m")
	fs.StringVar(&o.until, "until", "", "first `time` that does not count any more")
	fs.StringVar(&o.correlation, "correlation", "", "`id` of the story")
	fs.StringVar(&o.causation, "causation", "", "`id` of what caused the command")
	fs.StringVar(&o.user, "user", "", "`name` of on whose behalf it was")
	fs.StringVar(&o.command, "command", "", "`id` of the command")
	fs.Uint64Var(&o.limit, "limit", defaultHistory, "`number` of events to show at the most")
	fs.BoolVar(&o.all, "all", false, "show all of them")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	cmd.RunE = o.runner(cfg, func([]string) error { return o.checkQuery(cfg.Now()) }, func(ctx context.Context, c *client, _ []string) error { return o.show(ctx, c) })
	return cmd
}

func (o *eventsOptions) checkQuery(now time.Time) error {
	if o.limit == 0 {
		return usagef("--limit 0: want at least 1, or --all")
	}
	_, err := o.query(now)
	return err
}

// query gives what is asked of the index.
func (o *eventsOptions) query(now time.Time) (map[string]any, error) {
	q := map[string]any{}
	for name, value := range map[string]string{
		"event": o.event, "correlationId": o.correlation, "causationId": o.causation, "user": o.user, "commandId": o.command,
	} {
		if value != "" {
			q[name] = value
		}
	}
	if o.ref != "" {
		q["ref"] = o.ref
		if strings.Contains(o.ref, "/") {
			typ, id, err := argRef(o.ref, o.encoded)
			if err != nil {
				return nil, err
			}
			q["ref"] = messages.FormatRef(typ, id)
		}
	}
	for flag, value := range map[string]string{"since": o.since, "until": o.until} {
		if value == "" {
			continue
		}
		t, err := parseMoment(now, value)
		if err != nil {
			return nil, usagef("--%s: %w", flag, err)
		}
		q[flag] = t
	}
	return q, nil
}

// parseMoment reads a day, a time, or how long ago one was.
func parseMoment(now time.Time, text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UTC(), nil
	}
	for _, form := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: want a day as 2026-03-14, a time as 2026-03-14T09:26:53Z, or how long ago as 90m", text)
}

// An eventsPage is a node's answer.
type eventsPage struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next"`
}

// An indexedEvent is one as the index tells it.
type indexedEvent struct {
	ID      string `json:"id"`
	Ref     string `json:"ref"`
	Version uint64 `json:"version"`
	Event   string `json:"event"`
	Time    string `json:"time"`
	User    string `json:"user"`
	Command string `json:"command"`
	// CommandID is the id of the command.
	CommandID string `json:"commandId"`
}

func (o *eventsOptions) show(ctx context.Context, c *client) error {
	query, err := o.query(c.cfg.Now())
	if err != nil {
		return err
	}
	shown := uint64(0)
	for after := ""; ; {
		size := uint64(longestPage)
		if !o.all {
			size = min(size, o.limit-shown)
		}
		query["limit"], query["after"] = size, after
		page, err := c.events(ctx, query)
		if err != nil {
			return err
		}
		if err := o.write(c.cfg, page, shown == 0); err != nil {
			return err
		}
		shown += uint64(len(page.Events))
		switch {
		case page.Next == "":
			return nil
		case page.Next == after: // it would go on for ever
			return fmt.Errorf("after the page behind %q the node names it as the next", after)
		case !o.all && shown >= o.limit:
			_, err := fmt.Fprintf(c.cfg.Err, "%d are shown, and there are more: --all shows all of them\n", shown)
			return err
		}
		after = page.Next
	}
}

func (c *client) events(ctx context.Context, query map[string]any) (page eventsPage, err error) {
	body, err := json.Marshal(query)
	if err != nil {
		return page, err
	}
	return page, c.ask(ctx, request{subject: messages.IndexSubject(c.context, messages.IndexEvents), body: body}, &page)
}

func (o *eventsOptions) write(cfg Config, page eventsPage, first bool) error {
	if o.json {
		for _, e := range page.Events {
			if err := writeJSON(cfg.Out, e); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, raw := range page.Events {
		var e indexedEvent
		if err := decodeAnswer(raw, &e); err != nil {
			return err
		}
		rows = append(rows, []string{shortTime(e.Time), e.ID, shortName(e.Event), e.User, shortName(e.Command), e.CommandID})
	}
	if first {
		rows = slices.Insert(rows, 0, []string{"TIME", "ID", "EVENT", "USER", "COMMAND", "COMMAND ID"})
	}
	return cfg.writeTable(rows, first, alignLeft)
}
