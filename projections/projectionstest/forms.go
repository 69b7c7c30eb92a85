package projectionstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/projections"
)

func wantDocument(t testing.TB, s projections.Sink, u projections.Unit, key, want string) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	got, err := s.Document(ctx, u.Projection, u.Generation, key)
	if err != nil || string(got) != want || (want == "") != (got == nil) {
		t.Fatalf("the document %.50q is %.200q, %v; want %.200q", key, got, err, want)
	}
}

// put makes a document what it is to be, and finds that it has been what it was.
func put(t *testing.T, b projections.Batch, key string, at uint64, was, is string) error {
	return b.Change(key, place(at), func(old []byte) ([]byte, error) {
		if string(old) != was || (was == "") != (old == nil) {
			t.Errorf("at %d the document %.50q is %.200q, want %.200q", at, key, old, was)
		}
		if is == "" {
			return nil, nil
		}
		return []byte(is), nil
	})
}

func testDocuments(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 3, func(b projections.Batch) error {
		return errors.Join(put(t, b, "a", 1, "", `{"n":1}`), put(t, b, "a", 2, `{"n":1}`, `{"n":2}`), put(t, b, "b", 3, "", `"text"`))
	})
	wantDocument(t, s.sink, u, "a", `{"n":2}`)
	wantDocument(t, s.sink, u, "b", `"text"`)
	wantDocument(t, s.sink, u, "c", "")
	commit(t, s.sink, u, 4, func(b projections.Batch) error { return put(t, b, "a", 4, `{"n":2}`, `{"n":3}`) })
	wantDocument(t, s.sink, u, "a", `{"n":3}`)
	for _, o := range s.others {
		prepare(t, o, s.p, 1)
		wantDocument(t, o, u, "a", `{"n":3}`)
	}
}

func testRemoved(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 3, func(b projections.Batch) error {
		return errors.Join(put(t, b, "a", 1, "", `{"n":1}`), put(t, b, "b", 2, "", `{"n":1}`), put(t, b, "none", 3, "", ""))
	})
	commit(t, s.sink, u, 5, func(b projections.Batch) error {
		return errors.Join(
			put(t, b, "a", 4, `{"n":1}`, ""), put(t, b, "a", 4, "", ""),
			put(t, b, "b", 4, `{"n":1}`, ""), put(t, b, "b", 5, "", `{"n":7}`),
		)
	})
	wantDocument(t, s.sink, u, "a", "")
	wantDocument(t, s.sink, u, "none", "")
	wantCounts(t, s.sink, u, map[string]int64{"b": 7})
	commit(t, s.sink, u, 6, func(b projections.Batch) error { return put(t, b, "a", 6, "", `{"n":3}`) })
	wantDocument(t, s.sink, u, "a", `{"n":3}`)
	wantCounts(t, s.sink, u, map[string]int64{"a": 3, "b": 7})
}

func testOddKeys(t *testing.T, s *stage) {
	u := s.unit()
	var keys []string
	for c := range 256 {
		keys = append(keys, string([]byte{byte(c)}), string([]byte{'k', byte(c), 'k'}))
	}
	keys = append(keys, "a.b", "a..b", "*", ">", "=2E", "A", "$KV", "é", "../x", "a/b", "checkpoint.0.0",
		strings.Repeat("x", projections.MaxKey), strings.Repeat("\xff", projections.MaxKey), strings.Repeat("=", projections.MaxKey-1))
	want := map[string]int64{}
	commit(t, s.sink, u, uint64(len(keys)), func(b projections.Batch) error {
		for i, key := range keys {
			want[key] = int64(i + 1)
			if err := s.add(b, key, place(uint64(i+1)), 0); err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
			if err := s.set(b, key, uint64(i+1), int64(i+1)); err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
		}
		return nil
	})
	wantCounts(t, s.sink, u, want)
	for key, n := range want {
		wantDocument(t, s.sink, u, key, fmt.Sprintf(`{"n":%d}`, n))
	}
}

func (s *stage) set(b projections.Batch, key string, at uint64, n int64) error {
	return b.Change(key, place(at), func([]byte) ([]byte, error) { return json.Marshal(tally{n}) })
}

func testLarge(t *testing.T, s *stage) {
	u := s.unit()
	for n := uint64(1); n <= 2; n++ {
		text, err := json.Marshal(strings.Repeat("large ", int(60_000*n)))
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s.sink, u, n, func(b projections.Batch) error {
			for i := range 12 {
				err := b.Change(fmt.Sprintf("k-%d", i), place(n), func([]byte) ([]byte, error) { return bytes.Clone(text), nil })
				if err != nil {
					return err
				}
			}
			return nil
		})
		for i := range 12 {
			wantDocument(t, s.sink, u, fmt.Sprintf("k-%d", i), string(text))
		}
	}
}

// testRefuses: what makes a document may say no, which is its error and not the sink's.
func testRefuses(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 1, func(b projections.Batch) error { return s.add(b, "a", place(1), 1) })
	refused := errors.New("refused")
	err := attempt(t, s.sink, u, at(1), at(2), func(b projections.Batch) error {
		if err := s.add(b, "b", place(2), 1); err != nil {
			return err
		}
		err := b.Change("a", place(2), func([]byte) ([]byte, error) { return nil, refused })
		if !errors.Is(err, refused) || b.Broken() != nil {
			t.Errorf("the change returned %v, and the batch is broken: %v", err, b.Broken())
		}
		return err
	})
	if !errors.Is(err, refused) {
		t.Errorf("it returned %v", err)
	}
	wantCheckpoint(t, s.sink, u, at(1))
	wantCounts(t, s.sink, u, map[string]int64{"a": 1})
}

