package sqlsink_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-run/holdfast/internal/pgtest"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

// A table that was changed under a kept statement is not the event's fault, in whatever language
// the server says so.
func TestChangedTable(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	conn, err := pgx.Connect(ctx, pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	const query = "SELECT * FROM kept"
	_, err = conn.Exec(ctx, "CREATE TABLE kept (n BIGINT)")
	_, err1 := conn.Prepare(ctx, query, query)
	_, err2 := conn.Exec(ctx, query)
	_, err3 := conn.Exec(ctx, "ALTER TABLE kept ADD m TEXT")
	if err := errors.Join(err, err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, query)
	told, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		t.Fatalf("it returned %v", err)
	}
	told.Message = "gepufferter Plan darf den Ergebnistyp nicht ändern"
	if !sqlsink.PostgresBroken(told) {
		t.Errorf("%+v is taken for the statement's", told)
	}
	told.Routine = "another"
	if sqlsink.PostgresBroken(told) {
		t.Errorf("%+v is taken for the database's", told)
	}
}
