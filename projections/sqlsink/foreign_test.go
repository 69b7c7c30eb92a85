package sqlsink_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		c    sqlsink.Config
		want string
	}{
		{sqlsink.Config{Log: log, Folder: folder}, `Context: context "": want a small letter`},
		{sqlsink.Config{Context: "shop", Folder: folder}, "Log: name the log"},
		{sqlsink.Config{Context: "shop", Log: log}, "Folder: name a folder"},
		{sqlsink.Config{Context: "shop", Log: log, Folder: folder, URL: "postgres://x"}, "URL: there is a Folder, too"},
		{sqlsink.Config{Context: "shop", Log: log, Folder: filepath.Join(file, "x")}, "Folder: mkdir"},
		{sqlsink.Config{Context: "shop", Log: log, URL: "postgres://me:secret@host:port/x"}, "URL: want one like postgres://user:password@host:5432/database"},
	} {
		if _, err := sqlsink.Open(tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.c, err, tt.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("it tells the password: %v", err)
		}
	}
}

// raw opens the database of a generation beside the sink.
func raw(t *testing.T, c sqlsink.Config, projection string, n int) *sql.DB {
	t.Helper()
	driver, name := "pgx", c.URL
	if projection != "" {
		name += fmt.Sprintf("&search_path=%s_%s_%d", c.Context, projection, n)
	}
	if c.Folder != "" {
		driver, name = "sqlite", filepath.Join(c.Folder, fmt.Sprintf("%s.%d.db", projection, n))
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		for i, tt := range []struct {
			name, value string
			want        string
		}{
			{"context", "bank", "belongs to the context bank, and this is shop: give each context a place of its own"},
			{"log", "20200101T000000.000000000Z", "was made from the log 20200101T000000.000000000Z, and this is the log " + log + ": move it away"},
			{"format", "2", "was made by a newer build (format 2, and this one knows 1): use that build"},
			{"format", "", "has no format: it is not whole"},
			{"generation", "7", "is generation 7 of the projection p4, and not generation 1 of p4: give it back its name"},
		} {
			p := rows(fmt.Sprintf("p%d", i), counts)
			u := prepare(t, s, p, 1)
			if err := commit(t, s, u, func(b projections.Batch) error {
				_, err := b.Exec(`INSERT INTO counts VALUES ($1, $2)`, []any{"a", 1})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			db := raw(t, c, p.Name(), 1)
			execute(t, db, fmt.Sprintf(`UPDATE holdfast_meta SET value = '%s' WHERE name = '%s'`, tt.value, tt.name))
			other := open(t, c) // which has not seen it yet
			_, err := other.Checkpoint(within(t), u)
			wantForeign(t, err, tt.want)
			wantForeign(t, other.Prepare(within(t), p, 1), tt.want)
			wantForeign(t, other.Drop(within(t), p.Name(), 1), tt.want)
			wantForeign(t, other.Serve(within(t), p, 1), tt.want)
			var n int
			if err := db.QueryRow(`SELECT n FROM counts`).Scan(&n); err != nil || n != 1 {
				t.Errorf("%s: it was touched: %d, %v", tt.name, n, err)
			}
		}
	})
}

func wantForeign(t *testing.T, err error, sentence string) {
	t.Helper()
	if !errors.Is(err, projections.ErrForeign) || !strings.Contains(err.Error(), sentence) {
		t.Errorf("it returned %v, want ErrForeign with: %s", err, sentence)
	}
}

// TestForeignFile: a file that is no projection's stays as it is, byte for byte.
func TestForeignFile(t *testing.T) {
	t.Parallel()
	c := kinds[0].at(t)
	s, p := open(t, c), rows("orders", counts)
	path := filepath.Join(c.Folder, "orders.1.db")
	other := raw(t, c, "other", 1)
	execute(t, other, `CREATE TABLE accounts (n INT)`)
	other.Close()
	database, err := os.ReadFile(filepath.Join(c.Folder, "other.1.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		body []byte
		want string
	}{
		{[]byte(strings.Repeat("a diary ", 1000)), "orders.1.db is no database of SQLite: move it away"},
		{database, "orders.1.db was not made by a projection (it has accounts, and no holdfast_meta): move it away"},
	} {
		if err := os.WriteFile(path, tt.body, 0o600); err != nil {
			t.Fatal(err)
		}
		wantForeign(t, s.Prepare(within(t), p, 1), tt.want)
		wantForeign(t, s.Drop(within(t), "orders", 1), tt.want)
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, tt.body) {
			t.Errorf("the file was touched: %v", err)
		}
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	wantForeign(t, s.Prepare(within(t), p, 1), "orders.1.db is no file: move it away")
	prepare(t, s, p, 2)
	if err := os.WriteFile(filepath.Join(c.Folder, "orders.db"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantForeign(t, s.Serve(within(t), p, 2), "orders.db is no link: move it away, so that it can lead to orders.2.db")
}

// TestForeignSchema: nor is a schema touched that is somebody's.
func TestForeignSchema(t *testing.T) {
	t.Parallel()
	c := kinds[1].at(t)
	s, p := open(t, c), rows("orders", counts)
	db := raw(t, c, "orders", 1)
	execute(t, db, `CREATE SCHEMA shop_orders_1`, `CREATE TABLE accounts (n INT)`)
	want := "the schema shop_orders_1 was not made for generation 1 of the projection orders (it has no holdfast_meta): rename the schema, or the projection"
	wantForeign(t, s.Prepare(within(t), p, 1), want)
	wantForeign(t, s.Drop(within(t), "orders", 1), want)
	execute(t, db, `SELECT n FROM accounts`)

	prepare(t, s, p, 2)
	confusing := rows("orders_2", counts)
	prepare(t, s, confusing, 1)
	wantForeign(t, s.Serve(within(t), confusing, 1), "the schema shop_orders_2 was not made for this projection and log")
	if err := s.Serve(within(t), p, 2); err != nil {
		t.Fatal(err)
	}
	c.Log = messages.LogName("20270101T000000.000000000Z")
	anew := open(t, c)
	prepare(t, anew, p, 3)
	wantForeign(t, anew.Serve(within(t), p, 3), "the schema shop_orders was not made for this projection and log")
}

func TestLongNames(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		c.Context = messages.Context("a-" + strings.Repeat("c", 30))
		s := open(t, c)
		for _, end := range []string{"x", "y"} {
			p := rows(strings.Repeat("p", 39)+end, counts)
			prepare(t, s, p, 18446744073709551615)
			if err := s.Serve(within(t), p, 18446744073709551615); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPrepareAtOnce: nodes that begin together find what one of them has made.
func TestPrepareAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		p := rows("orders", counts, projections.Tables(`INSERT INTO counts VALUES ('made', 1)`))
		for n := range uint64(5) {
			var all sync.WaitGroup
			for i := range 6 {
				s := open(t, c)
				all.Go(func() {
					ctx := within(t)
					err := s.Prepare(ctx, p, n+1)
					for errors.Is(err, holdfast.ErrUnavailable) && ctx.Err() == nil { // in its turn, on a machine that is busy
						err = s.Prepare(ctx, p, n+1)
					}
					if err != nil {
						t.Errorf("prepare: %v", err)
						return
					}
					u := projections.Unit{Projection: "orders", Generation: n + 1, Partition: uint32(i)}
					if err := again(t, s, u, 1, func(projections.Batch) error { return nil }); err != nil {
						t.Errorf("commit: %v", err)
					}
				})
			}
			all.Wait()
		}
	})
}

// TestPrepareBusy: while somebody else has just made the file, one waits, though SQLite does not.
func TestPrepareBusy(t *testing.T) {
	t.Parallel()
	c := kinds[0].at(t)
	s, p := open(t, c), rows("orders", counts)
	other := raw(t, c, "orders", 1)
	other.SetMaxOpenConns(1)
	execute(t, other, `BEGIN`, `SELECT * FROM sqlite_schema`)
	prepared := make(chan error, 1)
	go func() { prepared <- s.Prepare(within(t), p, 1) }()
	select {
	case err := <-prepared:
		t.Fatalf("it does not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	execute(t, other, `COMMIT`)
	if err := <-prepared; err != nil {
		t.Error(err)
	}
}

// TestBadTables: a statement that is wrong says which, and leaves nothing behind.
func TestBadTables(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		err := s.Prepare(within(t), rows("orders", counts, projections.Tables(`CREATE TABLE nonsense (`)), 1)
		if err == nil || errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "statement 2 of its Tables, CREATE TABLE nonsense (: ") {
			t.Errorf("prepare: %v", err)
		}
		u := prepare(t, s, rows("orders", counts), 1)
		if at, err := s.Checkpoint(within(t), u); err != nil || at.Done != 0 {
			t.Errorf("after the mend: %v, %v", at, err)
		}
	})
}
