package sqlsink

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
)

// A writer is the one connection that writes to a file, which its users have in turn. It keeps
// its statements.
type writer struct {
	db     *sql.DB
	turn   chan *session // of one; nil when it is to be opened
	closed atomic.Bool
}

func newWriter(db *sql.DB) *writer {
	w := &writer{db: db, turn: make(chan *session, 1)}
	w.turn <- nil
	return w
}

func (w *writer) take(ctx context.Context) (*session, error) {
	var s *session
	select {
	case s = <-w.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("another batch has not ended yet: %w", ctx.Err())
	}
	if s != nil {
		return s, nil
	}
	conn, err := w.db.Conn(ctx)
	if err != nil {
		w.turn <- nil
		return nil, err
	}
	return &session{dialect: sqliteDialect, conn: conn, keep: true}, nil
}

func (w *writer) give(s *session, sound bool) {
	if !sound {
		s.discard()
		s = nil
	}
	w.turn <- s
	if w.closed.Load() {
		w.drain()
	}
}

func (w *writer) close() {
	w.closed.Store(true)
	w.drain()
	w.db.Close()
}

// drain closes the connection unless somebody has it, who drains it then.
func (w *writer) drain() {
	select {
	case s := <-w.turn:
		if s != nil {
			s.discard()
		}
		w.turn <- nil
	default:
	}
}
