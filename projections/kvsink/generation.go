package kvsink

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/projections"
)

const (
	// maxCommits is how many commits of a generation are under way at a time: a stream has
	// 50 batches open at the most.
	maxCommits = 8
	// maxCached is how many bytes of a generation's documents are remembered, about.
	maxCached = 64 << 20
)

// A generation is what a sink remembers of one: what it remembers wrongly is found when it is
// written.
type generation struct {
	names
	room chan struct{}
	met  atomic.Bool

	mu      sync.Mutex
	units   map[projections.Unit]*point
	reached map[projections.Unit]uint64 // the revision of the last one that was known
	cached  map[string]*document        // by subject
	bytes   int
	// whole says that nothing had been committed when this sink came, and that it has forgotten
	// none since: what is not remembered was not there, unless others have made it.
	whole bool
}

func (s *Sink) generation(projection string, number uint64) *generation {
	n := newNames(s.config.Context, projection, number)
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.generations[n.bucket]
	if g == nil {
		g = &generation{
			names: n, room: make(chan struct{}, maxCommits), units: map[projections.Unit]*point{}, reached: map[projections.Unit]uint64{},
			cached: map[string]*document{},
		}
		s.generations[n.bucket] = g
	}
	return g
}

// find gives a document as it was last; nil when nothing is known of it.
func (g *generation) find(subject string) *document {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.cached[subject]
	if d == nil && g.whole {
		return &document{}
	}
	return d
}

func (g *generation) remember(subject string, d *document) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old := g.cached[subject]; old != nil {
		g.bytes -= old.size()
	}
	g.cached[subject] = d
	g.bytes += d.size()
	for other, d := range g.cached { // any that the map comes to first
		if g.bytes <= maxCached {
			return
		}
		delete(g.cached, other)
		g.bytes -= d.size()
		g.whole = false
	}
}

func (g *generation) forget(subject string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.whole = false
	if d := g.cached[subject]; d != nil {
		delete(g.cached, subject)
		g.bytes -= d.size()
	}
}

// A point is a checkpoint as it is kept.
type point struct {
	revision uint64    // 0: the unit has not begun
	Done     uint64    `json:"done,string"`
	Time     time.Time `json:"time,omitzero"`
	Resets   uint64    `json:"resets,omitempty"`
	// Within is the last event of a commit that has had its effect, when the commit has come
	// that far and not to its end.
	Within *spot `json:"within,omitempty"`
	// Commit is how the one that has written it knows it again.
	Commit string `json:"commit"`
}

func (p *point) checkpoint() projections.Checkpoint {
	return projections.Checkpoint{Done: p.Done, Time: p.Time, Resets: p.Resets}
}

// within reports whether the event at a place has had its effect in a commit that has not come
// to its end.
func (p *point) within(at projections.Place) bool {
	return !at.Drained && p.Within != nil && !spot{at.Sequence, at.Index, at.Part}.after(*p.Within)
}

// divides reports whether a commit was broken off within the record at a place, or just behind it:
// what of it has had its effect is then told by Within alone.
func (p *point) divides(at projections.Place) bool {
	return !at.Drained && p.Within != nil && at.Sequence == p.Within.Sequence
}

// read reads where a unit stands.
func (s *Sink) read(ctx context.Context, g *generation, u projections.Unit) (*point, error) {
	m, err := s.last(ctx, g.names, g.checkpoint(u))
	if err != nil {
		return nil, err
	}
	p := &point{}
	if m == nil {
		// Of a bucket that is not there, the server has said so.
		return p, nil
	}
	if err := json.Unmarshal(m.Data, p); err != nil {
		return nil, fmt.Errorf("%s at %d is no checkpoint: %w", m.Subject, m.Seq, err)
	}
	p.revision = m.Seq
	return p, nil
}

// Checkpoint implements [projections.Sink].
func (s *Sink) Checkpoint(ctx context.Context, u projections.Unit) (projections.Checkpoint, error) {
	g := s.generation(u.Projection, u.Generation)
	p, err := s.read(ctx, g, u)
	g.know(u, p)
	if err == nil && p.revision == 0 {
		err = s.meet(ctx, g)
	}
	if err != nil {
		return projections.Checkpoint{}, err
	}
	return p.checkpoint(), nil
}

// meet finds out whether all of a generation is known, since there is nothing of it.
func (s *Sink) meet(ctx context.Context, g *generation) error {
	if g.met.Swap(true) {
		return nil
	}
	m, err := s.last(ctx, g.names, g.checkpoints())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.whole = m == nil && err == nil && len(g.cached) == 0
	return err
}

// know remembers where a unit stands. When that is earlier than it was, all has been put back, and
// nothing is known of what there is.
func (g *generation) know(u projections.Unit, p *point) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p == nil {
		delete(g.units, u)
		return
	}
	if p.revision < g.reached[u] {
		clear(g.cached)
		g.bytes, g.whole = 0, false
	}
	g.units[u], g.reached[u] = p, p.revision
}

// knows gives where a unit stands, as far as is known; nil when nothing is.
func (g *generation) knows(u projections.Unit) *point {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.units[u]
}
