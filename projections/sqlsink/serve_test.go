package sqlsink_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/pgtest"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

// served opens what other programs read.
func served(t *testing.T, c sqlsink.Config) *sql.DB {
	t.Helper()
	if c.Folder == "" {
		return raw(t, sqlsink.Config{URL: c.URL + "&search_path=shop_orders"}, "", 0)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(c.Folder, "orders.db")+"?mode=ro&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // each query opens it anew
	t.Cleanup(func() { db.Close() })
	return db
}

// TestServe: whoever reads while another generation takes over sees one or the other, whole.
func TestServe(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		one := rows("orders", projections.Tables(`CREATE TABLE a (n BIGINT)`, `CREATE TABLE b (n BIGINT)`, `INSERT INTO a VALUES (1)`, `INSERT INTO b VALUES (1)`,
			`CREATE VIEW pair AS SELECT a.n FROM a JOIN b ON a.n = b.n`))
		two := rows("orders", projections.Tables(`CREATE TABLE a (more TEXT, n BIGINT)`, `CREATE TABLE b (n BIGINT)`, `INSERT INTO a VALUES ('', 2)`, `INSERT INTO b VALUES (2)`,
			`CREATE VIEW pair AS SELECT a.n FROM a JOIN b ON a.n = b.n`, `CREATE TABLE c (n BIGINT)`))
		prepare(t, s, one, 1)
		prepare(t, s, two, 2)
		if err := s.Serve(within(t), one, 3); !errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("one that is not there is served: %v", err)
		}
		if err := s.Serve(within(t), one, 1); err != nil {
			t.Fatal(err)
		}
		db := served(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		seen, ended := make(chan int, 1000), make(chan error, 1)
		go func() {
			for ctx.Err() == nil {
				var n int
				if err := db.QueryRow(`SELECT pair.n FROM pair JOIN a ON a.n = pair.n`).Scan(&n); err != nil {
					ended <- err
					return
				}
				select {
				case seen <- n:
				default:
				}
			}
			ended <- nil
		}()
		for i := range 10 {
			p := []*projections.Projection{two, one}[i%2]
			for range 5 {
				select {
				case <-seen:
				case err := <-ended:
					t.Fatalf("a reader was told %v", err)
				}
			}
			if err := s.Serve(within(t), p, uint64(2-i%2)); err != nil {
				t.Fatal(err)
			}
			var n int
			if err := db.QueryRow(`SELECT n FROM pair`).Scan(&n); err != nil || n != 2-i%2 {
				t.Fatalf("after the switch to %d it is %d, %v", 2-i%2, n, err)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("a reader was told %v", err)
		}
		if err := s.Drop(within(t), "orders", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`SELECT n FROM pair`); err == nil {
			t.Error("what was dropped is served")
		}
		if err := errors.Join(s.Drop(within(t), "orders", 1), s.Serve(within(t), two, 2)); err != nil {
			t.Error(err)
		}
		var n int
		if err := db.QueryRow(`SELECT n FROM pair`).Scan(&n); err != nil || n != 2 {
			t.Errorf("after the drop of the other it is %d, %v", n, err)
		}
	})
}

// TestServeDocuments: documents are read in their table.
func TestServeDocuments(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s, p := open(t, c), documents("orders")
		u := prepare(t, s, p, 1)
		if err := commit(t, s, u, func(b projections.Batch) error {
			return b.Change("a-1", projections.Place{}, func([]byte) ([]byte, error) { return []byte(`{"total":7}`), nil })
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(within(t), p, 1); err != nil {
			t.Fatal(err)
		}
		var total int
		err := served(t, c).QueryRow(`SELECT body ->> 'total' FROM holdfast_documents WHERE key = 'a-1'`).Scan(&total)
		if err != nil || total != 7 {
			t.Errorf("the total is %d, %v", total, err)
		}
	})
}

// TestServeWithoutLinks: a file names the one that serves.
func TestServeWithoutLinks(t *testing.T) {
	t.Parallel()
	c := kinds[0].at(t)
	s, p := open(t, c), documents("orders")
	s.Symlink(func(string, string) error { return errors.ErrUnsupported })
	prepare(t, s, p, 12)
	for range 2 {
		if err := s.Serve(within(t), p, 12); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(c.Folder, "orders.db.serving"))
		if err != nil || string(text) != "orders.12.db\n" {
			t.Errorf("it names %q, %v", text, err)
		}
	}
}

