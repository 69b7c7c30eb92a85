package index_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/index"
	"github.com/holdfast-run/holdfast/projections/sqlsink"
)

func sqlite(t testing.TB) sqlsink.Config {
	return sqlsink.Config{Context: "shop", Log: created, Folder: t.TempDir()}
}

// fill makes rows out of n, which counts from 1: all columns but the first four.
func fill(columns string, most int) func(projections.Batch) error {
	return func(b projections.Batch) error {
		_, err := b.Exec(`INSERT INTO events (part, sequence, place, time, type, ref, version, event, short, command, command_id, correlation, causation, author)
			WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
			SELECT 0, n, 0, n, `+columns+` FROM numbers`, []any{most})
		return err
	}
}

// told writes a story with a pair of brackets around what a command has led to.
func told(c index.Command) string {
	var b strings.Builder
	b.WriteString(c.ID + " to " + c.Ref + " (")
	for i, e := range c.Events {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(e.ID)
		for _, caused := range e.Caused {
			b.WriteString(" -> " + told(caused))
		}
	}
	for _, caused := range c.Caused {
		b.WriteString("; " + told(caused))
	}
	return b.String() + ")"
}

func (x *indexed) tells(id, want string) index.Story {
	x.t.Helper()
	s, err := x.explain(id, mega)
	if got := told(s.Command); err != nil || got != want || s.Cut {
		x.t.Errorf("%s is told as %s, cut: %v, %v; want %s", id, got, s.Cut, err, want)
	}
	return s
}

// A story has the steps of sagas and what these cause, and says why the command itself came.
func TestExplain(t *testing.T) {
	each(t, func(t *testing.T, x *indexed) {
		checkout := holdfast.Ref{Type: "checkout", ID: "o-1"}
		placed := of("c-1", "click-7", 0, "shop.v1.OrderPlaced", "shop.v1.Noted")
		placed.User = "ada"
		x.record(0, order("o-1"), placed)
		x.record(0, checkout, of("checkout/o-1:begin", "order/o-1@1", time.Second, "holdfast.v1.SagaBegun", "holdfast.v1.SagaSent"))
		x.record(0, holdfast.Ref{Type: "payment", ID: "o-1"}, of("checkout/o-1:pay", "checkout/o-1@2", 2*time.Second, "shop.v1.Paid"))
		x.record(0, holdfast.Ref{Type: "stock", ID: "w-1"}, of("checkout/o-1:take", "checkout/o-1@2", 3*time.Second, "shop.v1.Taken"))
		x.record(0, order("o-1"), of("follow-up", "c-1", 4*time.Second, "shop.v1.Praised"))
		x.record(0, order("o-2"), of("c-2", "", 5*time.Second, "shop.v1.OrderPlaced"))
		saga := "checkout/o-1:begin to checkout/o-1 (checkout/o-1@1, checkout/o-1@2 -> checkout/o-1:pay to payment/o-1 (payment/o-1@1) -> checkout/o-1:take to stock/w-1 (stock/w-1@1))"
		s := x.tells("c-1", "c-1 to order/o-1 (order/o-1@1 -> "+saga+", order/o-1@2; follow-up to order/o-1 (order/o-1@3))")
		c := s.Command
		if s.Because != "click-7" || c.Name != "shop.v1.Do" || c.User != "ada" || c.CorrelationID != "story" || !c.Time.Equal(dawn) {
			t.Errorf("it is told that %+v", s)
		}
		if s := x.tells("checkout/o-1:begin", saga); s.Because != "order/o-1@1" {
			t.Errorf("the saga began because of %s", s.Because)
		}
		if _, err := x.explain("c-9", mega); !refused(err, holdfast.CodeUnknown, `no event of the command "c-9": it was rejected, found nothing to do`) {
			t.Errorf("a command that nobody has sent gives %v", err)
		}
	})
}

// One id may have been given to commands of several aggregates, and causes may go in circles:
// each command is told once.
func TestExplainOnce(t *testing.T) {
	each(t, func(t *testing.T, x *indexed) {
		x.record(0, order("1"), of("c-1", "", 0, "shop.v1.A"))
		x.record(0, order("2"), of("c-1", "", 1, "shop.v1.A", "shop.v1.B"))
		x.record(0, order("3"), of("c-2", "c-1", 2, "shop.v1.A"))
		x.record(0, order("4"), of("c-3", "order/2@2", 3, "shop.v1.A"))
		x.tells("c-1", "c-1 to order/1 (order/1@1; c-2 to order/3 (order/3@1); c-1 to order/2 (order/2@1, order/2@2 -> c-3 to order/4 (order/4@1)))")
		x.record(0, order("5"), of("own", "own", 4, "shop.v1.A"))
		x.tells("own", "own to order/5 (order/5@1)")
		x.record(0, order("6"), of("hen", "egg", 5, "shop.v1.A"))
		x.record(0, order("7"), of("egg", "hen", 6, "shop.v1.A"))
		x.tells("hen", "hen to order/6 (order/6@1; egg to order/7 (order/7@1))")
		x.record(0, order("8"), of("late", "order/8@1", 7, "shop.v1.A"))
		x.tells("late", "late to order/8 (order/8@1)")
	})
}

