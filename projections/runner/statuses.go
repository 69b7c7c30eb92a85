package runner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
)

// The roles of generations.
const (
	serving  = "serving"
	building = "building"
	previous = "previous"
)

const (
	unbegun = "no node has begun to work on it"
	// beginning is how long nodes may take to begin to work on a generation.
	beginning = 10 * time.Second
)

// Statuses tell how all projections stand, by name: those of this build, and those that
// another build has left behind.
func (r *Runner) Statuses(ctx context.Context) ([]Status, error) {
	records, err := r.config.Register.Records(ctx)
	if err != nil {
		return nil, err
	}
	var all []Status
	for name := range r.running {
		if !slices.ContainsFunc(records, func(rec Record) bool { return rec.Name == name }) {
			records = append(records, Record{Name: name})
		}
	}
	for _, rec := range records {
		all = append(all, r.statusOf(rec))
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (r *Runner) statusOf(rec Record) Status {
	s := Status{Name: rec.Name, Record: rec, State: CatchingUp, Generations: r.generationsOf(rec)}
	for _, g := range s.Generations {
		if g.Role == serving {
			s.State, s.Reason, s.Event = g.State, g.Reason, g.Event
		}
	}
	x := r.running[rec.Name]
	if x == nil {
		return s
	}
	s.Form, s.InKV, s.Shown = string(x.p.Form()), x.p.InKV(), x.p.Shown()
	if _, _, err := r.Sink(rec.Name); err != nil {
		s.State, s.Reason = Blocked, err.Error()
	}
	return s
}

func (r *Runner) generations(name string) []GenerationStatus {
	rec, _ := r.config.Register.record(name)
	return r.generationsOf(rec)
}

func (r *Runner) generationsOf(rec Record) (all []GenerationStatus) {
	for _, role := range []string{serving, building, previous} {
		n := map[string]uint64{serving: rec.Serving, building: rec.Building, previous: rec.Previous}[role]
		if n == 0 {
			continue
		}
		g := GenerationStatus{Generation: n, Role: role, Revision: rec.Generations[n].Revision, Units: r.config.Register.unitsOf(rec.Name, n)}
		g.sum()
		reason := r.nobody(rec, n)
		switch told := slices.ContainsFunc(g.Units, func(u UnitStatus) bool { return !u.Silent }); {
		case reason != "" && !told:
			g.State, g.Reason = Stopped, reason
		case len(g.Units) == 0:
			g.State, g.Reason = Stopped, unbegun
			if r.config.Now().Sub(rec.Generations[n].Begun) < beginning {
				g.State = CatchingUp
				if role == building {
					g.State = Rebuilding
				}
			}
		}
		all = append(all, g)
	}
	return all
}

// nobody says why this build does not work on a generation; empty when it does.
func (r *Runner) nobody(rec Record, n uint64) string {
	x := r.running[rec.Name]
	switch revision := rec.Generations[n].Revision; {
	case x == nil:
		return "this build has no such projection: was it renamed?"
	case x.p.Revision() < revision:
		return fmt.Sprintf("no node works on it: it is of revision %d, and this build is older, of revision %d", revision, x.p.Revision())
	case x.p.Revision() > revision:
		return fmt.Sprintf("no node works on it any more: it is of revision %d, and this build has revision %d: switch to its generation when that is live", revision, x.p.Revision())
	}
	return ""
}

// sum has a generation be what its units are together.
func (g *GenerationStatus) sum() {
	g.State = Live
	done, behind := map[uint32]uint64{}, map[uint32]uint64{}
	for _, u := range g.Units {
		if u.Silent && g.others(u) {
			continue
		}
		if u.Silent && u.State != Stopped {
			u.State, u.Reason = Stopped, fmt.Sprintf("the node %s has not been heard of for %v", u.Node, silence)
		}
		if severity[u.State] > severity[g.State] {
			g.State, g.Reason, g.Event = u.State, u.Reason, u.Event
		}
		at := sequenceOf(u.Position)
		if before, ok := done[u.Partition]; ok {
			at = min(at, before)
		}
		done[u.Partition], behind[u.Partition] = at, max(behind[u.Partition], u.Behind)
		g.Left = max(g.Left, u.Left)
		g.Rate += u.Rate
		g.Parked += u.Parked
	}
	for _, partition := range slices.Sorted(maps.Keys(done)) {
		g.Positions = append(g.Positions, holdfast.NewPosition(partition, done[partition]).String())
		g.Behind += behind[partition]
	}
}

// others reports whether another node than the one that says so does the same.
func (g *GenerationStatus) others(u UnitStatus) bool {
	return slices.ContainsFunc(g.Units, func(o UnitStatus) bool { return !o.Silent && o.Partition == u.Partition && o.Shard == u.Shard })
}
