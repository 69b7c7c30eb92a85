package sqlsink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-run/holdfast/projections"
)

// serve makes views of the generation's tables in the schema that others read, which keeps
// what they have been granted there.
//
// A reader of two views has a lock on one and waits for the other, and so would the one who
// replaces them, for each other. PostgreSQL finds that out after a second, and may end the
// reader: so it is we who give up before that, and try again.
func (s *schemas) serve(ctx context.Context, p *projections.Projection, at place) error {
	for patience := 50 * time.Millisecond; ; patience = min(2*patience, 500*time.Millisecond) {
		err := s.replace(ctx, p, at, patience)
		if code := postgresCode(err); code != lockNotAvailable && code != deadlock {
			return err
		}
		pause := time.NewTimer(again)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

const lockNotAvailable, deadlock, dependents = "55P03", "40P01", "2BP01"

func postgresCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// replace serves, unless it has to wait for a reader for longer than that.
func (s *schemas) replace(ctx context.Context, p *projections.Projection, at place, patience time.Duration) error {
	name, from := s.serving(p.Name()), s.schema(at)
	mark := fmt.Sprintf("holdfast: views of the projection %s of %s, made from the log %s", p.Name(), s.config.Context, s.config.Log)
	return s.alone(ctx, name, func(ses *session) error {
		if err := s.claim(ctx, ses, name, mark); err != nil {
			return err
		}
		old, err := ses.strings(ctx, views, name)
		if err != nil {
			return unavailable(err)
		}
		tables, err := ses.strings(ctx, shownTables, from)
		if err != nil {
			return unavailable(err)
		}
		statements := []string{fmt.Sprintf("SET LOCAL lock_timeout = %d", patience.Milliseconds())}
		if len(old) > 0 {
			statements = append(statements, "DROP VIEW "+named(name, old))
		}
		for _, table := range tables {
			if table == "holdfast_documents" && p.Form() == projections.FormRows {
				continue
			}
			statements = append(statements, "CREATE VIEW "+named(name, []string{table})+" AS SELECT * FROM "+named(from, []string{table}))
		}
		for _, statement := range statements {
			_, err := ses.exec(ctx, statement)
			if postgresCode(err) == dependents {
				return fmt.Errorf("there are views of others on those in the schema %s: drop them first: %w", name, err)
			}
			if err != nil {
				return unavailable(err)
			}
		}
		return nil
	})
}

const (
	views       = `SELECT relname::text FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind = 'v' ORDER BY relname`
	shownTables = `SELECT relname::text FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind IN ('r', 'p', 'v', 'm')
		AND NOT relispartition AND (relname = 'holdfast_documents' OR relname NOT LIKE 'holdfast\_%') ORDER BY relname`
)

// named gives names of a schema.
func named(schema string, names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = quote(schema) + "." + quote(name)
	}
	return strings.Join(all, ", ")
}

// claim makes the schema that others read, or finds that it is not ours.
func (s *schemas) claim(ctx context.Context, ses *session, name, mark string) error {
	var comment string
	there, err := ses.get(ctx, `SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = $1`,
		[]any{name}, []any{&comment})
	switch {
	case err != nil:
		return unavailable(err)
	case there && comment == mark:
		return nil
	case there:
		return foreign("the schema %s was not made for this projection and log (its comment is %q): drop or rename it", name, comment)
	}
	for _, statement := range []string{"CREATE SCHEMA " + quote(name), "COMMENT ON SCHEMA " + quote(name) + " IS '" + mark + "'"} {
		if _, err := ses.exec(ctx, statement); err != nil {
			return unavailable(err)
		}
	}
	return nil
}
