package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/holdfast-run/holdfast/projections"
)

// files are generations in SQLite.
type files struct {
	config  Config
	folder  string
	symlink func(to, name string) error
}

var sqliteDialect = &dialect{
	broken: sqliteBroken,
	dead:   func(any) bool { return false },
	time:   func(t time.Time) any { return t.Format(timeLayout) },
	flush:  flushEach,
	tables: `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'holdfast\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`,
	key:    `SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk`,
	types:  map[string]string{"text": "TEXT", "bytes": "BLOB", "json": "TEXT", "number": "INTEGER PRIMARY KEY AUTOINCREMENT"},
}

func openSQLite(c Config) (*files, error) {
	folder, err := filepath.Abs(c.Folder)
	if err == nil {
		err = os.MkdirAll(folder, 0o750)
	}
	if err != nil {
		return nil, fmt.Errorf("Folder: %w", err)
	}
	return &files{config: c, folder: folder, symlink: os.Symlink}, nil
}

func (f *files) close() {}

func (f *files) path(at place) string {
	return filepath.Join(f.folder, fmt.Sprintf("%s.%d.db", at.projection, at.generation))
}

// writing has others wait until the transaction ends, and not when it first writes, when it
// would be too late.
const writing = "BEGIN IMMEDIATE"

// The pragmas of a connection that writes: what a power cut takes away is done again, as the
// checkpoint is gone with it.
const (
	writes = "_busy_timeout=5000&_pragma=synchronous(NORMAL)&_pragma=cache_size(-32768)&_pragma=foreign_keys(1)&_pragma=journal_size_limit(67108864)"
	makes  = "_busy_timeout=0&_pragma=foreign_keys(1)" // see patiently
	reads  = "_busy_timeout=5000&_pragma=query_only(1)&_pragma=cache_size(-8192)"
)

// connect gives a database whose file is opened later, with a mode of SQLite: ro, rw, rwc.
func connect(path, mode, pragmas string, most int) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: "mode=" + mode + "&" + pragmas}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