// A story has bounds, and says so, however large what is there is.
func TestExplainIsBounded(t *testing.T) {
	const rest = `'order', 'order/' || n, 1, 'shop.v1.E', 'E', 'shop.v1.Do', `
	for name, c := range map[string]struct {
		columns         string
		count           int
		events, deepest int
		cut             bool
	}{
		"all by one command":       {`'order', 'order/1', n, 'shop.v1.E', 'E', 'shop.v1.Do', 'c-1', '', '', ''`, 100_000, 1000, 1, true},
		"one id everywhere":        {rest + `'c-1', '', 'c-1', ''`, 100_000, 1000, 2, true},
		"each because of the last": {rest + `'c-' || n, '', 'c-' || (n - 1), ''`, 100_000, 100, 100, true},
		"a hundred in a row":       {rest + `'c-' || n, '', 'c-' || (n - 1), ''`, 100, 100, 100, false},
		"all because of one":       {rest + `'c-' || n, '', CASE WHEN n = 1 THEN '' ELSE 'c-1' END, ''`, 100_000, 1000, 2, true},
		"more of what is told": {`'order', 'order/' || (n > 1), n, 'shop.v1.E', 'E', 'shop.v1.Do', CASE WHEN n = 1 THEN 'c-1' ELSE 'k' END, '',
			CASE WHEN n = 1 THEN '' WHEN n = 2 THEN 'c-1' ELSE 'k' END, ''`, 3000, 2, 2, true},
		"just as many": {rest + `'c-' || n, '', CASE WHEN n = 1 THEN '' ELSE 'c-1' END, ''`, 1000, 1000, 2, false},
	} {
		if testing.Short() { // as the race detector takes its time
			c.count = min(c.count, 5000)
		}
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, x *indexed) {
				x.commit(0, fill(c.columns, c.count))
				s, err := x.explain("c-1", mega)
				if err != nil {
					t.Fatal(err)
				}
				if n, deepest := measure(s.Command); n != c.events || deepest != c.deepest || s.Cut != c.cut {
					t.Errorf("it tells %d events, %d commands deep, cut: %v", n, deepest, s.Cut)
				}
			})
		})
	}
}

// A counting batch counts what is asked of it.
type counting struct {
	projections.Batch
	queries int
}

func (c *counting) Each(query string, args []any, f func() error, dest []any) error {
	c.queries++
	return c.Batch.Each(query, args, f, dest)
}

// What a story costs grows with its events, also when all of its commands have one id.
func TestExplainAsksOnce(t *testing.T) {
	t.Parallel()
	x := open(t, sqlite(t))
	x.commit(0, fill(`'order', 'order/' || n, 1, 'shop.v1.E', 'E', 'shop.v1.Do', 'c-1', '', 'c-1', ''`, 500))
	err := x.Query(x.ctx(), func(b projections.Batch) error {
		c := &counting{Batch: b}
		s, err := index.Explain(projections.NewRows(c), "c-1", mega)
		if n, _ := measure(s.Command); n != 500 || c.queries != 502 {
			t.Errorf("it tells %d events after %d queries", n, c.queries)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A story fits into the room that there is, which is enough for one event at the least.
func TestExplainFits(t *testing.T) {
	t.Parallel()
	x := open(t, sqlite(t))
	x.commit(0, fill(`'order', 'order/' || n, 1, 'shop.v1.E', 'E', 'shop.v1.Do', 'c-' || n, 'long-'||n, CASE WHEN n = 1 THEN '' ELSE 'c-' || (n / 3) END, '<ü>'`, 500))
	for _, room := range []int{0, 2000, 5000, 20_000, 80_000, mega} {
		s, err := x.explain("c-1", room)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := measure(s.Command) // of 500 events 364 follow from the first
		if room > 0 && len(body) > room || n == 0 || s.Cut != (room < mega) || room >= 5000 && n < min(room/1200, 364) {
			t.Errorf("with room for %d bytes it tells %d events in %d, cut: %v", room, n, len(body), s.Cut)
		}
	}
}

func measure(c index.Command) (events, deepest int) {
	all := c.Caused
	for _, e := range c.Events {
		all = append(all, e.Caused...)
	}
	events, deepest = len(c.Events), 1
	for _, c := range all {
		n, deep := measure(c)
		events, deepest = events+n, max(deepest, deep+1)
	}
	return events, deepest
}
