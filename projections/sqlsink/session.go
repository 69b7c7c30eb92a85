package sqlsink

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// A dialect is how a database wants to be spoken to.
type dialect struct {
	// lock has the transactions that write to a generation wait for each other, where the
	// database does not do that by itself.
	lock string
	// broken reports whether an error is the database's and not the statement's.
	broken func(error) bool
	// dead reports whether a connection has ended.
	dead func(conn any) bool
	// time gives what stands for a time in a parameter.
	time func(time.Time) any
	// flush writes documents, and takes others away.
	flush func(ctx context.Context, s *session, keys []string, bodies [][]byte, gone []string) error
	// tables are the names of a generation's tables, ours left out, and key the columns of a
	// table's primary key.
	tables, key string
	// types that are named differently.
	types map[string]string
}

// A generation is an open one.
type generation struct {
	*dialect
	begin, read string // a transaction that writes, and one that reads from one moment
	// note stands before each statement, so that the driver keeps those of each generation apart.
	note     string
	writers  pool
	readers  *sql.DB
	guests   *sql.DB // of those who may keep a connection for long
	form     projections.Form
	parallel atomic.Bool // batches are executed side by side
	present  func() bool // what was opened is still what is there
	close    func()
}

// A pool has the connections that write.
type pool interface {
	take(ctx context.Context) (*session, error)
	give(s *session, sound bool)
}

// A session is a connection that somebody has.
type session struct {
	*dialect
	conn  *sql.Conn
	note  string
	keep  bool // statements are prepared and kept here, not by the driver
	stmts map[string]*sql.Stmt
}

// maxStmts are how many statements a session keeps: handlers have a few each.
const maxStmts = 256

// A statement is one that is kept, or that the driver is given as text.
type statement interface {
	ExecContext(ctx context.Context, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, args ...any) (*sql.Rows, error)
}

// given is a statement as text.
type given struct {
	conn  *sql.Conn
	query string
}

func (g given) ExecContext(ctx context.Context, args ...any) (sql.Result, error) {
	return g.conn.ExecContext(ctx, g.query, args...)
}

func (g given) QueryContext(ctx context.Context, args ...any) (*sql.Rows, error) {
	return g.conn.QueryContext(ctx, g.query, args...)
}

// statement gives one that is kept, unless the driver does that, or it is one too many.
func (s *session) statement(ctx context.Context, query string) (statement, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	if !s.keep || len(s.stmts) >= maxStmts {
		return given{s.conn, s.note + query}, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if s.stmts == nil {
		s.stmts = map[string]*sql.Stmt{}
	}
	s.stmts[query] = stmt
	return stmt, nil
}

// exec executes a statement, and tells how many rows it changed.
func (s *session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	stmt, err := s.statement(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, s.arguments(args)...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// rows calls each with every row of a query, until it says that it has enough.
func (s *session) rows(ctx context.Context, query string, args []any, each func(*sql.Rows) (more bool, err error)) error {
	stmt, err := s.statement(ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, s.arguments(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := each(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// get reads the first row of a query into dest, and reports whether there is one.
func (s *session) get(ctx context.Context, query string, args, dest []any) (found bool, err error) {
	err = s.rows(ctx, query, args, func(rows *sql.Rows) (bool, error) {
		found = true
		return false, rows.Scan(destinations(dest)...)
	})
	return found && err == nil, err
}

// gone reports whether an error says that nothing more can be done with the session.
func (s *session) gone(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || s.broken(err) {
		return true
	}
	dead := false
	if err := s.conn.Raw(func(conn any) error { dead = s.dead(conn); return nil }); err != nil {
		return true
	}
	return dead
}

// discard ends the connection, whatever state it is in.
func (s *session) discard() {
	for _, stmt := range s.stmts {
		stmt.Close()
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn }) // which is how the pool is told
	s.conn.Close()
}

// rollback ends a transaction, and reports whether the session can be used for the next one.
func (s *session) rollback(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := s.conn.ExecContext(ctx, "ROLLBACK")
	return err == nil
}

// view calls do within a transaction that reads, on a connection of db.
func (g *generation) view(ctx context.Context, db *sql.DB, do func(*session) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return unavailable(err)
	}
	s := &session{dialect: g.dialect, conn: conn, note: g.note}
	sound := false
	defer func() {
		if sound = s.rollback(ctx) && sound; sound {
			conn.Close()
		} else {
			s.discard()
		}
	}()
	if _, err := conn.ExecContext(ctx, g.read); err != nil {
		return unavailable(err)
	}
	if err = do(s); err != nil && s.gone(ctx, err) {
		return unavailable(err)
	}
	sound = true
	return err
}

// change calls do within a transaction that writes, and commits it.
func (g *generation) change(ctx context.Context, do func(*session) error) error {
	s, err := g.writers.take(ctx)
	if err != nil {
		return unavailable(err)
	}
	s.note = g.note
	done, sound := false, false
	defer func() {
		if !done {
			sound = s.rollback(ctx) && sound
		}
		g.writers.give(s, sound)
	}()
	if _, err := s.conn.ExecContext(ctx, g.begin); err != nil {
		return unavailable(err)
	}
	if err := do(s); err != nil {
		sound = !s.gone(ctx, err)
		return err
	}
	if _, err := s.conn.ExecContext(ctx, "COMMIT"); err != nil {
		if sound = !s.gone(ctx, err); sound {
			return err // a constraint that is looked at in the end
		}
		return unavailable(err)
	}
	done, sound = true, true
	return nil
}

// unavailable says that the database could not do what it was asked for.
func unavailable(err error) error {
	if errors.Is(err, holdfast.ErrUnavailable) {
		return err
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "the database of the projections: %w", err)
}