func (f *files) prepare(ctx context.Context, p *projections.Projection, at place) error {
	form, err := f.look(ctx, at)
	if form != "" || err != nil {
		return err
	}
	db, err := connect(f.path(at), "rwc", makes, 1)
	if err != nil {
		return unavailable(err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Close()
	s := &session{dialect: sqliteDialect, conn: conn}
	if err := s.patiently(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	if err := s.patiently(ctx, writing); err != nil {
		return err
	}
	defer s.rollback(ctx) // after the commit there is nothing to roll back
	made, err := s.get(ctx, `SELECT 1 FROM sqlite_schema WHERE name = 'holdfast_meta'`, nil, []any{new(int)})
	if err != nil {
		return unavailable(err)
	}
	if made { // by another node, meanwhile
		_, err := s.check(ctx, f.config, f.path(at), "holdfast_meta", at)
		return err
	}
	if err := s.make(ctx, f.config, p, at); err != nil {
		return err
	}
	return ours(s.patiently(ctx, "COMMIT"))
}

// again is how long one waits for a file that others open at the same time. SQLite waits by
// itself, but not always when it changes the form of the journal, and never as long as ctx.
const again = 20 * time.Millisecond

func (s *session) patiently(ctx context.Context, statement string) error {
	for {
		_, err := s.conn.ExecContext(ctx, statement)
		if err == nil {
			return nil
		}
		if code := sqliteCode(err); code != sqlite3.SQLITE_BUSY && code != sqlite3.SQLITE_LOCKED {
			return unavailable(err)
		}
		wait := time.NewTimer(again)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return unavailable(err)
		}
	}
}

// look tells the form of a generation whose file is there, or finds that it is not ours.
func (f *files) look(ctx context.Context, at place) (projections.Form, error) {
	path := f.path(at)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", unavailable(err)
	case !info.Mode().IsRegular():
		return "", foreign("%s is no file: move it away", path)
	case info.Size() == 0: // somebody has begun
		return "", nil
	}
	db, err := connect(path, "ro", reads, 1)
	if err != nil {
		return "", unavailable(err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if sqliteCode(err) == sqlite3.SQLITE_NOTADB {
		return "", foreign("%s is no database of SQLite: move it away", path)
	}
	if err != nil {
		return "", unavailable(err)
	}
	defer conn.Close()
	s := &session{dialect: sqliteDialect, conn: conn}
	names, err := s.strings(ctx, `SELECT name FROM sqlite_schema ORDER BY name = 'holdfast_meta' DESC, name LIMIT 1`)
	switch {
	case sqliteCode(err) == sqlite3.SQLITE_NOTADB:
		return "", foreign("%s is no database of SQLite: move it away", path)
	case err != nil:
		return "", unavailable(err)
	case len(names) == 0:
		return "", nil
	case names[0] != "holdfast_meta":
		return "", foreign("%s was not made by a projection (it has %s, and no holdfast_meta): move it away", path, names[0])
	}
	return s.check(ctx, f.config, path, "holdfast_meta", at)
}

func (f *files) open(ctx context.Context, at place) (*generation, error) {
	form, err := f.look(ctx, at)
	if err == nil && form == "" {
		err = errAbsent
	}
	if err != nil {
		return nil, err
	}
	path := f.path(at)
	info, err := os.Stat(path)
	if err != nil {
		return nil, unavailable(err)
	}
	w, err := connect(path, "rw", writes, 1)
	if err != nil {
		return nil, unavailable(err)
	}
	r, err1 := connect(path, "rw", reads, 2)
	guests, err2 := connect(path, "rw", reads, 8)
	if err := errors.Join(err1, err2); err != nil {
		w.Close()
		return nil, unavailable(err)
	}
	g := &generation{dialect: sqliteDialect, begin: writing, read: "BEGIN", form: form, readers: r, guests: guests}
	writer := newWriter(w)
	g.writers = writer
	g.present = func() bool {
		now, err := os.Stat(path)
		return err == nil && os.SameFile(info, now)
	}
	g.close = func() {
		writer.close()
		r.Close()
		guests.Close()
	}
	return g, nil
}

func (f *files) drop(ctx context.Context, at place) error {
	form, err := f.look(ctx, at)
	if form == "" || err != nil {
		return err
	}
	path := f.path(at)
	if to, err := os.Readlink(f.link(at.projection)); err == nil && to == filepath.Base(path) {
		if err := os.Remove(f.link(at.projection)); err != nil {
			return unavailable(err)
		}
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unavailable(err)
		}
	}
	return nil
}

func (f *files) link(projection string) string { return filepath.Join(f.folder, projection+".db") }

// serve has the link lead to the generation. Where there are no links, a file beside it names
// the one to open.
func (f *files) serve(_ context.Context, p *projections.Projection, at place) error {
	name, target := f.link(p.Name()), filepath.Base(f.path(at))
	if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return foreign("%s is no link: move it away, so that it can lead to %s", name, target)
	}
	next := fmt.Sprintf("%s.%d.next", name, at.generation)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was interrupted
		return unavailable(err)
	}
	if err := f.symlink(target, next); err != nil {
		name += ".serving"
		if err := os.WriteFile(next, []byte(target+"\n"), 0o640); err != nil {
			return unavailable(err)
		}
	}
	return ours(os.Rename(next, name))
}

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func sqliteBroken(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

func flushEach(ctx context.Context, s *session, keys []string, bodies [][]byte, gone []string) error {
	for i, key := range keys {
		if _, err := s.exec(ctx, `INSERT INTO holdfast_documents (key, body) VALUES ($1, $2)
			ON CONFLICT (key) DO UPDATE SET body = excluded.body`, key, string(bodies[i])); err != nil {
			return err
		}
	}
	for _, key := range gone {
		if _, err := s.exec(ctx, `DELETE FROM holdfast_documents WHERE key = $1`, key); err != nil {
			return err
		}
	}
	return nil
}
