package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/projections"
)

// tables is a sink of which only the contents matter: generation, table, key.
type tables struct {
	projections.Sink
	rows map[uint64]map[string]map[string]string
	fail error
}

func (s tables) Dump(_ context.Context, _ string, generation uint64, each func(table, key string, row []byte) error) error {
	buffer := make([]byte, 0, 1<<16) // which the sink uses again
	for table, rows := range s.rows[generation] {
		for key, row := range rows {
			buffer = append(buffer[:0], row...)
			if err := each(table, key, buffer); err != nil {
				return err
			}
		}
	}
	return s.fail
}

func TestCompare(t *testing.T) {
	t.Parallel()
	s := tables{rows: map[uint64]map[string]map[string]string{
		1: {"orders": {"a": `{"n": 1}`, "b": `{"n":2}`, "c": `{"n":3}`}, "days": {"a": `1`}, "left": {"x": `0`}},
		2: {"orders": {"a": `{"n":1}`, "b": `{"n":5}`, "d": `{"n":4}`}, "days": {"a": `1`}},
		3: {"orders": {"c": `{"n":3}`, "b": `{"n":2}`, "a": `{"n":1}`}, "days": {"a": `1`}, "left": {"x": `0`}},
	}}
	c, err := Compare(t.Context(), s, "p", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(c)
	want := `{"old":{"generation":1,"positions":null,"rows":{"days":1,"left":1,"orders":3}},"new":{"generation":2,"positions":null,"rows":{"days":1,"orders":3}},` +
		`"same":false,"sampled":6,"of":1,"differ":4,"examples":[{"table":"left","key":"x","old":0,"new":null},` +
		`{"table":"orders","key":"b","old":{"n":2},"new":{"n":5}},{"table":"orders","key":"c","old":{"n":3},"new":null},` +
		`{"table":"orders","key":"d","old":null,"new":{"n":4}}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if c, err := Compare(t.Context(), s, "p", 1, 3); err != nil || !c.Same || c.Differ != 0 || len(c.Examples) != 0 {
		t.Errorf("the same: %+v, %v", c, err)
	}
}

// TestCompareMuch: what does not fit into memory is sampled, evenly, and that it differs is
// known all the same.
func TestCompareMuch(t *testing.T) {
	t.Parallel()
	const n, limit = 20_000, 64 << 10
	s := tables{rows: map[uint64]map[string]map[string]string{1: {"": {}}, 2: {"": {}}, 3: {"": {}}}}
	for i := range n {
		key := fmt.Sprintf("key-%d", i)
		s.rows[1][""][key] = fmt.Sprintf(`{"n":%d}`, i)
		s.rows[2][""][key] = s.rows[1][""][key]
		if s.rows[3][""][key] = s.rows[1][""][key]; i%2 == 0 {
			s.rows[3][""][key] = `{"n":-1}`
		}
	}
	same, err := compare(t.Context(), s, "p", 1, 2, limit)
	if err != nil || !same.Same || same.Differ != 0 || same.Of < 8 {
		t.Errorf("the same: %+v, %v", same, err)
	}
	if perfect := n / same.Of; same.Sampled < perfect*8/10 || same.Sampled > perfect*12/10 {
		t.Errorf("%d of %d rows were sampled, which is not one in %d", same.Sampled, n, same.Of)
	}
	other, err := compare(t.Context(), s, "p", 1, 3, limit)
	if err != nil || other.Same || len(other.Examples) != maxExamples || other.Old.Rows[""] != n || other.New.Rows[""] != n {
		t.Errorf("half of it: %+v, %v", other, err)
	}
	if other.Differ < other.Sampled*4/10 || other.Differ > other.Sampled*6/10 {
		t.Errorf("%d of %d sampled rows differ, want about half", other.Differ, other.Sampled)
	}
	delete(s.rows[2][""], "key-7")
	s.rows[2][""]["key-8"] = `"` + strings.Repeat("ü", 5000) + `"`
	if few, err := compare(t.Context(), s, "p", 1, 2, limit); err != nil || few.Same {
		t.Errorf("two rows: %+v, %v", few, err)
	}
	if two, err := Compare(t.Context(), s, "p", 1, 2); err != nil || two.Differ != 2 || len(two.Examples[1].New) > maxExample+10 || !json.Valid(two.Examples[1].New) {
		t.Errorf("two rows: %+v, %v", two, err)
	}
}

func TestCompareFails(t *testing.T) {
	t.Parallel()
	gone := errors.New("the database is gone")
	if _, err := Compare(t.Context(), tables{fail: gone}, "p", 1, 2); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := tables{rows: map[uint64]map[string]map[string]string{1: {"": {"a": "1"}}}}
	if _, err := Compare(ended, s, "p", 1, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
