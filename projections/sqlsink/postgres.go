package sqlsink

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/holdfast-run/holdfast/projections"
)

// schemas are generations in PostgreSQL.
type schemas struct {
	config Config
	// Generations share connections, of which a server has a hundred or so. Each batch in which
	// a handler hangs has one.
	writers, readers, guests *sql.DB
}

var postgresDialect = &dialect{
	lock:   "SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 0))",
	broken: postgresBroken,
	dead: func(conn any) bool {
		c, ok := conn.(*stdlib.Conn)
		return !ok || c.Conn().IsClosed()
	},
	time:  func(t time.Time) any { return t },
	flush: flushAll,
	tables: `SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind IN ('r', 'p')
		AND NOT c.relispartition AND c.relname NOT LIKE 'holdfast\_%' ORDER BY c.relname`,
	key: `SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
		WHERE i.indisprimary AND i.indrelid = quote_ident($1::text)::regclass ORDER BY array_position(i.indkey::int2[], a.attnum)`,
	types: map[string]string{
		"text": `TEXT COLLATE "C"`, "bytes": "BYTEA", "json": "JSON", "number": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	},
}

func openPostgres(c Config) (*schemas, error) {
	conn, err := pgx.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("URL: want one like postgres://user:password@host:5432/database: %w", err)
	}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = 5 * time.Second
	}
	set := func(name, value string) {
		if _, ok := conn.RuntimeParams[name]; !ok {
			conn.RuntimeParams[name] = value
		}
	}
	set("application_name", "holdfast "+string(c.Context))
	set("idle_in_transaction_session_timeout", "15s") // of a handler that hangs: others may need its locks
	set("lock_timeout", "10s")
	return &schemas{config: c, writers: connectPostgres(conn, 32), readers: connectPostgres(conn, 4), guests: connectPostgres(conn, 8)}, nil
}

func connectPostgres(c *pgx.ConnConfig, most int) *sql.DB {
	db := stdlib.OpenDB(*c.Copy())
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most / 4)
	db.SetConnMaxIdleTime(time.Minute)
	return db
}

func (s *schemas) close() {
	s.writers.Close()
	s.readers.Close()
	s.guests.Close()
}

// in gives the generation in a schema, the names of which are then the plain ones.
func (s *schemas) in(schema string) *generation {
	path := "; SET LOCAL search_path TO " + quote(schema)
	return &generation{
		dialect: postgresDialect, note: "/* " + schema + " */ ",
		begin: "BEGIN" + path, read: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + path,
		writers: connections{s.writers}, readers: s.readers, guests: s.guests,
		present: func() bool { return true }, close: func() {},
	}
}

// serving is the schema in which others read a projection. A context's name has no '_', so
// that two of them never meet. PostgreSQL cuts off names after 63 bytes.
func (s *schemas) serving(projection string) string {
	name := string(s.config.Context) + "_" + projection
	if len(name) > 42 {
		sum := sha256.Sum256([]byte(name))
		name = name[:33] + "_" + hex.EncodeToString(sum[:4])
	}
	return name
}

func (s *schemas) schema(at place) string {
	return fmt.Sprintf("%s_%d", s.serving(at.projection), at.generation)
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// alone calls do in a transaction that no other node has for that schema at the same time.
func (s *schemas) alone(ctx context.Context, schema string, do func(*session) error) error {
	return s.in(schema).change(ctx, func(ses *session) error {
		if _, err := ses.exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", schema); err != nil {
			return unavailable(err)
		}
		return do(ses)
	})
}

func (s *schemas) prepare(ctx context.Context, p *projections.Projection, at place) error {
	schema := s.schema(at)
	return s.alone(ctx, schema, func(ses *session) error {
		form, err := s.look(ctx, ses, at)
		if form != "" || err != nil {
			return err
		}
		if _, err := ses.exec(ctx, "CREATE SCHEMA "+quote(schema)); err != nil {
			return unavailable(err)
		}
		return ses.make(ctx, s.config, p, at)
	})
}

// look tells the form of a generation whose schema is there, or finds that it is not ours.
func (s *schemas) look(ctx context.Context, ses *session, at place) (projections.Form, error) {
	schema := s.schema(at)
	var marked bool
	there, err := ses.get(ctx, `SELECT to_regclass(quote_ident(nspname) || '.holdfast_meta') IS NOT NULL FROM pg_namespace WHERE nspname = $1`,
		[]any{schema}, []any{&marked})
	switch {
	case err != nil:
		return "", unavailable(err)
	case !there:
		return "", nil
	case !marked:
		return "", foreign("the schema %s was not made for generation %d of the projection %s (it has no holdfast_meta): rename the schema, or the projection",
			schema, at.generation, at.projection)
	}
	return ses.check(ctx, s.config, "the schema "+schema, quote(schema)+".holdfast_meta", at)
}

func (s *schemas) open(ctx context.Context, at place) (*generation, error) {
	g := s.in(s.schema(at))
	err := g.view(ctx, g.readers, func(ses *session) (err error) {
		if g.form, err = s.look(ctx, ses, at); err == nil && g.form == "" {
			err = errAbsent
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (s *schemas) drop(ctx context.Context, at place) error {
	return s.alone(ctx, s.schema(at), func(ses *session) error {
		form, err := s.look(ctx, ses, at)
		if form == "" || err != nil {
			return err
		}
		_, err = ses.exec(ctx, "DROP SCHEMA "+quote(s.schema(at))+" CASCADE")
		return ours(err)
	})
}

// connections are those of PostgreSQL that write. The driver keeps their statements.
type connections struct{ db *sql.DB }

func (c connections) take(ctx context.Context) (*session, error) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &session{dialect: postgresDialect, conn: conn}, nil
}

// give leaves it to the driver to find that a connection has ended, or is in a transaction.
func (c connections) give(s *session, _ bool) { s.conn.Close() }

// postgresBroken tells by the class of a code what is the database's fault: the connection, the
// transaction (a deadlock, too), its resources, its settings, an operator, the system. So is
// that something is not permitted, and that a table was changed under a kept statement.
func postgresBroken(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code[:min(2, len(e.Code))] {
		case "08", "25", "28", "40", "53", "55", "57", "58", "XX":
			return true
		}
		return e.Code == "42501" || e.Code == "0A000" && e.Routine == "RevalidateCachedQuery"
	}
	_, network := errors.AsType[net.Error](err)
	_, connect := errors.AsType[*pgconn.ConnectError](err)
	return network || connect || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// most documents that are written at once, and their bytes.
const mostDocuments, mostBytes = 1000, 8 << 20

func flushAll(ctx context.Context, s *session, keys []string, bodies [][]byte, gone []string) error {
	for len(keys) > 0 {
		n, bytes := 0, 0
		var texts []string
		for n < len(keys) && n < mostDocuments && bytes < mostBytes {
			texts = append(texts, string(bodies[n]))
			bytes += len(bodies[n])
			n++
		}
		if _, err := s.exec(ctx, `INSERT INTO holdfast_documents (key, body) SELECT k, b::json FROM unnest($1::text[], $2::text[]) AS t (k, b)
			ON CONFLICT (key) DO UPDATE SET body = excluded.body`, keys[:n], texts); err != nil {
			return err
		}
		keys, bodies = keys[n:], bodies[n:]
	}
	if len(gone) == 0 {
		return nil
	}
	_, err := s.exec(ctx, `DELETE FROM holdfast_documents WHERE key = ANY($1::text[])`, gone)
	return err
}
