package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	// comparing is how long it may take to compare two generations.
	comparing = 15 * time.Minute
	// watching is how often it is asked how far a rebuild is.
	watching = time.Second
)

// A comparison tells how what serves and what was built differ.
type comparison struct {
	Old, New            contents
	Same                bool
	Sampled, Of, Differ int
	Examples            []struct {
		Table, Key string
		Old, New   json.RawMessage
	}
}

type contents struct {
	Generation uint64
	Rows       map[string]uint64
}

func (o *projecting) rebuildCommand(cfg Config) *cobra.Command {
	var as string
	var wait bool
	cmd := &cobra.Command{
		Use:   "rebuild NAME",
		Short: "Build a new generation beside the one that serves",
		Long: `Build a new generation of the projection NAME beside the one that serves, from the beginning of the
log. Nothing is carried outside while it is built, and nobody reads it before 'projections
switch'. With --wait the command shows how far it is, and ends when it is ready; when it is
interrupted the building goes on.
` + exitHelp + ".",
		Example:           cfg.example("  node projections rebuild orders\n  node projections rebuild orders --wait"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeName(cfg),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().BoolVar(&wait, "wait", false, "show how far it is, until it is ready")
	cmd.RunE = o.runner(cfg, checkNameAndAs(&as), func(ctx context.Context, c *client, args []string) error {
		a, err := c.projection(ctx, messages.ProjectionRebuild, args[0], as, nil, acting)
		if err == nil && wait {
			generation := a.Generation
			a, err = c.awaitBuilt(ctx, args[0], generation)
			a.Generation = generation
		}
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(c.cfg.Out, a.raw)
		case !wait:
			return c.cfg.say(fmt.Sprintf("%s: generation %d is being built, by %s", args[0], a.Generation, as))
		}
		return c.cfg.say(fmt.Sprintf("%s: generation %d is ready: '%s projections switch %s' compares it and has it serve", args[0], a.Generation, c.cfg.Program, args[0]))
	})
	return cmd
}

func checkNameAndAs(as *string) func(args []string) error {
	return func(args []string) error {
		if err := checkName(args); err != nil {
			return err
		}
		return checkAs(as)
	}
}

// awaitBuilt waits until a generation has all that the log has.
func (c *client) awaitBuilt(ctx context.Context, name string, number uint64) (projectionAnswer, error) {
	told, heard := "", c.cfg.Now().Add(c.timeout)
	for {
		a, err := c.projection(ctx, messages.ProjectionShow, name, "", nil, 0)
		if err != nil {
			return a, err
		}
		g, ok := a.Projection.find(number)
		switch {
		case a.Projection.Record.Last < number && c.cfg.Now().Before(heard): // the node that answers has not heard of it yet
		case a.Projection.Record.Building != number:
			return a, fmt.Errorf("%s: generation %d is not being built any more: it was dropped, or serves", name, number)
		case ok && g.State == "live":
			c.progress("")
			return a, nil
		case ok && g.State == "stopped" && len(g.Units) > 0: // else nobody has begun yet
			return a, fmt.Errorf("%s: generation %d is stopped: %s", name, number, g.Reason)
		}
		text := fmt.Sprintf("%s: generation %d: %s", name, number, g.sentence())
		if told != text {
			c.progress(text)
		}
		told = text
		if err := c.cfg.Wait(ctx, watching); err != nil {
			return a, fmt.Errorf("%s: generation %d goes on being built: %w", name, number, err)
		}
	}
}

// progress tells how far something is: on a terminal in one line, which nothing ends.
func (c *client) progress(text string) {
	switch {
	case c.cfg.ErrTerminal:
		fmt.Fprintf(c.cfg.Err, "\r\x1b[K%s", oneLine(text))
	case text != "":
		fmt.Fprintln(c.cfg.Err, oneLine(text))
	}
}

func (o *projecting) compareCommand(cfg Config) *cobra.Command {
	var as string
	cmd := &cobra.Command{
		Use:   "compare NAME",
		Short: "Compare what was built with what serves",
		Long: `Compare the generation of the projection NAME that was built with the one that serves: how many rows
each has, and which are not the same. Both stand still meanwhile, at the same position of the
log. Of what is big some rows are compared one by one, and the rest as a whole.
` + exitHelp + ".",
		Example:           cfg.example("  node projections compare orders"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeName(cfg),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.RunE = o.runner(cfg, checkNameAndAs(&as), func(ctx context.Context, c *client, args []string) error {
		a, err := c.projection(ctx, messages.ProjectionCompare, args[0], as, nil, comparing)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(c.cfg.Out, a.raw)
		}
		return c.cfg.showComparison(a)
	})
	return cmd
}

func (o *projecting) switchCommand(cfg Config) *cobra.Command {
	var as string
	var force bool
	cmd := &cobra.Command{
		Use:   "switch NAME",
		Short: "Have the generation serve that was built",
		Long: `Have the generation of the projection NAME serve that was built beside the one that serves, at once and
as a whole. They are compared before, as by 'projections compare', and what differs is shown;
one that is behind or blocked is refused. The one that served is kept, up to date, for
'projections back', until it is dropped.
` + exitHelp + ".",
		Example:           cfg.example("  node projections switch orders\n  node projections switch orders --force"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeName(cfg),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().BoolVar(&force, "force", false, "switch however far it is, and compare nothing")
	cmd.RunE = o.runner(cfg, checkNameAndAs(&as), func(ctx context.Context, c *client, args []string) error {
		a, err := c.projection(ctx, messages.ProjectionSwitch, args[0], as, map[string]any{"force": force}, comparing)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(c.cfg.Out, a.raw)
		}
		if err := c.cfg.showComparison(a); err != nil {
			return err
		}
		return c.cfg.say(fmt.Sprintf("%s: switch, by %s; generation %d serves", args[0], as, a.Projection.Record.Serving))
	})
	return cmd
}

// showComparison shows how two generations differ, if they were compared.
func (c Config) showComparison(a projectionAnswer) error {
	d := a.Comparison
	if d == nil {
		return nil
	}
	rows := [][]string{{"TABLE", fmt.Sprintf("GENERATION %d", d.Old.Generation), fmt.Sprintf("GENERATION %d", d.New.Generation)}}
	tables := maps.Clone(d.Old.Rows)
	if tables == nil {
		tables = map[string]uint64{}
	}
	maps.Copy(tables, d.New.Rows)
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		name := table
		if name == "" {
			name = "documents"
		}
		rows = append(rows, []string{name, fmt.Sprint(d.Old.Rows[table]), fmt.Sprint(d.New.Rows[table])})
	}
	if a.Parked != nil {
		rows = append(rows, []string{"parked keys", fmt.Sprint(a.Parked[0]), fmt.Sprint(a.Parked[1])})
	}
	if err := c.writeTable(rows, true, alignLeft); err != nil {
		return err
	}
	for _, e := range d.Examples {
		where := e.Key
		if e.Table != "" {
			where = e.Table + " " + e.Key
		}
		if err := c.say(fmt.Sprintf("%s: %s, and now %s", where, shorten(string(e.Old), shownData), shorten(string(e.New), shownData))); err != nil {
			return err
		}
	}
	return c.say(d.sentence())
}

func (d comparison) sentence() string {
	switch {
	case d.Same:
		return "They are the same."
	case d.Of > 1:
		return fmt.Sprintf("They are not the same: of %d rows that were compared, one in %d, %d differ.", d.Sampled, d.Of, d.Differ)
	}
	return fmt.Sprintf("They are not the same: %d of %d rows differ.", d.Differ, d.Sampled)
}

func (o *projecting) verifyCommand(cfg Config) *cobra.Command {
	var as string
	var mend bool
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "Rebuild a projection aside, and tell how it differs from what serves",
		Long: `Rebuild the projection NAME aside, from the beginning of the log, as by 'projections rebuild', and compare
that with what serves. When they are the same, what was rebuilt is dropped. When they are not,
what differs is shown, and with --mend what was rebuilt serves from then on; without it, it is
dropped as well.

Exit codes: 0 the same, or mended; 1 not the same, or failed; 2 wrong usage.`,
		Example:           cfg.example("  node projections verify orders\n  node projections verify orders --mend"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeName(cfg),
	}
	cmd.Flags().StringVar(&as, "as", "", asHelp)
	cmd.Flags().BoolVar(&mend, "mend", false, "have what was rebuilt serve if it is not the same")
	cmd.RunE = o.runner(cfg, checkNameAndAs(&as), func(ctx context.Context, c *client, args []string) error {
		return o.verify(ctx, c, args[0], as, mend)
	})
	return cmd
}

var errNotSame = errors.New("what serves is not what the log says; --mend has what was rebuilt serve")

func (o *projecting) verify(ctx context.Context, c *client, name, as string, mend bool) error {
	begun, err := c.projection(ctx, messages.ProjectionRebuild, name, as, nil, acting)
	if err != nil {
		return err
	}
	if _, err := c.awaitBuilt(ctx, name, begun.Generation); err != nil {
		return err
	}
	a, err := c.projection(ctx, messages.ProjectionCompare, name, as, nil, comparing)
	if err != nil {
		return fmt.Errorf("%w; generation %d is left: compare it again, or drop it", err, begun.Generation)
	}
	differs := a.Comparison == nil || !a.Comparison.Same
	if differs && mend {
		if a, err = c.projection(ctx, messages.ProjectionSwitch, name, as, map[string]any{"force": false}, comparing); err != nil {
			return err
		}
	} else if _, err := c.projection(ctx, messages.ProjectionDrop, name, as, map[string]any{"generation": begun.Generation}, acting); err != nil {
		return err
	}
	if o.json {
		err = writeJSON(c.cfg.Out, a.raw)
	} else {
		err = c.cfg.showComparison(a)
	}
	switch {
	case err != nil:
		return err
	case differs && !mend:
		return End(ExitFailure, o.json, fmt.Errorf("%s: %w", name, errNotSame))
	case differs && !o.json:
		return c.cfg.say(fmt.Sprintf("%s: mended, by %s; generation %d serves", name, as, begun.Generation))
	}
	return nil
}
