package sqlsink

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

// A Config says whose read models are kept, and where: in a Folder or at a URL.
type Config struct {
	Context messages.Context
	// Log from which they are made. What was made from another one is not touched.
	Log messages.LogName
	// Folder of SQLite's files. It is made when it is missing.
	Folder string
	// URL of a PostgreSQL database, as in postgres://user:password@host:5432/database. Between
	// them there is no pooler that hands a connection to others after each transaction.
	URL string
}

// A Sink keeps projections in a SQL database.
type Sink struct {
	config Config
	db     database
	local  bool

	mu     sync.Mutex
	open   map[place]*generation
	closed bool
}

// place names a generation.
type place struct {
	projection string
	generation uint64
}

// A database is what SQLite and PostgreSQL do differently with generations as a whole.
type database interface {
	// prepare makes a generation, or finds that it is there.
	prepare(ctx context.Context, p *projections.Projection, at place) error
	// open gives one that is there; errAbsent when it is not.
	open(ctx context.Context, at place) (*generation, error)
	drop(ctx context.Context, at place) error
	serve(ctx context.Context, p *projections.Projection, at place) error
	close()
}

var (
	_ projections.Sink    = (*Sink)(nil)
	_ projections.Failing = (*batch)(nil)
)

// errAbsent: there is no such generation.
var errAbsent = errors.New("it is not there")

// Open makes a sink. It does not reach for the database yet, which may be away.
func Open(c Config) (*Sink, error) {
	s := &Sink{config: c, local: c.URL == "", open: map[place]*generation{}}
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return nil, fmt.Errorf("Context: %w", err)
	}
	if c.Log == "" {
		return nil, errors.New("Log: name the log of the context, so that read models of another one are known")
	}
	var err error
	switch {
	case c.Folder == "" && c.URL == "":
		return nil, errors.New("Folder: name a folder for SQLite's files, or the URL of a PostgreSQL database")
	case c.Folder != "" && c.URL != "":
		return nil, errors.New("URL: there is a Folder, too: choose one of them")
	case s.local:
		s.db, err = openSQLite(c)
	default:
		s.db, err = openPostgres(c)
	}
	return s, err
}

// Close gives back what the sink holds. What is under way ends with an error, perhaps. It bears
// repetition.
func (s *Sink) Close() {
	s.mu.Lock()
	all := s.open
	s.open, s.closed = map[place]*generation{}, true
	s.mu.Unlock()
	for _, g := range all {
		g.close()
	}
	s.db.close()
}

// Takes implements [projections.Sink].
func (s *Sink) Takes(projections.Form) bool { return true }

// Local implements [projections.Sink]: files of SQLite are a node's own.
func (s *Sink) Local() bool { return s.local }

// Prepare implements [projections.Sink].
func (s *Sink) Prepare(ctx context.Context, p *projections.Projection, n uint64) error {
	at := place{p.Name(), n}
	if err := s.db.prepare(ctx, p, at); err != nil {
		return fmt.Errorf("prepare generation %d of the projection %s: %w", n, p.Name(), err)
	}
	g, err := s.find(ctx, p.Name(), n)
	if err == nil {
		g.parallel.Store(p.Form() == projections.FormRows && p.Shards() > 1)
	}
	return err
}

// Drop implements [projections.Sink]. Readers of the generation end with an error.
func (s *Sink) Drop(ctx context.Context, projection string, n uint64) error {
	at := place{projection, n}
	s.forget(at, nil)
	if err := s.db.drop(ctx, at); err != nil {
		return fmt.Errorf("drop generation %d of the projection %s: %w", n, projection, err)
	}
	s.forget(at, nil) // whoever looked meanwhile has opened it again
	return nil
}

// Serve implements [projections.Sink].
func (s *Sink) Serve(ctx context.Context, p *projections.Projection, n uint64) error {
	if _, err := s.find(ctx, p.Name(), n); err != nil {
		return err
	}
	if err := s.db.serve(ctx, p, place{p.Name(), n}); err != nil {
		return fmt.Errorf("serve generation %d of the projection %s: %w", n, p.Name(), err)
	}
	return nil
}

// find gives a generation that is there, opened once.
func (s *Sink) find(ctx context.Context, projection string, n uint64) (*generation, error) {
	at := place{projection, n}
	s.mu.Lock()
	g, closed := s.open[at], s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the sink is closed")
	case g != nil && g.present():
		return g, nil
	case g != nil:
		s.forget(at, g)
	}
	g, err := s.db.open(ctx, at)
	if errors.Is(err, errAbsent) {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "generation %d of the projection %s is not where it was: give it back, or restart the node, which builds it anew", n, projection)
	}
	if err != nil {
		return nil, fmt.Errorf("open generation %d of the projection %s: %w", n, projection, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.open[at]; other != nil || s.closed {
		g.close()
		if s.closed {
			return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the sink is closed")
		}
		return other, nil
	}
	s.open[at] = g
	return g, nil
}

// forget closes an open generation: that one, when one is named.
func (s *Sink) forget(at place, that *generation) {
	s.mu.Lock()
	g := s.open[at]
	if g == nil || that != nil && g != that {
		s.mu.Unlock()
		return
	}
	delete(s.open, at)
	s.mu.Unlock()
	g.close()
}