func testNoTables(t *testing.T, s *stage) {
	ctx, cancel := within(t)
	defer cancel()
	u := s.unit()
	commit(t, s.sink, u, 1, func(b projections.Batch) error {
		if _, err := b.Exec("SELECT 1", nil); err == nil || b.Broken() != nil {
			t.Errorf("a projection of documents executes statements: %v, %v", err, b.Broken())
		}
		if _, err := b.Get("SELECT 1", nil, nil); err == nil || b.Broken() != nil {
			t.Errorf("a projection of documents queries: %v, %v", err, b.Broken())
		}
		return nil
	})
	err := s.sink.Query(ctx, u.Projection, 1, func(b projections.Batch) error {
		_, err := b.Exec("SELECT 1", nil)
		return err
	})
	if err == nil {
		t.Error("a projection of documents answers queries")
	}
}

func testTables(t *testing.T, s *stage) {
	u := s.unit()
	odd := `it's "$1" -- /* $2 */ ? é`
	commit(t, s.sink, u, 1, func(b projections.Batch) error {
		n, err := b.Exec(`INSERT INTO counts (id, n) VALUES ($1, $2), ($3, $2)`, []any{odd, 5, "b"})
		if err != nil || n != 2 {
			t.Errorf("inserted %d rows, %v", n, err)
		}
		var got int64
		found, err := b.Get(`SELECT n FROM counts WHERE id = $1 AND n = $2`, []any{odd, 5}, []any{&got})
		if err != nil || !found || got != 5 {
			t.Errorf("found %v: %d, %v", found, got, err)
		}
		found, err = b.Get(`SELECT n FROM counts WHERE id = $1`, []any{"none"}, []any{&got})
		if err != nil || found || got != 5 {
			t.Errorf("found %v: %d, %v", found, got, err)
		}
		n, err = b.Exec(`DELETE FROM counts WHERE id = $1`, []any{"b"})
		if err != nil || n != 1 {
			t.Errorf("deleted %d rows, %v", n, err)
		}
		n, err = b.Exec(`UPDATE counts SET n = n + $1 WHERE id = '$1'`, []any{1})
		if err != nil || n != 0 {
			t.Errorf("updated %d rows, %v", n, err)
		}
		return nil
	})
	wantCounts(t, s.sink, u, map[string]int64{odd: 5})
}

// testBadStatement: a statement that is wrong refuses the event, and breaks nothing.
func testBadStatement(t *testing.T, s *stage) {
	u := s.unit()
	commit(t, s.sink, u, 1, func(b projections.Batch) error { return s.add(b, "a", place(1), 1) })
	for _, statement := range []string{"NONSENSE", "INSERT INTO nowhere (id) VALUES ('a')", "INSERT INTO counts (id, n) VALUES ('a', 1)"} {
		var said error
		err := attempt(t, s.sink, u, at(1), at(2), func(b projections.Batch) error {
			if err := s.add(b, "a", place(2), 1); err != nil {
				return err
			}
			_, said = b.Exec(statement, nil)
			if said == nil || b.Broken() != nil {
				t.Errorf("%s: it returned %v, and the batch is broken: %v", statement, said, b.Broken())
			}
			return said
		})
		if !errors.Is(err, said) {
			t.Errorf("%s: it returned %v", statement, err)
		}
		wantCheckpoint(t, s.sink, u, at(1))
		wantCounts(t, s.sink, u, map[string]int64{"a": 1})
	}
	commit(t, s.sink, u, 2, func(b projections.Batch) error { return s.add(b, "a", place(2), 1) })
	wantCounts(t, s.sink, u, map[string]int64{"a": 2})
}

// testQuery: queries read, and change nothing.
func testQuery(t *testing.T, s *stage) {
	ctx, cancel := within(t)
	defer cancel()
	u := s.unit()
	commit(t, s.sink, u, 1, func(b projections.Batch) error { return s.add(b, "a", place(1), 3) })
	err := s.sink.Query(ctx, u.Projection, 1, func(b projections.Batch) error {
		var n int64
		found, err := b.Get(`SELECT n FROM counts WHERE id = $1`, []any{"a"}, []any{&n})
		if err == nil && (!found || n != 3) {
			err = fmt.Errorf("found %v: %d", found, n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	said := errors.New("said")
	if err := s.sink.Query(ctx, u.Projection, 1, func(projections.Batch) error { return said }); !errors.Is(err, said) {
		t.Errorf("it returned %v", err)
	}
	for _, change := range []func(projections.Batch) error{
		func(b projections.Batch) error { return s.add(b, "a", place(2), 1) },
		func(b projections.Batch) error { return b.Park(parked("k", 1)) },
		func(b projections.Batch) error { return b.Later(effected("e")) },
	} {
		if err := s.sink.Query(ctx, u.Projection, 1, change); err == nil {
			t.Error("a query changes something")
		}
	}
	wantCounts(t, s.sink, u, map[string]int64{"a": 3})
	wantKeys(t, s.sink, u, 1)
	wantOutbox(t, s.sink, u)
}
