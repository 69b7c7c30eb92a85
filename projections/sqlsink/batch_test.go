package sqlsink_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

func position(n uint64) holdfast.Position { return holdfast.NewPosition(0, n) }

func add(b projections.Batch, id string, n int) error {
	_, err := b.Exec(`INSERT INTO counts (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = counts.n + excluded.n`, []any{id, n})
	return err
}

// TestHidden: an event whose handler hides that a statement has failed is refused, and none of
// the batch has happened.
func TestHidden(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		hides := projections.Define("hides", counts, projections.Every(func(r *projections.Rows, at projections.Event) error {
			_, _ = r.Exec(`INSERT INTO counts (id, n) VALUES ($1, 1)`, at.ID)
			return nil
		}))
		u := prepare(t, s, hides, 1)
		var said error
		err := commit(t, s, u, func(b projections.Batch) error {
			for _, id := range []string{"a", "b", "a"} {
				if said = hides.Handle(b, projections.Item{Event: projections.Event{ID: id}}); said != nil {
					break
				}
			}
			if b.Broken() != nil {
				t.Errorf("the batch is broken: %v", b.Broken())
			}
			if err := add(b, "c", 1); err == nil || !strings.Contains(err.Error(), "an earlier statement failed") {
				t.Errorf("after it: %v", err)
			}
			if err := b.Later(projections.Effected{ID: "x", Name: "x"}); err == nil || b.Broken() != nil {
				t.Errorf("after it: %v, %v", err, b.Broken())
			}
			return nil
		})
		if said == nil || !strings.HasPrefix(said.Error(), "INSERT INTO counts (id, n) VALUES ($1, 1): ") {
			t.Errorf("the handler's event is refused with %v", said)
		}
		if !errors.Is(err, said) || errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("commit: %v, want %v", err, said)
		}
		if all := dump(t, s, u); len(all) != 0 {
			t.Errorf("there are %v", all)
		}
		if at, err := s.Checkpoint(within(t), u); err != nil || at.Done != 0 {
			t.Errorf("the checkpoint is %v, %v", at, err)
		}
	})
}

// TestRefused: what is wrong with a statement refuses the event; it is not the database's fault.
func TestRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, rows("orders", projections.Tables(`CREATE TABLE counts (id TEXT PRIMARY KEY, n BIGINT NOT NULL CHECK (n > 0))`)), 1)
		var n int64
		for name, do := range map[string]func(b projections.Batch) error{
			"check": func(b projections.Batch) error { return add(b, "a", -1) },
			"null": func(b projections.Batch) error {
				_, err := b.Exec(`INSERT INTO counts VALUES ('a', $1)`, []any{nil})
				return err
			},
			"table":    func(b projections.Batch) error { _, err := b.Exec(`DELETE FROM nowhere`, nil); return err },
			"argument": func(b projections.Batch) error { _, err := b.Exec(`DELETE FROM counts WHERE id = $1`, nil); return err },
			"chan": func(b projections.Batch) error {
				_, err := b.Exec(`DELETE FROM counts WHERE id = $1`, []any{make(chan int)})
				return err
			},
			"few dests": func(b projections.Batch) error { _, err := b.Get(`SELECT 1, 2`, nil, []any{&n}); return err },
			"dest":      func(b projections.Batch) error { _, err := b.Get(`SELECT 'x'`, nil, []any{&n}); return err },
			"commit":    func(b projections.Batch) error { _, err := b.Exec(" \n commit", nil); return err },
			"rollback":  func(b projections.Batch) error { _, err := b.Exec("ROLLBACK;", nil); return err },
			"savepoint": func(b projections.Batch) error { _, err := b.Get("SAVEPOINT x", nil, nil); return err },
		} {
			var said error
			err := commit(t, s, u, func(b projections.Batch) error {
				if err := add(b, "before", 1); err != nil {
					t.Error(err)
				}
				if said = do(b); said == nil || b.Broken() != nil {
					t.Errorf("%s: %v, and the batch is broken: %v", name, said, b.Broken())
				}
				return said
			})
			if !errors.Is(err, said) || errors.Is(err, holdfast.ErrUnavailable) {
				t.Errorf("%s: commit returned %v, want %v", name, err, said)
			}
		}
		if all := dump(t, s, u); len(all) != 0 {
			t.Errorf("there are %v", all)
		}
	})
}

