package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const projectionsLong = `Show the projections: what each is doing, up to where it has come and how many commits of the
log it is behind, how many it does a second and how long it will take, how many keys have
events that are parked, and why it does not go on. A generation that is built beside the one
that serves has a line of its own, with its number.

The other commands show one projection, stop it, start it, rebuild it, and have what was
rebuilt serve.
`

// projecting are the flags that all commands about projections have.
type projecting struct{ operating }

// ProjectionsCommand makes the verb projections, for operators.
func ProjectionsCommand(cfg Config, access Access, more ...*cobra.Command) *cobra.Command {
	cfg = cfg.withDefaults()
	o := &projecting{operating{access: access, serving: seesProjections}}
	cmd := &cobra.Command{
		Use:   "projections",
		Short: "Show the projections, and stop, start, rebuild and switch them",
		Long:  projectionsLong + exitHelp + ".",
		Example: cfg.example(`  node projections
  node projections --json
  node projections show orders
  node projections rebuild orders --wait
  node projections switch orders`),
		Args: cobra.NoArgs,
	}
	o.bindPlain(cmd.PersistentFlags())
	cmd.RunE = o.runner(cfg, noCheck, func(ctx context.Context, c *client, _ []string) error { return o.list(ctx, c) })
	cmd.AddCommand(o.showCommand(cfg), o.rebuildCommand(cfg), o.compareCommand(cfg), o.switchCommand(cfg), o.verifyCommand(cfg))
	for _, a := range projectionActs {
		cmd.AddCommand(o.actCommand(cfg, a))
	}
	cmd.AddCommand(more...)
	return cmd
}

func noCheck([]string) error { return nil }

// A projection is of a node's answer what people see.
type projection struct {
	Name, State, Reason, Event, Form string
	Shown, InKV                      bool
	Record                           struct {
		Serving, Building, Previous, Last uint64
		Paused                            *struct{ Reason, By, Since string }
	}
	Generations []generation
}

// A generation of a projection.
type generation struct {
	Generation                 uint64
	Revision                   int
	Role, State, Reason, Event string
	Positions                  []string
	Behind                     uint64
	Rate, Left                 float64
	Parked                     int
	Units                      []unit
}

// A unit of a generation.
type unit struct {
	Partition                                           uint32
	Shard                                               int
	Node, State, Reason, Event, Since, Outbox, Position string
	Behind                                              uint64
	Parked                                              int
	Silent                                              bool
}

// find gives a generation by its number.
func (p projection) find(number uint64) (generation, bool) {
	for _, g := range p.Generations {
		if g.Generation == number && number != 0 {
			return g, true
		}
	}
	return generation{}, false
}

func (c *client) projectionsAll(ctx context.Context) (raw []json.RawMessage, err error) {
	var page struct {
		Projections []json.RawMessage `json:"projections"`
	}
	subject := messages.ProjectionSubject{Context: c.context, Verb: messages.ProjectionList}
	return page.Projections, c.ask(ctx, request{subject: subject.String()}, &page)
}

func (o *projecting) list(ctx context.Context, c *client) error {
	all, err := c.projectionsAll(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "STATE", "POSITION", "BEHIND", "RATE", "LEFT", "PARKED", "REASON"}}
	for _, raw := range all {
		if o.json {
			if err := writeJSON(c.cfg.Out, raw); err != nil {
				return err
			}
			continue
		}
		var p projection
		if err := decodeAnswer(raw, &p); err != nil {
			return err
		}
		serving, _ := p.find(p.Record.Serving)
		rows = append(rows, p.row(p.Name, serving))
		if building, ok := p.find(p.Record.Building); ok {
			rows = append(rows, p.row(fmt.Sprintf("%s, generation %d", p.Name, building.Generation), building))
		}
	}
	if o.json {
		return nil
	}
	return c.cfg.writeTable(rows, true, alignLeft)
}

// row is that of a generation. Why the projection does not go on is that of the serving one.
func (p projection) row(name string, g generation) []string {
	state, reason := cmp.Or(g.State, p.State, "unknown"), g.Reason
	if g.Generation == p.Record.Serving {
		state, reason = cmp.Or(p.State, state), cmp.Or(p.Reason, reason)
	}
	return []string{
		name, state, shownPositions(g.Positions), fmt.Sprint(g.Behind), shownRate(g.Rate), shownLeft(g.Left), fmt.Sprint(g.Parked),
		shorten(reason, shownData),
	}
}

// shownPositions names as many as are quickly read.
func shownPositions(all []string) string {
	if len(all) > 4 {
		return fmt.Sprintf("%s … %s (%d partitions)", all[0], all[len(all)-1], len(all))
	}
	return strings.Join(all, ",")
}

func shownRate(rate float64) string {
	if rate < 0.5 {
		return ""
	}
	return fmt.Sprintf("%.0f/s", rate)
}

