package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const sagasLong = `Show the sagas that are not over, the oldest first: where each stands, how many of its steps
are done, since when it is there and when it has changed, and why it is stuck.

The other commands show one saga, and help one that is stuck; what is done to a saga stands
in its history, with who did it and why.
`

type sagasOptions struct {
	operating
	saga      string
	status    []string
	olderThan time.Duration
	limit     uint64
	all       bool
}

// SagasCommand makes the verb sagas, for operators.
func SagasCommand(cfg Config, access Access) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &sagasOptions{operating: operating{access: access}}
	cmd := &cobra.Command{
		Use:   "sagas",
		Short: "Show the sagas that are not over, and help those that are stuck",
		Long:  sagasLong + exitHelp + ".",
		Example: cfg.example(`  node sagas
  node sagas --status stuck --older-than 10m
  node sagas --saga checkout --status running,waiting --all --json
  node sagas show checkout/o-1
  node sagas retry checkout/o-1 pay --reason 'the bank is back'`),
		Args: cobra.NoArgs,
	}
	o.bind(cmd.PersistentFlags())
	fs := cmd.Flags()
	fs.StringVar(&o.saga, "saga", "", "`name` of the sagas to show (default all)")
	fs.StringSliceVar(&o.status, "status", nil, "`status` of those to show: running, waiting, compensating or stuck; several with commas between them (default all)")
	fs.DurationVar(&o.olderThan, "older-than", 0, "`time` since which those to show have been there at least, such as 10m")
	fs.Uint64Var(&o.limit, "limit", defaultHistory, "`number` of sagas to show at the most")
	fs.BoolVar(&o.all, "all", false, "show all of them")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	// They fail only for flags that are not there, or are there twice.
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(openStatus, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("saga", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return o.briefly(cmd, cfg).Known, cobra.ShellCompDirectiveNoFileComp
	})
	cmd.RunE = o.runner(cfg, o.checkList, func(ctx context.Context, c *client, _ []string) error { return o.list(ctx, c) })
	cmd.AddCommand(sagaShowCommand(cfg, &o.operating))
	cmd.AddCommand(sagaActCommands(cfg, &o.operating)...)
	return cmd
}

// openStatus are what a saga can be that is not over.
var openStatus = []string{"running", "waiting", "compensating", "stuck"}

func (o *sagasOptions) checkList([]string) error {
	for _, s := range o.status {
		if !slices.Contains(openStatus, s) {
			return usagef("--status %s: want %s", s, strings.Join(openStatus, ", "))
		}
	}
	switch {
	case o.limit == 0:
		return usagef("--limit 0: want at least 1, or --all")
	case o.olderThan < 0:
		return usagef("--older-than %v: want a time such as 10m", o.olderThan)
	case o.saga != "":
		if _, err := messages.ParseType(o.saga); err != nil {
			return usagef("--saga: %w", err)
		}
	}
	return nil
}

func (c Config) example(text string) string {
	return strings.ReplaceAll(text, "  node", "  "+c.Program)
}

// A sagasPage is a node's answer.
type sagasPage struct {
	Sagas []json.RawMessage `json:"sagas"`
	Next  string            `json:"next"`
	Known []string          `json:"known"`
}

// A sagaRow is of a listed saga what the table shows.
type sagaRow struct {
	Ref     string         `json:"ref"`
	Status  string         `json:"status"`
	Reason  string         `json:"reason"`
	Since   string         `json:"since"`
	Changed string         `json:"changed"`
	Done    int            `json:"done"`
	Steps   int            `json:"steps"`
	Error   *errorDocument `json:"error"`
}

func (c *client) sagas(ctx context.Context, query map[string]any) (page sagasPage, err error) {
	body, err := json.Marshal(query)
	if err != nil {
		return page, err
	}
	subject := messages.DeskSubject{Context: c.context, Verb: messages.DeskList}
	return page, c.ask(ctx, request{subject: subject.String(), body: body}, &page)
}

func (o *sagasOptions) list(ctx context.Context, c *client) error {
	query := map[string]any{"saga": o.saga, "olderThan": o.olderThan.String(), "status": slices.Clip(o.status)}
	shown := uint64(0)
	var rows [][]string
	for after := ""; ; {
		size := uint64(longestPage)
		if !o.all {
			size = min(size, o.limit-shown)
		}
		query["limit"], query["after"] = size, after
		page, err := c.sagas(ctx, query)
		if err != nil {
			return err
		}
		for _, raw := range page.Sagas {
			if rows, err = o.add(c, rows, raw); err != nil {
				return err
			}
		}
		shown += uint64(len(page.Sagas))
		if done := page.Next == ""; done || !o.all && shown >= o.limit {
			return o.end(c, rows, shown, !done)
		}
		if page.Next == after { // it would go on for ever
			return fmt.Errorf("after the page behind %q the node names %q as the next", after, page.Next)
		}
		after = page.Next
	}
}

// add shows a saga in JSON at once, or adds it to a table.
func (o *sagasOptions) add(c *client, rows [][]string, raw json.RawMessage) ([][]string, error) {
	if o.json {
		return rows, writeJSON(c.cfg.Out, raw)
	}
	var r sagaRow
	if err := decodeAnswer(raw, &r); err != nil {
		return nil, err
	}
	now := c.cfg.Now()
	if r.Error != nil {
		return append(rows, []string{r.Ref, "unknown", "", shortTime(r.Since), "", r.Error.Code + ": " + r.Error.Message}), nil
	}
	return append(rows, []string{
		r.Ref, r.Status, fmt.Sprintf("%d/%d", r.Done, r.Steps), shortTime(r.Since), before(now, r.Changed), shorten(r.Reason, shownData),
	}), nil
}

func (o *sagasOptions) end(c *client, rows [][]string, shown uint64, more bool) error {
	if !o.json {
		rows = slices.Insert(rows, 0, []string{"SAGA", "STATUS", "DONE", "SINCE", "CHANGED", "REASON"})
		if err := c.cfg.writeTable(rows, true, alignLeft); err != nil {
			return err
		}
	}
	if more {
		fmt.Fprintf(c.cfg.Err, "%d are shown, and there may be more: --all shows all of them\n", shown)
	}
	return nil
}

// briefly looks at the list for as long as a shell may be kept waiting. Without a node it
// sees nothing.
func (o *operating) briefly(cmd *cobra.Command, cfg Config) (page sagasPage) {
	_ = o.withClient(cmd, cfg, func(ctx context.Context, c *client) (err error) {
		page, err = c.sagas(ctx, map[string]any{})
		return err
	})
	return page
}

// withClient calls f with a client for a shell that waits.
func (o *operating) withClient(cmd *cobra.Command, cfg Config, f func(ctx context.Context, c *client) error) error {
	err := readEnv(cmd.Flags(), cfg.Getenv)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	o.timeout, cfg.Err = completeTimeout, io.Discard
	c, err := o.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close()
	return f(ctx, c)
}

// refs are the listed sagas as they are named on the command line.
func (p sagasPage) refs() []string {
	var out []string
	for _, raw := range p.Sagas {
		var r sagaRow
		if json.Unmarshal(raw, &r) != nil {
			continue
		}
		// One that a shell would take for several words is left out.
		if typ, id, err := messages.ParseRef(r.Ref); err == nil && messages.CheckCommandID(id.Raw()) == nil {
			out = append(out, typ+"/"+id.Raw())
		}
	}
	return out
}
