package sqlsink_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/pgtest"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/projectionstest"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

const log = "20260314T092653.589793238Z"

func TestMain(m *testing.M) {
	if os.Getenv(victim) != "" {
		beKilled()
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		pgtest.Stop()
		os.Exit(code)
	}))
}

// kinds are the databases, each with a place of its own for a test.
var kinds = []struct {
	name string
	at   func(testing.TB) sqlsink.Config
}{
	{"SQLite", func(t testing.TB) sqlsink.Config {
		return sqlsink.Config{Context: "shop", Log: log, Folder: t.TempDir()}
	}},
	{"PostgreSQL", func(t testing.TB) sqlsink.Config {
		return sqlsink.Config{Context: "shop", Log: log, URL: pgtest.Database(t)}
	}},
}

// each tests on both databases.
func each(t *testing.T, test func(t *testing.T, c sqlsink.Config)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, k.at(t)) })
	}
}

func open(t testing.TB, c sqlsink.Config) *sqlsink.Sink {
	t.Helper()
	s, err := sqlsink.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			projectionstest.Run(t, func(t testing.TB) *projectionstest.Place {
				c := k.at(t)
				p := &projectionstest.Place{Sink: open(t, c), Others: []projections.Sink{open(t, c), open(t, c)}}
				p.Reopen = func(testing.TB) projections.Sink {
					p.Sink.(*sqlsink.Sink).Close()
					p.Sink = open(t, c)
					return p.Sink
				}
				return p
			})
		})
	}
}

// rows makes a projection of that table, whose handlers nobody calls.
func rows(name string, parts ...projections.Part) *projections.Projection {
	parts = append(parts, projections.Every(func(*projections.Rows, projections.Event) error { return nil }))
	return projections.Define(name, parts...)
}

var counts = projections.Tables(`CREATE TABLE counts (id TEXT PRIMARY KEY, n BIGINT NOT NULL)`)

// documents makes a projection of documents.
func documents(name string) *projections.Projection {
	return projections.Define(name, projections.Every(func(*projections.Docs[int], projections.Event) error { return nil }))
}

func prepare(t testing.TB, s *sqlsink.Sink, p *projections.Projection, n uint64) projections.Unit {
	t.Helper()
	if err := s.Prepare(within(t), p, n); err != nil {
		t.Fatal(err)
	}
	return projections.Unit{Projection: p.Name(), Generation: n}
}

// commit moves a unit on by one, from where it stands.
func commit(t testing.TB, s *sqlsink.Sink, u projections.Unit, do func(projections.Batch) error) error {
	t.Helper()
	from, err := s.Checkpoint(within(t), u)
	if err != nil {
		t.Fatal(err)
	}
	to := from
	to.Done++
	return s.Commit(within(t), u, from, to, do)
}

// again commits until a unit has come to done, and tries again what the database could not on a
// machine that is busy.
func again(t testing.TB, s *sqlsink.Sink, u projections.Unit, done uint64, do func(projections.Batch) error) error {
	t.Helper()
	ctx := within(t)
	for {
		from, err := s.Checkpoint(ctx, u)
		if err == nil && from.Done < done {
			to := from
			to.Done++
			err = s.Commit(ctx, u, from, to, do)
		} else if err == nil {
			return nil
		}
		if err != nil && !errors.Is(err, holdfast.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
