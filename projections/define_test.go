// Package projections_test tests what a definition is, and how records become events.
package projections_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

type (
	rows  = *projections.Rows
	docs  = *projections.Docs[*wrapperspb.Int64Value]
	event = projections.Event
)

// counted has one event, and one that is retired: of which nothing, one or two have become.
var counted = holdfast.Define("counted",
	holdfast.Decide(func(int64, *wrapperspb.Int64Value) (holdfast.Events, error) { return nil, nil }),
	holdfast.Evolve(func(n int64, e *wrapperspb.Int32Value) int64 { return n + int64(e.Value) }),
	holdfast.Evolve(func(n int64, _ *wrapperspb.BoolValue) int64 { return n }),
	holdfast.Upcast[int64](func(e *wrapperspb.UInt32Value) holdfast.Events {
		if e.Value > 2 {
			panic("three is too many")
		}
		return several(int(e.Value))
	}),
)

func several(n int) (events holdfast.Events) {
	for i := range n {
		events = append(events, wrapperspb.Int32(int32(i+1)))
	}
	return events
}

func onRows(rows, *wrapperspb.Int32Value, event) error { return nil }
func onDocs(docs, *wrapperspb.Int32Value, event) error { return nil }

const table = "CREATE TABLE t (id TEXT)"

// TestDefineWrong: each wrong definition is refused with a sentence that says what is wrong and
// where.
func TestDefineWrong(t *testing.T) {
	from, on, tables := projections.From(counted), projections.On(onRows), projections.Tables(table)
	var nobody func(rows, *wrapperspb.Int32Value, event) error
	for i, c := range []struct {
		want  string
		name  string
		parts []projections.Part
	}{
		{"bad name: want a small letter", "Orders", []projections.Part{from, on, tables}},
		{"bad name", "", nil},
		{"bad name", "a-b", nil},
		{"bad name", strings.Repeat("x", 41), nil},
		{"it has no On", "p", nil},
		{"an empty part was given", "p", []projections.Part{{}}},
		{"it has no From", "p", []projections.Part{on, tables}},
		{"From at define_test.go:N: a type is nil", "p", []projections.Part{projections.From(nil)}},
		{`the type "counted" is named twice`, "p", []projections.Part{from, from}},
		{"On(*wrapperspb.Int32Value) at define_test.go:N: the function is nil", "p", []projections.Part{projections.On(nobody)}},
		{"the event google.protobuf.Int32Value has a handler already, at define_test.go:N", "p", []projections.Part{from, on, on}},
		{"others of the projection write rows: choose one", "p", []projections.Part{from, on, projections.On(func(docs, *wrapperspb.BoolValue, event) error { return nil })}},
		{"none of the types has this event", "p", []projections.Part{from, tables, projections.On(func(rows, *wrapperspb.StringValue, event) error { return nil })}},
		{"the event is retired: handle what has taken its place", "p", []projections.Part{from, tables, projections.On(func(rows, *wrapperspb.UInt32Value, event) error { return nil })}},
		{"it has no Tables", "p", []projections.Part{from, on}},
		{"Tables are for handlers of *Rows", "p", []projections.Part{from, projections.On(onDocs), tables}},
		{"Show is for handlers of *Rows", "p", []projections.Part{from, projections.On(onDocs), projections.Show(func(rows, string) (any, error) { return nil, nil })}},
		{"Show at define_test.go:N: the function is nil", "p", []projections.Part{projections.Show(nil)}},
		{"InKV is for documents", "p", []projections.Part{from, on, tables, projections.InKV()}},
		{"Every at define_test.go:N: the function is nil", "p", []projections.Part{projections.Every[rows](nil)}},
		{"there is an Every already, at define_test.go:N", "p", []projections.Part{every(), every()}},
		{"Every stands alone", "p", []projections.Part{every(), from, tables}},
		{"Key at define_test.go:N: the function is nil", "p", []projections.Part{projections.Key(nil)}},
		{"Shards at define_test.go:N: 0: choose 1 to 64", "p", []projections.Part{projections.Shards(0)}},
		{"65: choose 1 to 64", "p", []projections.Part{projections.Shards(65)}},
		{"Revision at define_test.go:N: 0: choose 1 or more", "p", []projections.Part{projections.Revision(0)}},
		{"Effect(mail) at define_test.go:N: the function is nil", "p", []projections.Part{projections.Effect[*wrapperspb.StringValue]("mail", nil)}},
		{"bad name: want a small letter", "p", []projections.Part{effect("Mail")}},
		{"there is an Effect of that name already, at define_test.go:N", "p", []projections.Part{effect("mail"), effect("mail")}},
	} {
		said := panics(func() { projections.Define(c.name, c.parts...) })
		if !strings.HasPrefix(said, fmt.Sprintf("projections: %q (defined at define_test.go:N): ", c.name)) || !strings.Contains(said, c.want) {
			t.Errorf("%d: it said %q, want %q", i, said, c.want)
		}
	}
}

func every() projections.Part {
	return projections.Every(func(rows, event) error { return nil })
}

func effect(name string) projections.Part {
	return projections.Effect(name, func(_ context.Context, id string, m *wrapperspb.StringValue) error {
		if m.Value == "panic" {
			panic("it cannot")
		}
		return fmt.Errorf("%s got %s", id, m.Value)
	})
}

var line = regexp.MustCompile(`define_test\.go:\d+`)

// panics gives what f panics with, without its lines.
func panics(f func()) (said string) {
	defer func() { said = line.ReplaceAllString(fmt.Sprint(recover()), "define_test.go:N") }()
	f()
	return ""
}

func TestDefined(t *testing.T) {
	p := projections.Define("orders_2", projections.From(counted), projections.On(onRows), projections.Tables(table, table),
		projections.Shards(3), projections.Revision(7))
	if p.Name() != "orders_2" || p.Form() != projections.FormRows || p.Shards() != 3 || p.Revision() != 7 || len(p.Tables()) != 2 || p.InKV() || p.Effects() {
		t.Errorf("it is %+v", p)
	}
	if fmt.Sprint(p.Types()) != "[counted]" || !p.Concerns("counted") || p.Concerns("other") {
		t.Errorf("it reads %v", p.Types())
	}
	p = projections.Define("all", projections.Every(func(docs, event) error { return nil }), projections.InKV())
	if p.Form() != projections.FormDocuments || p.Shards() != 1 || p.Revision() != 0 || !p.InKV() || len(p.Types()) != 0 || !p.Concerns("other") {
		t.Errorf("it is %+v", p)
	}
	p = projections.Define("mail", projections.From(counted), projections.On(onDocs), effect("mail"))
	if !p.Effects() {
		t.Error("it has no effects")
	}
}
