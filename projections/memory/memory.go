// Package memory is the shortest correct sink of projections: documents, in memory.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// A Sink keeps documents until it is forgotten. The zero Sink is not ready: see [New].
type Sink struct {
	mu          sync.Mutex
	generations map[place]*generation
}

type place struct {
	projection string
	generation uint64
}

type generation struct {
	documents   map[string][]byte
	checkpoints map[projections.Unit]projections.Checkpoint
	parked      map[projections.Unit][]projections.Parked
	outbox      map[projections.Unit][]projections.Effected
}

func (g *generation) clone() *generation {
	c := &generation{
		documents: maps.Clone(g.documents), checkpoints: maps.Clone(g.checkpoints),
		parked: maps.Clone(g.parked), outbox: maps.Clone(g.outbox),
	}
	for u, all := range c.parked {
		c.parked[u] = slices.Clone(all)
	}
	for u, all := range c.outbox {
		c.outbox[u] = slices.Clone(all)
	}
	return c
}

// New makes an empty sink.
func New() *Sink { return &Sink{generations: map[place]*generation{}} }

var _ projections.Sink = (*Sink)(nil)

// Takes implements [projections.Sink].
func (s *Sink) Takes(f projections.Form) bool { return f == projections.FormDocuments }

// Local implements [projections.Sink].
func (s *Sink) Local() bool { return true }

// Prepare implements [projections.Sink].
func (s *Sink) Prepare(_ context.Context, p *projections.Projection, n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{p.Name(), n}
	if s.generations[at] == nil {
		s.generations[at] = &generation{
			documents: map[string][]byte{}, checkpoints: map[projections.Unit]projections.Checkpoint{},
			parked: map[projections.Unit][]projections.Parked{}, outbox: map[projections.Unit][]projections.Effected{},
		}
	}
	return nil
}

// Drop implements [projections.Sink].
func (s *Sink) Drop(_ context.Context, projection string, n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.generations, place{projection, n})
	return nil
}

// Serve implements [projections.Sink]: nobody reads but through the sink.
func (s *Sink) Serve(context.Context, *projections.Projection, uint64) error { return nil }

// find locks the sink, unless the generation is not there.
func (s *Sink) find(projection string, n uint64) (*generation, error) {
	s.mu.Lock()
	if g := s.generations[place{projection, n}]; g != nil {
		return g, nil
	}
	s.mu.Unlock()
	return nil, holdfast.Errorf(holdfast.CodeUnavailable, "there is no generation %d of the projection %s: prepare it", n, projection)
}

// Checkpoint implements [projections.Sink].
func (s *Sink) Checkpoint(_ context.Context, u projections.Unit) (projections.Checkpoint, error) {
	g, err := s.find(u.Projection, u.Generation)
	if err != nil {
		return projections.Checkpoint{}, err
	}
	defer s.mu.Unlock()
	return g.checkpoints[u], nil
}

// Commit implements [projections.Sink].
func (s *Sink) Commit(_ context.Context, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	g, err := s.find(u.Projection, u.Generation)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if at := g.checkpoints[u]; at.Done != from.Done || at.Resets != from.Resets {
		return fmt.Errorf("%s: %w", u, projections.ErrFenced)
	}
	changed := g.clone()
	b := &batch{generation: changed, unit: u, from: from}
	err = do(b)
	if b.broken != nil {
		return b.broken
	}
	if err != nil {
		return err
	}
	changed.checkpoints[u] = to
	s.generations[place{u.Projection, u.Generation}] = changed
	return nil
}

// ParkedKeys implements [projections.Sink].
func (s *Sink) ParkedKeys(_ context.Context, projection string, n uint64, limit int) ([]projections.ParkedKey, error) {
	g, err := s.find(projection, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var keys []projections.ParkedKey
	for u, all := range g.parked {
		at := map[string]int{}
		for _, p := range all {
			i, ok := at[p.Key]
			if !ok {
				i, at[p.Key] = len(keys), len(keys)
				p.Record.Body = nil
				keys = append(keys, projections.ParkedKey{Unit: u, Key: p.Key, First: p})
			}
			keys[i].Events++
		}
	}
	slices.SortFunc(keys, func(a, b projections.ParkedKey) int {
		return cmp.Or(a.First.Since.Compare(b.First.Since), cmp.Compare(a.Key, b.Key))
	})
	return keys[:min(limit, len(keys))], nil
}

// Parked implements [projections.Sink].
func (s *Sink) Parked(_ context.Context, u projections.Unit, key string, limit int) ([]projections.Parked, error) {
	g, err := s.find(u.Projection, u.Generation)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(g.parked[u]), func(p projections.Parked) bool { return p.Key != key })
	return all[:min(limit, len(all))], nil
}