func shownLeft(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return span(time.Duration(seconds * float64(time.Second)))
}

// A projectionAnswer is a node's answer about one projection.
type projectionAnswer struct {
	Projection projection      `json:"projection"`
	Generation uint64          `json:"generation"`
	Comparison *comparison     `json:"comparison"`
	Parked     *[2]int         `json:"parked"`
	Order      uint64          `json:"order"`
	Done       bool            `json:"done"`
	Left       int             `json:"left"`
	raw        json.RawMessage // all of it
}

// projection asks about a projection, or has something done to it when as says who does it.
func (c *client) projection(ctx context.Context, verb messages.ProjectionVerb, name, as string, body map[string]any, patience time.Duration) (a projectionAnswer, err error) {
	q := request{subject: messages.ProjectionSubject{Context: c.context, Verb: verb, Projection: name}.String(), patience: patience}
	if body != nil {
		if q.body, err = json.Marshal(body); err != nil {
			return a, err
		}
	}
	if as != "" {
		q.header = map[string][]string{messages.HeaderUser: {as}}
	}
	if err := c.ask(ctx, q, &a.raw); err != nil {
		return a, about(err, name, "")
	}
	return a, decodeAnswer(a.raw, &a)
}

func (o *projecting) showCommand(cfg Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show how a projection stands, with all its generations and units",
		Long: `Show how the projection NAME stands: its generations, and of each the units that nodes work
on, up to where each has come, and why it does not go on.
` + exitHelp + ".",
		Example:           cfg.example("  node projections show orders\n  node projections show orders --json"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeName(cfg),
	}
	cmd.RunE = o.runner(cfg, checkName, func(ctx context.Context, c *client, args []string) error {
		a, err := c.projection(ctx, messages.ProjectionShow, args[0], "", nil, 0)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(c.cfg.Out, a.raw)
		}
		return c.cfg.showProjection(a.Projection)
	})
	return cmd
}

func checkName(args []string) error {
	if _, err := messages.ParseProjection(args[0]); err != nil {
		return usagef("NAME: %w", err)
	}
	return nil
}

func (c Config) showProjection(p projection) error {
	line := func(format string, args ...any) { fmt.Fprintln(c.Out, oneLine(fmt.Sprintf(format, args...))) }
	head := p.Name + " is " + cmp.Or(p.State, "unknown")
	if p.Reason != "" {
		head += ": " + p.Reason
	}
	fmt.Fprintln(c.Out, c.paint(bold, oneLine(head)))
	if p.Event != "" {
		line("at the event %s", p.Event)
	}
	if paused := p.Record.Paused; paused != nil {
		line("paused by %s since %s: %s", paused.By, when(c.Now(), paused.Since), paused.Reason)
	}
	for _, g := range p.Generations {
		text := fmt.Sprintf("generation %d, %s, revision %d: %s", g.Generation, cmp.Or(g.Role, "kept"), g.Revision, g.sentence())
		fmt.Fprintf(c.Out, "\n%s\n", oneLine(text))
		rows := [][]string{{"PARTITION", "SHARD", "NODE", "STATE", "POSITION", "BEHIND", "PARKED", "EVENT", "REASON"}}
		for _, u := range g.Units {
			rows = append(rows, u.row())
		}
		if err := c.writeTable(rows, true, alignLeft); err != nil {
			return err
		}
	}
	return nil
}

func (u unit) row() []string {
	state, reason := u.State, u.Reason
	if u.Silent {
		state += "?" // its node has not been heard of
	}
	if u.Outbox != "" {
		reason = strings.TrimPrefix(reason+"; outbox: "+u.Outbox, "; ")
	}
	return []string{
		fmt.Sprint(u.Partition), fmt.Sprint(u.Shard), u.Node, state, u.Position, fmt.Sprint(u.Behind), fmt.Sprint(u.Parked), u.Event,
		shorten(reason, shownData),
	}
}

// sentence tells how a generation stands.
func (g generation) sentence() string {
	parts := []string{cmp.Or(g.State, "unknown")}
	if g.Behind > 0 {
		parts = append(parts, fmt.Sprintf("%d commits behind", g.Behind))
	}
	if rate := shownRate(g.Rate); rate != "" {
		parts = append(parts, rate)
	}
	if left := shownLeft(g.Left); left != "" {
		parts = append(parts, left+" left")
	}
	text := strings.Join(parts, ", ")
	if g.Reason != "" {
		text += ": " + g.Reason
	}
	return text
}

// completeName completes NAME to the projections.
func (o *projecting) completeName(cfg Config) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, none cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		_ = o.withClient(cmd, cfg, func(ctx context.Context, c *client) error {
			all, err := c.projectionsAll(ctx)
			for _, raw := range all {
				var p projection
				if json.Unmarshal(raw, &p) == nil {
					names = append(names, p.Name)
				}
			}
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
