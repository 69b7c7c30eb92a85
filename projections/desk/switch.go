package desk

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/runner"
)

const (
	// aligning is how long two generations may take to come to the same position.
	aligning = 30 * time.Second
	// glance is how often it is looked whether they have.
	glance = 20 * time.Millisecond
	// recovering is how long a generation may take that is but nearly ready: that is so many
	// commits behind at the most.
	recovering = 3 * time.Second
	nearly     = 100
	// releasing is how long it is tried to end the pause, which else stays until an operator ends
	// it: longer than machines stand still, or servers elect.
	releasing = 30 * time.Second
)

// compare compares the generation that serves with the one that is being built.
func (d *Desk) compare(ctx context.Context, r *request) (any, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return nil, err
	}
	return d.compared(ctx, r, "two generations are compared", func(context.Context, uint64) error { return nil })
}

// switchOver has the generation serve that is being built: when it is not behind, unless it is
// forced to.
func (d *Desk) switchOver(ctx context.Context, r *request) (any, error) {
	var force bool
	if err := serve.ReadBody(r.Body, serve.Into("force", "true or false", &force)); err != nil {
		return nil, err
	}
	change := func(ctx context.Context, built uint64) error { return d.cfg.Register.Switch(ctx, r.projection, built) }
	if !force {
		return d.compared(ctx, r, "two generations are compared, to switch to the new one", change)
	}
	if _, err := d.status(ctx, r.projection); err != nil {
		return nil, err
	}
	if err := change(ctx, 0); err != nil {
		return nil, err
	}
	return d.outcome(ctx, r.projection), nil
}

// compared compares what serves with what is being built, both paused at the same position,
// and does then what is to be done there with the latter.
func (d *Desk) compared(ctx context.Context, r *request, why string, then func(ctx context.Context, built uint64) error) (any, error) {
	s, err := d.ready(ctx, r.projection)
	if err != nil {
		return nil, err
	}
	_, sink, err := d.cfg.Runner.Sink(r.projection)
	if err != nil {
		return nil, unavailable(err)
	}
	p := &pausing{desk: d, request: r, why: why, local: sink.Local(), at: map[uint32]uint64{}}
	defer p.release(ctx)
	comparison, parked, err := p.compare(ctx, sink, s)
	if err != nil {
		return nil, err
	}
	if err := then(ctx, s.Record.Building); err != nil {
		return nil, err
	}
	p.release(ctx)
	out := d.outcome(ctx, r.projection)
	out.Comparison, out.Parked = &comparison, &parked
	return out, nil
}

// unavailable gives an error of what cannot be reached its code.
func unavailable(err error) error {
	if holdfast.CodeOf(err) != holdfast.CodeInternal {
		return err
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "%w", err)
}

// ready gives how a projection stands of which a generation has been built, or says why that
// cannot be compared with what serves.
func (d *Desk) ready(ctx context.Context, name string) (runner.Status, error) {
	moments, cancel := context.WithTimeout(ctx, recovering)
	defer cancel()
	poll := time.NewTicker(glance)
	defer poll.Stop()
	for {
		s, err := d.status(ctx, name)
		if err != nil {
			return s, err
		}
		soon, err := readiness(s)
		if err == nil || !soon {
			return s, err
		}
		select {
		case <-poll.C:
		case <-moments.Done():
			return s, err
		}
	}
}

// readiness says why what is being built is not ready, and whether it may be in moments.
func readiness(s runner.Status) (soon bool, err error) {
	rec := s.Record
	switch {
	case rec.Building == 0:
		return false, conflict("no generation of %s is being built: rebuild it first", s.Name)
	case rec.Paused != nil:
		return false, conflict("%s is paused by %s (%s): resume it first", s.Name, cmp.Or(rec.Paused.By, "somebody"), rec.Paused.Reason)
	}
	for _, g := range s.Generations {
		if g.Generation != rec.Building {
			continue
		}
		if g.State == runner.Live {
			return false, nil
		}
		// It has been paused until just now, perhaps.
		soon := g.State == runner.Paused || g.State == runner.Rebuilding && g.Behind < nearly
		return soon, conflict("generation %d of %s is not ready: %s", g.Generation, s.Name, standing(g))
	}
	return false, conflict("generation %d of %s is not ready: nobody works on it yet", rec.Building, s.Name)
}

// standing tells how a generation stands, for people.
func standing(g runner.GenerationStatus) string {
	text := string(g.State)
	if g.Behind > 0 {
		text += fmt.Sprintf(", %d commits behind", g.Behind)
	}
	if g.Left > 0 {
		text += fmt.Sprintf(", %v left", time.Duration(g.Left*float64(time.Second)).Round(time.Second))
	}
	if g.Reason != "" {
		text += ": " + g.Reason
	}
	return text
}

// A pausing has a projection stand still while its generations are compared.
type pausing struct {
	desk    *Desk
	request *request
	why     string
	local   bool // only this node's units count
	at      map[uint32]uint64
	paused  bool
}

