package projections_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// thing has an event that is handled, one that is not, and a retired one that becomes what is
// handled, or nothing.
var thing = holdfast.Define("thing",
	holdfast.Evolve(func(n int64, e *wrapperspb.Int64Value) int64 { return n + e.Value }),
	holdfast.Evolve(func(n int64, _ *wrapperspb.BytesValue) int64 { return n }),
	holdfast.Upcast[int64](func(e *wrapperspb.StringValue) holdfast.Events {
		var out holdfast.Events
		for n := range len(e.Value) {
			out = append(out, wrapperspb.Int64(int64(n)))
		}
		return out
	}),
	holdfast.Snapshot(func(n int64) *wrapperspb.Int64Value { return wrapperspb.Int64(n) }, func(p *wrapperspb.Int64Value) int64 { return p.Value }),
)

func handled(*projections.Docs[int64], *wrapperspb.Int64Value, projections.Event) error { return nil }

func recordOf(t *testing.T, events ...*messages.Event) persistence.Record {
	t.Helper()
	h, err := persistence.NewHead("test", holdfast.Ref{Type: "thing", ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Seal("id", []*messages.Change{{CommandId: "c", Events: events}})
	if err != nil {
		t.Fatal(err)
	}
	return persistence.Record{Position: holdfast.NewPosition(0, 7), Subject: "test.log.0.thing.a", Body: c.Body}
}

func encoded(t *testing.T, m proto.Message) *messages.Event {
	t.Helper()
	e, err := persistence.EncodeEvent(m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ids(items []projections.Item) (all []string) {
	for _, i := range items {
		mark := ""
		if i.Unread != nil {
			mark = fmt.Sprintf(" unread, part %d", i.Part)
		}
		all = append(all, i.ID+mark)
	}
	return all
}

// Of a record comes what is handled, in its newest form; what concerns the projection and
// cannot be read comes with the reason; and what nobody handles is not even read.
func TestAppend(t *testing.T) {
	t.Parallel()
	p := projections.Define("things", projections.From(thing), projections.On(handled))
	garbage := &messages.Event{Type: "google.protobuf.BytesValue", Schema: messages.SchemaProtobuf, Data: []byte{255}}
	rec := recordOf(t,
		encoded(t, wrapperspb.Int64(1)), encoded(t, wrapperspb.Bytes(nil)), garbage, encoded(t, wrapperspb.String("ab")),
		encoded(t, wrapperspb.String("")), encoded(t, wrapperspb.Bool(true)),
	)
	want := []string{"thing/a@1", "thing/a@4", "thing/a@4.1", "thing/a@6 unread, part -1"}
	if got := ids(p.Read(rec)); !slices.Equal(got, want) {
		t.Errorf("read are %q", got)
	}
	before := []projections.Item{{Event: projections.Event{ID: "before"}}}
	if got := ids(p.Append(before, rec, nil)); !slices.Equal(got, append([]string{"before"}, want...)) {
		t.Errorf("appended are %q", got)
	}
	var asked []string
	no := func(key string) bool {
		asked = append(asked, key)
		return false
	}
	if got := ids(p.Append(before, rec, no)); len(got) != 1 || !slices.Equal(asked, []string{"thing/a"}) {
		t.Errorf("of others' keys are appended %q, asked for %q", got, asked)
	}
}

// With keys of their own, events of one record may be of different shards.
func TestAppendByKey(t *testing.T) {
	t.Parallel()
	p := projections.Define("things", projections.From(thing), projections.On(handled), projections.Key(func(e holdfast.Event, _ projections.Event) string {
		if n := e.(*wrapperspb.Int64Value).Value; n >= 0 {
			return fmt.Sprint(n % 2)
		}
		panic(errors.New("negative"))
	}))
	rec := recordOf(t, encoded(t, wrapperspb.Int64(1)), encoded(t, wrapperspb.Int64(2)), encoded(t, wrapperspb.Int64(3)), encoded(t, wrapperspb.Int64(-1)))
	for key, want := range map[string][]string{"0": {"thing/a@2"}, "1": {"thing/a@1", "thing/a@3"}, "thing/a": {"thing/a@4 unread, part 0"}} {
		if got := ids(p.Append(nil, rec, func(k string) bool { return k == key })); !slices.Equal(got, want) {
			t.Errorf("of key %s are read %q", key, got)
		}
	}
}