// Outbox implements [projections.Sink].
func (s *Sink) Outbox(_ context.Context, u projections.Unit, limit int) ([]projections.Effected, error) {
	g, err := s.find(u.Projection, u.Generation)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(g.outbox[u][:min(limit, len(g.outbox[u]))]), nil
}

// Carried implements [projections.Sink].
func (s *Sink) Carried(_ context.Context, u projections.Unit, id string) error {
	g, err := s.find(u.Projection, u.Generation)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	g.outbox[u] = slices.DeleteFunc(g.outbox[u], func(e projections.Effected) bool { return e.ID == id })
	return nil
}

// Document implements [projections.Sink].
func (s *Sink) Document(_ context.Context, projection string, n uint64, key string) ([]byte, error) {
	g, err := s.find(projection, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return g.documents[key], nil
}

var errRows = errors.New("this sink keeps documents: it has no tables")

// Query implements [projections.Sink]: there is nothing that it could read.
func (s *Sink) Query(context.Context, string, uint64, func(projections.Batch) error) error {
	return errRows
}

// Dump implements [projections.Sink].
func (s *Sink) Dump(_ context.Context, projection string, n uint64, each func(table, key string, row []byte) error) error {
	g, err := s.find(projection, n)
	if err != nil {
		return err
	}
	documents := maps.Clone(g.documents)
	s.mu.Unlock()
	for key, body := range documents {
		if err := each("", key, body); err != nil {
			return err
		}
	}
	return nil
}

// A batch works on a copy of its generation.
type batch struct {
	*generation
	unit   projections.Unit
	from   projections.Checkpoint
	broken error
}

func (b *batch) Exec(string, []any) (int64, error)             { return 0, errRows }
func (b *batch) Get(string, []any, []any) (bool, error)        { return false, errRows }
func (b *batch) Each(string, []any, func() error, []any) error { return errRows }
func (b *batch) Broken() error                                 { return b.broken }

func (b *batch) Change(key string, _ projections.Place, f func([]byte) ([]byte, error)) error {
	body, err := f(b.documents[key])
	switch {
	case err != nil:
		return err
	case body == nil:
		delete(b.documents, key)
	default:
		b.documents[key] = body
	}
	return nil
}

func (b *batch) Park(p projections.Parked) error {
	i := slices.IndexFunc(b.parked[b.unit], func(q projections.Parked) bool { return same(p, q) })
	if i < 0 && p.Event.Position.Sequence() <= b.from.Done {
		return b.gone(p)
	}
	if i < 0 {
		b.parked[b.unit] = append(b.parked[b.unit], p)
		return nil
	}
	p.Since = b.parked[b.unit][i].Since
	b.parked[b.unit][i] = p
	return nil
}

func (b *batch) Unpark(p projections.Parked, _ string) error {
	before := len(b.parked[b.unit])
	b.parked[b.unit] = slices.DeleteFunc(b.parked[b.unit], func(q projections.Parked) bool { return same(p, q) })
	if len(b.parked[b.unit]) == before {
		return b.gone(p)
	}
	return nil
}

// gone breaks the batch: another one has had the event.
func (b *batch) gone(p projections.Parked) error {
	b.broken = fmt.Errorf("%s: %s is not parked any more: %w", b.unit, p.Event.ID, projections.ErrFenced)
	return b.broken
}

func same(p, q projections.Parked) bool {
	return p.Event.Position == q.Event.Position && p.Event.Index == q.Event.Index && p.Event.Part == q.Event.Part
}

func (b *batch) Later(e projections.Effected) error {
	if !slices.ContainsFunc(b.outbox[b.unit], func(o projections.Effected) bool { return o.ID == e.ID }) {
		b.outbox[b.unit] = append(b.outbox[b.unit], e)
	}
	return nil
}
