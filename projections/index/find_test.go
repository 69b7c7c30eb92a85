package index_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/index"
)

// Every event is a row, under the name and with what it was recorded, whatever it is.
func TestRows(t *testing.T) {
	each(t, func(t *testing.T, x *indexed) {
		odd := holdfast.Ref{Type: "thing", ID: "a.b/*\x00ü"}
		x.record(3, odd,
			&messages.Change{
				CommandId: "c-1", Command: "shop.v1.Do", CorrelationId: "s\x001", CausationId: "order/o-1@2", User: "ada\x00 ü", Time: dawn.UnixNano(),
				Events: []*messages.Event{{Type: "shop.v0.Retired", Data: []byte{255}}, {Type: "not a.name\x00"}},
			},
			of("c-2", "", time.Nanosecond, "Bare"))
		x.record(3, odd, of("c-3", "", time.Second, "shop.v1.Happened"))
		page, err := x.find(index.Query{}, mega)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range page.Events {
			got = append(got, strings.Join([]string{
				e.ID, e.Ref, fmt.Sprint(e.Version), e.Position, e.Event, e.Time.Format(time.RFC3339Nano), e.User, e.Command, e.CommandID, e.CorrelationID, e.CausationID,
			}, "|"))
		}
		const ref = "thing/a=2Eb=2F=2A=00=C3=BC"
		want := []string{
			ref + "@1|" + ref + "|1|3-1|shop.v0.Retired|2026-03-14T09:26:53Z|ada\uFFFD ü|shop.v1.Do|c-1|s\uFFFD1|order/o-1@2",
			ref + "@2|" + ref + "|2|3-1|not a.name\uFFFD|2026-03-14T09:26:53Z|ada\uFFFD ü|shop.v1.Do|c-1|s\uFFFD1|order/o-1@2",
			ref + "@3|" + ref + "|3|3-1|Bare|2026-03-14T09:26:53.000000001Z||shop.v1.Do|c-2|story|",
			ref + "@4|" + ref + "|4|3-2|shop.v1.Happened|2026-03-14T09:26:54Z||shop.v1.Do|c-3|story|",
		}
		if !slices.Equal(got, want) {
			t.Errorf("the index has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, q := range []index.Query{{User: "ada\x00 ü"}, {CorrelationID: "s\x001"}} {
			if got := x.found(q); got != ref+"@1 "+ref+"@2" {
				t.Errorf("%+v finds %s", q, got)
			}
		}
	})
}

func TestFind(t *testing.T) {
	each(t, func(t *testing.T, x *indexed) {
		first := of("c-1", "", 0, "shop.v1.OrderPlaced", "shop.v1.Paid")
		first.User = "ada"
		x.record(0, order("1"), first)
		other := of("c-2", "order/1@1", time.Second, "shop.v1.ReorderPlaced", "shop.v2.OrderPlaced", "shop.v1.Re_Order", "shop.v1.RexOrder")
		other.User, other.CorrelationId = "grace", "c-2"
		x.record(0, holdfast.Ref{Type: "orders", ID: "1"}, other)
		x.record(1, order("2"), of("c-3", "c-1", 2*time.Second, "OrderPlaced"))
		at := func(after time.Duration) *time.Time { return new(dawn.Add(after)) }
		for _, c := range []struct {
			q    index.Query
			want string
		}{
			{index.Query{}, "order/1@1 order/1@2 orders/1@1 orders/1@2 orders/1@3 orders/1@4 order/2@1"},
			{index.Query{Event: "OrderPlaced"}, "order/1@1 orders/1@2 order/2@1"}, // and none whose name ends like it
			{index.Query{Event: "Placed"}, ""},
			{index.Query{Event: "orderplaced"}, ""},
			{index.Query{Event: "Re_Order"}, "orders/1@3"},
			{index.Query{Event: "shop.v1.OrderPlaced"}, "order/1@1"},
			{index.Query{Event: "v1.OrderPlaced"}, ""},
			{index.Query{Ref: "order/1"}, "order/1@1 order/1@2"},
			{index.Query{Ref: "order"}, "order/1@1 order/1@2 order/2@1"},
			{index.Query{Ref: "ord"}, ""},
			{index.Query{User: "ada"}, "order/1@1 order/1@2"},
			{index.Query{User: "Ada"}, ""},
			{index.Query{CommandID: "c-3"}, "order/2@1"},
			{index.Query{CorrelationID: "c-2"}, "orders/1@1 orders/1@2 orders/1@3 orders/1@4"},
			{index.Query{CausationID: "order/1@1"}, "orders/1@1 orders/1@2 orders/1@3 orders/1@4"},
			{index.Query{Since: at(time.Second)}, "orders/1@1 orders/1@2 orders/1@3 orders/1@4 order/2@1"},
			{index.Query{Until: at(time.Second)}, "order/1@1 order/1@2"},
			{index.Query{Since: at(time.Nanosecond), Until: at(2 * time.Second)}, "orders/1@1 orders/1@2 orders/1@3 orders/1@4"},
			{index.Query{Event: "OrderPlaced", Since: at(time.Second), Ref: "orders"}, "orders/1@2"},
			{index.Query{
				Event: "shop.v1.Paid", Ref: "order/1", Since: at(0), Until: at(1), CorrelationID: "story", CommandID: "c-1", User: "ada", Limit: 1,
			}, "order/1@2"},
			{index.Query{User: "' OR 1=1 --"}, ""},
		} {
			if got := x.found(c.q); got != c.want {
				t.Errorf("%+v finds %q, want %q", c.q, got, c.want)
			}
		}
	})
}

// Pages follow one another without a gap and without a repeat, also among events of one time.
func TestPages(t *testing.T) {
	each(t, func(t *testing.T, x *indexed) {
		var want []string
		for n := range 4 {
			for _, partition := range []uint32{0, 1} {
				id := fmt.Sprintf("%d-%d", partition, n)
				x.record(partition, order(id), of(id, "", 0, "shop.v1.A", "shop.v1.B", "shop.v1.C"))
			}
		}
		for _, id := range []string{"0-0", "0-1", "0-2", "0-3", "1-0", "1-1", "1-2", "1-3"} {
			want = append(want, fmt.Sprintf("order/%s@1 order/%[1]s@2 order/%[1]s@3", id))
		}
		one, err := x.find(index.Query{Limit: 1}, mega)
		if err != nil {
			t.Fatal(err)
		}
		short := 512 + 3*(len(one.Events[0].ID)+250)
		for _, c := range []struct{ limit, room, atLeast int }{
			{1, mega, 1}, {5, mega, 5}, {23, mega, 23}, {24, mega, 24}, {0, mega, 24}, {1000, 1, 1}, {1000, short, 2},
		} {
			var got []string
			q := index.Query{Limit: c.limit}
			for range 30 {
				page, err := x.find(q, c.room)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, ids(page.Events))
				if q.After = page.Next; q.After == "" {
					break
				}
				if n := len(page.Events); n < c.atLeast {
					t.Errorf("with %+v a page has %d events", c, n)
				}
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("with %+v the pages have %q", c, got)
			}
		}
	})
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	at := func(text string) *time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return &when
	}
	for want, q := range map[string]index.Query{
		"limit: it is -1: want 1 to 1000":         {Limit: -1},
		"limit: it is 1001: want 1 to 1000":       {Limit: 1001},
		`ref: type "Order": want`:                 {Ref: "Order"},
		"ref: id: it is empty":                    {Ref: "order/"},
		`must be written =2E`:                     {Ref: "order/o.1"},
		`event: "1st": want a message's name`:     {Event: "1st"},
		`event: "shop.v1.": want a message's`:     {Event: "shop.v1."},
		`event: "%": want a message's name`:       {Event: "%"},
		`after: "x" is no page's next`:            {After: "x"},
		`after: "1-2-3-4 " is no page's next`:     {After: "1-2-3-4 "},
		`after: "01-2-3-4" is no page's next`:     {After: "01-2-3-4"},
		"since: want a time in the years 1678 to": {Since: at("0001-01-01T00:00:00Z")},
		"until: want a time in the years 1678 to": {Until: at("9999-01-01T00:00:00Z")},
		"want a later time than since":            {Since: at("2026-03-14T09:26:53Z"), Until: at("2026-03-14T09:26:53Z")},
	} {
		if _, err := index.Find(nil, q, mega); !refused(err, holdfast.CodeMalformed, want) {
			t.Errorf("%+v: %v, want %s", q, err, want)
		}
	}
}