// TestServeReplaces: the link is there at any time.
func TestServeReplaces(t *testing.T) {
	t.Parallel()
	c := kinds[0].at(t)
	s, p := open(t, c), documents("orders")
	there := func() error { _, err := os.Stat(filepath.Join(c.Folder, "orders.db")); return err }
	for n := range uint64(2) {
		prepare(t, s, p, n+1)
		if err := s.Serve(within(t), p, n+1); err != nil {
			t.Fatal(err)
		}
		s.Symlink(func(to, name string) error { return errors.Join(there(), os.Symlink(to, name), there()) })
	}
}

// TestAway: what is asked of a database that is gone is answered with ErrUnavailable, and goes
// on when it is there again.
func TestAway(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	c := sqlsink.Config{Context: "shop", Log: log, URL: server.Database(t)}
	s := open(t, c)
	u := prepare(t, s, rows("orders", counts), 1)
	err := commit(t, s, u, func(b projections.Batch) error {
		if err := add(b, "a", 1); err != nil {
			return err
		}
		server.Stop()
		err := add(b, "b", 1)
		if err == nil || !errors.Is(b.Broken(), holdfast.ErrUnavailable) {
			t.Errorf("without a database: %v, broken: %v", err, b.Broken())
		}
		return err
	})
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	unavailable(t, s, u)
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, s, u, func(b projections.Batch) error { return add(b, "c", 1) }); err != nil {
		t.Errorf("it is there again: %v", err)
	}
	if got := strings.Join(dump(t, s, u), " "); got != `counts/c: {"id":"c","n":1}` {
		t.Errorf("there are %s", got)
	}
}

// unavailable asks for everything.
func unavailable(t *testing.T, s *sqlsink.Sink, u projections.Unit) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	nothing := func(projections.Batch) error { return nil }
	_, checkpoint := s.Checkpoint(ctx, u)
	_, keys := s.ParkedKeys(ctx, u.Projection, u.Generation, 1)
	_, parked := s.Parked(ctx, u, "a", 1)
	_, outbox := s.Outbox(ctx, u, 1)
	_, document := s.Document(ctx, u.Projection, u.Generation, "a")
	for name, err := range map[string]error{
		"checkpoint": checkpoint, "parked keys": keys, "parked": parked, "outbox": outbox, "document": document,
		"commit":  s.Commit(ctx, u, projections.Checkpoint{}, projections.Checkpoint{Done: 1}, nothing),
		"carried": s.Carried(ctx, u, "a"),
		"query":   s.Query(ctx, u.Projection, u.Generation, nothing),
		"dump":    s.Dump(ctx, u.Projection, u.Generation, func(string, string, []byte) error { return nil }),
	} {
		if !errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFileAway: nothing is written into a file that nobody will find, and one that comes back
// is worked on again.
func TestFileAway(t *testing.T) {
	t.Parallel()
	c := kinds[0].at(t)
	s, p := open(t, c), rows("orders", counts)
	u := prepare(t, s, p, 1)
	write := func(b projections.Batch) error { return add(b, "a", 1) }
	if err := commit(t, s, u, write); err != nil {
		t.Fatal(err)
	}
	away := c.Folder + ".away"
	if err := os.Rename(c.Folder, away); err != nil {
		t.Fatal(err)
	}
	unavailable(t, s, u)
	if err := os.Rename(away, c.Folder); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, s, u, write); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(c.Folder, "orders.1.db"+end)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	unavailable(t, s, u)
	prepare(t, s, p, 1)
	if err := commit(t, s, u, write); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(dump(t, s, u), " "); got != `counts/a: {"id":"a","n":1}` {
		t.Errorf("there are %s", got)
	}
}

// TestFull: a disk without room breaks the batch, and refuses no event.
func TestFull(t *testing.T) {
	t.Parallel()
	s := open(t, kinds[0].at(t))
	u := prepare(t, s, rows("orders", counts), 1)
	err := commit(t, s, u, func(b projections.Batch) error {
		if _, err := b.Get(`PRAGMA max_page_count = 1`, nil, []any{new(int)}); err != nil {
			t.Error(err)
		}
		err := add(b, strings.Repeat("large", 100_000), 1)
		if err == nil || b.Broken() == nil {
			t.Errorf("without room: %v, broken: %v", err, b.Broken())
		}
		return err
	})
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	if err := commit(t, s, u, func(b projections.Batch) error { return add(b, strings.Repeat("large", 100_000), 1) }); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, rows("orders", counts), 1)
		for range 2 {
			s.Close()
		}
		unavailable(t, s, u)
	})
}
