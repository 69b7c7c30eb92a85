package pgtest_test

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	one, two := open(t, s.Database(t)), open(t, s.Database(t))
	if _, err := one.Exec("CREATE TABLE kept (n INT)"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Exec("SELECT n FROM kept"); err == nil {
		t.Error("the databases of two tests are one")
	}
	for range 2 {
		s.Stop()
	}
	if err := one.Ping(); err == nil {
		t.Error("it answers after its end")
	}
	for range 2 {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := one.Exec("SELECT n FROM kept"); err != nil {
		t.Errorf("what was there is gone: %v", err)
	}
}

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
