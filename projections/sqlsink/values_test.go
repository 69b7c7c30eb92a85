package sqlsink_test

import (
	"bytes"
	"database/sql"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

var values = projections.Tables(`CREATE TABLE everything (
	id BIGINT PRIMARY KEY, t TEXT, b BYTEA, f DOUBLE PRECISION, yes BOOLEAN, at TIMESTAMPTZ)`)

// TestValues: what goes in comes out, and is shown alike by both databases.
func TestValues(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.FixedZone("", 3600))
	kept := at.UTC().Truncate(time.Microsecond)
	odd := "it's \"$1\" -- /* ? é"
	dumps := map[string][]string{}
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, rows("values", values, projections.Tables(`CREATE TABLE pairs (a TEXT, n BIGINT, PRIMARY KEY (a, n))`, `CREATE TABLE bare (a TEXT)`)), 1)
		err := commit(t, s, u, func(b projections.Batch) error {
			insert := `INSERT INTO everything VALUES ($1, $2, $3, $4, $5, $6)`
			for _, args := range [][]any{
				{int64(math.MaxInt64), odd, []byte{0, 255, '\''}, 0.1, true, at},
				{int64(math.MinInt64), "", []byte{}, math.MaxFloat64, false, &at},
				{0, nil, nil, nil, nil, nil},
				{1, sql.NullString{}, nil, sql.NullFloat64{Float64: -1, Valid: true}, nil, sql.NullTime{Time: at, Valid: true}},
			} {
				given := slices.Clone(args)
				if n, err := b.Exec(insert, args); err != nil || n != 1 {
					t.Errorf("insert %v: %d, %v", args, n, err)
				}
				if args[5] != given[5] {
					t.Errorf("the caller's %v has become %v", given[5], args[5])
				}
			}
			var id int64
			var text string
			var body []byte
			var f float64
			var yes bool
			var when time.Time
			found, err := b.Get(`SELECT id, t, b, f, yes, at FROM everything WHERE at = $2 AND id = $1 AND at >= $2 AND t <> '$1' -- $3`,
				[]any{int64(math.MaxInt64), at}, []any{&id, &text, &body, &f, &yes, &when})
			if err != nil || !found || id != math.MaxInt64 || text != odd || !bytes.Equal(body, []byte{0, 255, '\''}) || f != 0.1 || !yes || when != kept {
				t.Errorf("got %v: %d %q %q %v %v %v, %v", found, id, text, body, f, yes, when, err)
			}
			var none sql.NullTime
			var nothing sql.NullString
			found, err = b.Get(`SELECT at, t FROM everything WHERE id = 0`, nil, []any{&none, &nothing})
			if err != nil || !found || none.Valid || nothing.Valid {
				t.Errorf("got %v: %v, %v, %v", found, none, nothing, err)
			}
			found, err = b.Get(`SELECT at FROM everything WHERE id = 1`, nil, []any{&none})
			if err != nil || !found || !none.Valid || none.Time != kept {
				t.Errorf("got %v: %v, %v", found, none, err)
			}
			for _, statement := range []string{`INSERT INTO pairs VALUES ('a', 1), ('a', 2)`, `INSERT INTO bare VALUES (NULL)`} {
				if _, err := b.Exec(statement, nil); err != nil {
					t.Error(err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		dumps[t.Name()] = dump(t, s, u)
	})
	want := []string{
		`bare/{"a":null}: {"a":null}`,
		`everything/-9223372036854775808: {"id":-9223372036854775808,"t":"","b":"\\x","f":1.7976931348623157e+308,"yes":false,"at":"2026-03-14T08:26:53.589793Z"}`,
		`everything/0: {"id":0,"t":null,"b":null,"f":null,"yes":null,"at":null}`,
		`everything/1: {"id":1,"t":null,"b":null,"f":-1,"yes":null,"at":"2026-03-14T08:26:53.589793Z"}`,
		`everything/9223372036854775807: {"id":9223372036854775807,"t":"it's \"$1\" -- /* ? é","b":"\\x00ff27","f":0.1,"yes":true,"at":"2026-03-14T08:26:53.589793Z"}`,
		`pairs/["a",1]: {"a":"a","n":1}`, `pairs/["a",2]: {"a":"a","n":2}`,
	}
	for _, name := range slices.Sorted(maps.Keys(dumps)) {
		if got := dumps[name]; !slices.Equal(got, want) {
			t.Errorf("%s shows\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// dump gives all of a generation, sorted.
func dump(t testing.TB, s *sqlsink.Sink, u projections.Unit) (all []string) {
	t.Helper()
	err := s.Dump(within(t), u.Projection, u.Generation, func(table, key string, row []byte) error {
		all = append(all, table+"/"+key+": "+string(row))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// TestSkipped: what was skipped is not listed, and its reason can be looked up.
func TestSkipped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, documents("orders"), 1)
		p := projections.Parked{Key: "order/\x00", Reason: "odd \xff", Attempts: 3}
		p.Event.Position = position(1)
		p.Record.Body = []byte("record")
		for _, do := range []func(projections.Batch) error{
			func(b projections.Batch) error { return b.Park(p) },
			func(b projections.Batch) error { return b.Unpark(p, "a duplicate") },
		} {
			if err := commit(t, s, u, do); err != nil {
				t.Fatal(err)
			}
		}
		if keys, err := s.ParkedKeys(within(t), "orders", 1, 10); err != nil || len(keys) != 0 {
			t.Errorf("parked are %v, %v", keys, err)
		}
		var record, skipped string
		err := raw(t, c, "orders", 1).QueryRow(`SELECT record, skipped FROM holdfast_parked`).Scan(&record, &skipped)
		if err != nil || record != "record" || skipped != "a duplicate" {
			t.Errorf("kept are %q, %q, %v", record, skipped, err)
		}
		// After a reset it comes, and is parked, again.
		err = s.Commit(within(t), u, projections.Checkpoint{Done: 2}, projections.Checkpoint{Resets: 1}, func(projections.Batch) error { return nil })
		if err == nil {
			err = commit(t, s, u, func(b projections.Batch) error { return b.Park(p) })
		}
		if parked, err2 := s.Parked(within(t), u, p.Key, 10); err != nil || err2 != nil || len(parked) != 1 || parked[0].Reason != p.Reason {
			t.Errorf("after a reset parked are %v, %v, %v", parked, err, err2)
		}
	})
}