func (p *pausing) compare(ctx context.Context, sink projections.Sink, s runner.Status) (c Comparison, parked [2]int, err error) {
	rec := s.Record
	if left(s) { // it stands still for good
		s, err = p.desk.status(ctx, s.Name)
	} else {
		s, err = p.align(ctx)
	}
	if err != nil {
		return c, parked, err
	}
	for i, generation := range []uint64{rec.Serving, rec.Building} {
		keys, err := sink.ParkedKeys(ctx, p.request.projection, generation, maxParked)
		if err != nil {
			return c, parked, unavailable(err)
		}
		parked[i] = len(keys)
	}
	if c, err = Compare(ctx, sink, p.request.projection, rec.Serving, rec.Building); err != nil {
		return c, parked, unavailable(err)
	}
	c.Old.Positions, c.New.Positions = positionsOf(s, rec.Serving), positionsOf(s, rec.Building)
	return c, parked, nil
}

// left reports whether what serves is of another revision than what is being built, and nobody
// works on it any more.
func left(s runner.Status) bool {
	for _, g := range s.Generations {
		if g.Generation == s.Record.Serving {
			return g.State == runner.Stopped && g.Revision != s.Record.Generations[s.Record.Building].Revision
		}
	}
	return false
}

func positionsOf(s runner.Status, generation uint64) []string {
	for _, g := range s.Generations {
		if g.Generation == generation {
			return g.Positions
		}
	}
	return nil
}

// align returns when all units of both generations stand still at the same positions.
func (p *pausing) align(ctx context.Context) (s runner.Status, err error) {
	partitions, err := p.desk.cfg.Describe(ctx)
	if err != nil {
		return s, err
	}
	patience, cancel := context.WithTimeout(ctx, aligning)
	defer cancel()
	poll := time.NewTicker(glance)
	defer poll.Stop()
	for {
		if s, err = p.desk.status(patience, p.request.projection); err != nil {
			return s, err
		}
		missing, err := p.step(patience, s, len(partitions))
		if err != nil || missing == "" {
			return s, err
		}
		select {
		case <-poll.C:
		case <-patience.Done():
			if ctx.Err() != nil {
				return s, ctx.Err()
			}
			return s, conflict("the generations of %s have not come to the same position within %v: %s", s.Name, aligning, missing)
		}
	}
}

// step looks at how all units stand, and has them go on to where the foremost one is. It says
// what is still missing.
func (p *pausing) step(ctx context.Context, s runner.Status, partitions int) (missing string, err error) {
	var units []runner.UnitStatus
	for _, g := range s.Generations {
		if g.Generation != s.Record.Serving && g.Generation != s.Record.Building {
			continue
		}
		if g.State == runner.Blocked || g.State == runner.Stopped {
			return "", conflict("generation %d of %s is %s", g.Generation, s.Name, standing(g))
		}
		mine := p.mine(g.Units)
		if want := partitions * max(1, s.Record.Generations[g.Generation].Shards); len(mine) < want {
			missing = fmt.Sprintf("of generation %d only %d units of %d are worked on", g.Generation, len(mine), want)
		}
		units = append(units, mine...)
	}
	if missing == "" {
		missing, err = p.hold(ctx, units)
	}
	return missing, err
}

func (p *pausing) mine(units []runner.UnitStatus) (mine []runner.UnitStatus) {
	for _, u := range units {
		if !u.Silent && (!p.local || u.Node == p.desk.cfg.Node) {
			mine = append(mine, u)
		}
	}
	return mine
}

func (p *pausing) hold(ctx context.Context, units []runner.UnitStatus) (missing string, err error) {
	further := !p.paused
	for _, u := range units {
		at, err := holdfast.ParsePosition(u.Position)
		if err != nil {
			return "", fmt.Errorf("the status of generation %d: %w", u.Generation, err)
		}
		if seq, known := p.at[u.Partition]; !known || seq < at.Sequence() {
			p.at[u.Partition], further = at.Sequence(), true
		}
	}
	if further {
		return "they have to come to the same position", p.pause(ctx)
	}
	for _, u := range units {
		if want := holdfast.NewPosition(u.Partition, p.at[u.Partition]).String(); u.State != runner.Paused || u.Position != want {
			return fmt.Sprintf("generation %d is %s at %s, and has to stop at %s", u.Generation, u.State, u.Position, want), nil
		}
	}
	return "", nil
}

func (p *pausing) pause(ctx context.Context) error {
	var at []holdfast.Position
	for partition, sequence := range p.at {
		at = append(at, holdfast.NewPosition(partition, sequence))
	}
	p.paused = true // or so it may be
	return p.desk.cfg.Register.Pause(ctx, p.request.projection, p.why, p.request.by, at...)
}

// release ends the pause, unless it has become another's. It bears repetition.
func (p *pausing) release(ctx context.Context) {
	if !p.paused {
		return
	}
	p.paused = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasing)
	defer cancel()
	name, register := p.request.projection, p.desk.cfg.Register
	rec, err := register.Record(ctx, name)
	if err == nil && (rec.Paused == nil || rec.Paused.Reason == p.why && rec.Paused.By == p.request.by) {
		err = register.Resume(ctx, name)
	}
	if err != nil {
		p.desk.cfg.Logger.Error("a projection stays paused, which an operator has to end", "projection", name, "error", err)
	}
}