// Whatever is looked for, SQLite finds it by an index that has the order of the pages: no page
// of a large index is sorted out of all that is found.
func TestPlans(t *testing.T) {
	t.Parallel()
	x := open(t, sqlite(t))
	x.commit(0, fill(`'order', 'order/' || (n % 100), n, 'shop.v1.E' || (n % 10), 'E' || (n % 10), 'shop.v1.Do', 'c-' || n, 's-' || (n % 100), '', 'u' || (n % 10)`, 2000))
	for name, q := range map[string]index.Query{
		"events_by_time": {Since: &dawn, After: "1-2-3-4"}, "events_by_type": {Ref: "order"}, "events_by_ref": {Ref: "order/1"}, "events_by_short": {Event: "E1"},
		"events_by_short (": {Event: "shop.v1.E1"}, "events_by_command": {CommandID: "c-1"}, "events_by_correlation": {CorrelationID: "s-1"},
		"events_by_causation": {CausationID: "x"}, "events_by_author": {User: "u1", Since: &dawn},
	} {
		query, args, err := index.Statement(q)
		if err != nil {
			t.Fatal(err)
		}
		var id, parent, unused int64
		var step, plan string
		err = x.Query(x.ctx(), func(b projections.Batch) error {
			return b.Each("EXPLAIN QUERY PLAN "+query, args, func() error { plan += step + "; "; return nil }, []any{&id, &parent, &unused, &step})
		})
		if err != nil || !strings.Contains(plan, name) || !strings.Contains(plan, "TEMP B-TREE FOR LAST 3 TERMS") {
			t.Errorf("%+v: %s, %v", q, plan, err)
		}
	}
}
