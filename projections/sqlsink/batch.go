package sqlsink

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-run/holdfast/projections"
)

// A batch is a transaction in which events are handled.
type batch struct {
	ctx  context.Context
	ses  *session
	unit projections.Unit
	form projections.Form
	// from is the checkpoint before the batch.
	from projections.Checkpoint
	// reads: nothing may be changed.
	reads bool
	// free: others that write to the generation need not be waited for.
	free bool
	docs map[string]*document
	// failed is the first statement's error, and broken the database's.
	failed, broken error
}

// A document that the batch has read: it is written in the end.
type document struct {
	before, now []byte
}

var (
	errReads = errors.New("a query only reads: use Get")
	errForm  = errors.New("the projection keeps documents: its handlers have no tables")
)

// may says why a statement is not executed.
func (b *batch) may(query string) error {
	if b.broken != nil {
		return b.broken
	}
	if b.failed != nil {
		return fmt.Errorf("an earlier statement failed, so that nothing can be done after it: %w", b.failed)
	}
	if word, ends := control(query); ends {
		b.failed = fmt.Errorf("%s is not for handlers: the batch begins and ends the transaction", word)
		return b.failed
	}
	if b.free {
		return nil
	}
	b.free = true
	if b.ses.lock == "" {
		return nil
	}
	return b.own(b.ses.lock)
}

var controls = []string{"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"}

// control reports whether a statement begins or ends a transaction.
func control(query string) (word string, yes bool) {
	word = strings.TrimLeftFunc(query, unicode.IsSpace)
	if i := strings.IndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }); i >= 0 {
		word = word[:i]
	}
	if len(word) > len("SAVEPOINT") {
		return "", false
	}
	for _, c := range controls {
		if strings.EqualFold(c, word) {
			return c, true
		}
	}
	return "", false
}

// Exec implements [projections.Batch].
func (b *batch) Exec(query string, args []any) (int64, error) {
	switch {
	case b.reads:
		return 0, errReads
	case b.form != projections.FormRows:
		return 0, errForm
	}
	if err := b.may(query); err != nil {
		return 0, err
	}
	n, err := b.ses.exec(b.ctx, query, args...)
	return n, b.note(query, err)
}

// Get implements [projections.Batch].
func (b *batch) Get(query string, args, dest []any) (bool, error) {
	if b.form != projections.FormRows {
		return false, errForm
	}
	if err := b.may(query); err != nil {
		return false, err
	}
	found, err := b.ses.get(b.ctx, query, args, dest)
	return found, b.note(query, err)
}

// Each implements [projections.Batch]. f may ask for nothing else meanwhile: the connection is
// still giving rows.
func (b *batch) Each(query string, args []any, f func() error, dest []any) error {
	if b.form != projections.FormRows {
		return errForm
	}
	if err := b.may(query); err != nil {
		return err
	}
	var stopped error
	into := destinations(dest)
	err := b.ses.rows(b.ctx, query, args, func(rows *sql.Rows) (bool, error) {
		if err := rows.Scan(into...); err != nil {
			return false, err
		}
		stopped = f()
		return stopped == nil, nil
	})
	if err != nil {
		return b.note(query, err)
	}
	return stopped
}

// note keeps what went wrong with a handler's statement.
func (b *batch) note(query string, err error) error {
	if err == nil {
		return nil
	}
	if b.ses.gone(b.ctx, err) {
		b.broken = unavailable(err)
		return b.broken
	}
	b.failed = fmt.Errorf("%s: %w", short(query), err)
	return b.failed
}

// short is the beginning of a statement, in one line.
func short(query string) string {
	query = strings.Join(strings.Fields(query), " ")
	if runes := []rune(query); len(runes) > 120 {
		return string(runes[:120]) + "…"
	}
	return query
}

// own executes a statement of ours. That it fails is never an event's fault.
func (b *batch) own(query string, args ...any) error {
	_, err := b.count(query, args...)
	return err
}

func (b *batch) count(query string, args ...any) (int64, error) {
	if err := cmp.Or(b.broken, b.failed); err != nil {
		return 0, err
	}
	n, err := b.ses.exec(b.ctx, query, args...)
	if err != nil {
		b.broken = unavailable(err)
		return 0, b.broken
	}
	return n, nil
}

// Broken implements [projections.Batch].
func (b *batch) Broken() error { return b.broken }

// Failed says which statement failed, even when a handler went on: the transaction is lost.
func (b *batch) Failed() error { return b.failed }

// Change implements [projections.Batch]. In a transaction a document has each event once.
func (b *batch) Change(key string, _ projections.Place, f func([]byte) ([]byte, error)) error {
	if b.reads {
		return errReads
	}
	if err := b.may(""); err != nil {
		return err
	}
	d, err := b.document(key)
	if err != nil {
		return err
	}
	body, err := f(d.now)
	if err == nil {
		d.now = body
	}
	return err
}

func (b *batch) document(key string) (*document, error) {
	if d := b.docs[key]; d != nil {
		return d, nil
	}
	body, err := readDocument(b.ctx, b.ses, key)
	if err != nil {
		b.broken = unavailable(err)
		return nil, b.broken
	}
	if b.docs == nil {
		b.docs = map[string]*document{}
	}
	b.docs[key] = &document{before: body, now: body}
	return b.docs[key], nil
}

func readDocument(ctx context.Context, s *session, key string) (body []byte, err error) {
	found, err := s.get(ctx, `SELECT body FROM holdfast_documents WHERE key = $1`, []any{toText(key)}, []any{&body})
	if !found || err != nil {
		return nil, err
	}
	return blob(body), nil
}

// finish writes what was left for the end.
func (b *batch) finish() error {
	if err := cmp.Or(b.broken, b.failed); err != nil {
		return err
	}
	var keys, gone []string
	var bodies [][]byte
	for _, key := range slices.Sorted(maps.Keys(b.docs)) {
		switch d := b.docs[key]; {
		case d.now == nil && d.before != nil:
			gone = append(gone, toText(key))
		case d.now != nil && (d.before == nil || !bytes.Equal(d.before, d.now)):
			keys, bodies = append(keys, toText(key)), append(bodies, d.now)
		}
	}
	if err := b.ses.flush(b.ctx, b.ses, keys, bodies, gone); err != nil {
		b.broken = unavailable(err)
	}
	return b.broken
}