// TestPanic: a batch that panics leaves nothing behind, and nothing locked.
func TestPanic(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, rows("orders", counts), 1)
		func() {
			defer func() { _ = recover() }()
			_ = commit(t, s, u, func(b projections.Batch) error {
				if err := add(b, "a", 1); err != nil {
					t.Error(err)
				}
				panic("handler")
			})
		}()
		if err := commit(t, s, u, func(b projections.Batch) error { return add(b, "b", 1) }); err != nil {
			t.Fatal(err)
		}
		if all := dump(t, s, u); len(all) != 1 || !strings.HasPrefix(all[0], "counts/b: ") {
			t.Errorf("there are %v", all)
		}
	})
}

// TestHammer: partitions on different nodes that read and write the same row, or document, lose
// nothing.
func TestHammer(t *testing.T) {
	t.Parallel()
	const nodes, batches, events = 4, 10, 5
	change := map[projections.Form]func(b projections.Batch) error{
		projections.FormRows: func(b projections.Batch) error {
			var n int
			if _, err := b.Get(`SELECT n FROM counts WHERE id = 'a'`, nil, []any{&n}); err != nil {
				return err
			}
			_, err := b.Exec(`INSERT INTO counts (id, n) VALUES ('a', $1) ON CONFLICT (id) DO UPDATE SET n = excluded.n`, []any{n + 1})
			return err
		},
		projections.FormDocuments: func(b projections.Batch) error {
			return b.Change("a", projections.Place{}, func(old []byte) ([]byte, error) {
				var n int
				if old != nil {
					if err := json.Unmarshal(old, &n); err != nil {
						return nil, err
					}
				}
				return json.Marshal(n + 1)
			})
		},
	}
	each(t, func(t *testing.T, c sqlsink.Config) {
		for _, p := range []*projections.Projection{rows("rows", counts), documents("documents")} {
			var all sync.WaitGroup
			for i := range nodes {
				s := open(t, c)
				u := prepare(t, s, p, 1)
				u.Partition = uint32(i)
				all.Go(func() {
					if err := again(t, s, u, batches, func(b projections.Batch) error {
						for range events {
							if err := change[p.Form()](b); err != nil {
								return err
							}
						}
						return nil
					}); err != nil {
						t.Errorf("commit %s: %v", u, err)
					}
				})
			}
			all.Wait()
			got := dump(t, open(t, c), projections.Unit{Projection: p.Name(), Generation: 1})
			want := map[projections.Form]string{
				projections.FormRows:      fmt.Sprintf(`counts/a: {"id":"a","n":%d}`, nodes*batches*events),
				projections.FormDocuments: fmt.Sprintf(`/a: %d`, nodes*batches*events),
			}[p.Form()]
			if len(got) != 1 || got[0] != want {
				t.Errorf("counted %v, want %s", got, want)
			}
		}
	})
}

// TestDeferred: what is looked at in the end refuses the batch then.
func TestDeferred(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		u := prepare(t, s, rows("orders", counts, projections.Tables(
			`CREATE TABLE lines (id TEXT REFERENCES counts (id) DEFERRABLE INITIALLY DEFERRED)`)), 1)
		line := func(b projections.Batch) error { _, err := b.Exec(`INSERT INTO lines VALUES ('a')`, nil); return err }
		if err := commit(t, s, u, line); err == nil || errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("commit: %v", err)
		}
		if err := commit(t, s, u, func(b projections.Batch) error { return errors.Join(line(b), add(b, "a", 1)) }); err != nil {
			t.Error(err)
		}
		if all := dump(t, s, u); len(all) != 2 {
			t.Errorf("there are %v", all)
		}
	})
}

// TestGenerationsApart: a statement means the tables of its generation, whatever it has meant on
// that connection before.
func TestGenerationsApart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c sqlsink.Config) {
		s := open(t, c)
		units := []projections.Unit{
			prepare(t, s, rows("orders", projections.Tables(`CREATE TABLE counts (id TEXT, n BIGINT)`)), 1),
			prepare(t, s, rows("orders", projections.Tables(`CREATE TABLE counts (n TEXT, id TEXT)`)), 2),
		}
		for i := range 6 {
			value := []any{int64(7), "seven"}[i%2]
			var err error
			for range 2 {
				err = errors.Join(err, commit(t, s, units[i%2], func(b projections.Batch) error {
					_, err := b.Exec(`INSERT INTO counts (id, n) VALUES ($1, $2)`, []any{"a", value})
					var text string
					if err == nil {
						_, err = b.Get(`SELECT n FROM counts WHERE id = $1`, []any{"a"}, []any{&text})
					}
					if err == nil && text != fmt.Sprint(value) {
						err = fmt.Errorf("found %s", text)
					}
					return err
				}))
			}
			if err != nil {
				t.Errorf("generation %d: %v", 1+i%2, err)
			}
		}
	})
}
