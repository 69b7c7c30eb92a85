package projections_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// log holds one aggregate's commits.
type log struct {
	t    testing.TB
	head persistence.Head
}

var ref = holdfast.Ref{Type: "counted", ID: "c.1"}

func newLog(t testing.TB, ref holdfast.Ref) *log {
	t.Helper()
	head, err := persistence.NewHead("test", ref)
	if err != nil {
		t.Fatal(err)
	}
	return &log{t, head}
}

func recorded(m proto.Message) *messages.Event {
	e, err := persistence.EncodeEvent(m)
	if err != nil {
		panic(err)
	}
	return e
}

// record gives the record of one more commit with those events.
func (l *log) record(events ...*messages.Event) persistence.Record {
	l.t.Helper()
	change := &messages.Change{CommandId: "cmd", Command: "test.Do", CorrelationId: "cor", CausationId: "cau", User: "u", Time: 1_000_000_007, Events: events}
	sealed, err := l.head.Seal("commit", []*messages.Change{change})
	if err != nil {
		l.t.Fatal(err)
	}
	position := holdfast.NewPosition(3, l.head.Position.Sequence()+5)
	opened, err := persistence.Open(position, sealed.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	l.head = opened.Head()
	return persistence.Record{Position: position, Subject: "test.log.3.counted.c=2E1", Body: sealed.Body, Time: time.Unix(9, 0)}
}

// told tells what items are, shortly.
func told(items []projections.Item) string {
	var all []string
	for _, i := range items {
		s := fmt.Sprintf("%s %d.%d %s", i.ID, i.Index, i.Part, i.Name)
		if i.Message != nil {
			s += fmt.Sprintf(" %v", i.Message.ProtoReflect().Get(i.Message.ProtoReflect().Descriptor().Fields().Get(0)))
		}
		if i.Key != ref.String() {
			s += " key " + i.Key
		}
		if i.Unread != nil {
			s += " unread"
		}
		all = append(all, strings.ReplaceAll(s, "google.protobuf.", ""))
	}
	return strings.Join(all, "; ")
}

func TestRead(t *testing.T) {
	p := projections.Define("p", projections.From(counted), projections.On(onDocs))
	l := newLog(t, ref)
	rec := l.record(recorded(wrapperspb.Int32(5)), recorded(wrapperspb.Bool(true)), recorded(wrapperspb.Int32(6)))
	items := p.Read(rec)
	if got, want := told(items), "counted/c=2E1@1 0.0 Int32Value 5; counted/c=2E1@3 2.0 Int32Value 6"; got != want {
		t.Errorf("it read %s, want %s", got, want)
	}
	want := projections.Event{
		ID: "counted/c=2E1@3", Ref: ref, Version: 3, Position: rec.Position, Index: 2, Name: "google.protobuf.Int32Value",
		Time: time.Unix(1, 7).UTC(), Command: "test.Do", CommandID: "cmd", CorrelationID: "cor", CausationID: "cau", User: "u",
	}
	if fmt.Sprintf("%+v", items[1].Event) != fmt.Sprintf("%+v", want) {
		t.Errorf("beside it stands %+v, want %+v", items[1].Event, want)
	}
	if at := items[1].Place(); at != (projections.Place{Sequence: rec.Position.Sequence(), Index: 2}) {
		t.Errorf("its place is %+v", at)
	}
}

// TestReadUpcast: a retired event becomes none, one or two.
func TestReadUpcast(t *testing.T) {
	p := projections.Define("p", projections.From(counted), projections.On(onDocs))
	l := newLog(t, ref)
	got := told(p.Read(l.record(recorded(wrapperspb.UInt32(0)), recorded(wrapperspb.UInt32(1)), recorded(wrapperspb.UInt32(2)), recorded(wrapperspb.Int32(9)))))
	if want := "counted/c=2E1@2 1.0 Int32Value 1; counted/c=2E1@3 2.0 Int32Value 1; counted/c=2E1@3.1 2.1 Int32Value 2; counted/c=2E1@4 3.0 Int32Value 9"; got != want {
		t.Errorf("it read %s, want %s", got, want)
	}
}

// TestReadUnreadable: what concerns the projection and cannot be read is never left out.
func TestReadUnreadable(t *testing.T) {
	p := projections.Define("p", projections.From(counted), projections.On(onDocs))
	l := newLog(t, ref)
	rec := l.record(
		&messages.Event{Type: "test.Unknown"}, recorded(wrapperspb.Int32(1)), &messages.Event{Type: "google.protobuf.Int32Value", Schema: 1, Data: []byte{0xff}},
		recorded(wrapperspb.UInt32(3)),
	)
	items := p.Read(rec)
	if got, want := told(items), "counted/c=2E1@1 0.-1 test.Unknown unread; counted/c=2E1@2 1.0 Int32Value 1; "+
		"counted/c=2E1@3 2.-1 Int32Value unread; counted/c=2E1@4 3.-1 UInt32Value unread"; got != want {
		t.Errorf("it read %s, want %s", got, want)
	}
	if panicked, ok := errors.AsType[*projections.PanicError](items[3].Unread); !ok || panicked.Value != "three is too many" || len(panicked.Stack) == 0 {
		t.Errorf("of the panic it says %v", items[3].Unread)
	}
	for i, n := range []int{0, 2, 3} {
		if err := p.Handle(nil, items[n]); !errors.Is(err, items[n].Unread) {
			t.Errorf("%d: handled with %v", i, err)
		}
	}
	damaged := rec
	damaged.Body = []byte("x")
	if got, want := told(p.Read(damaged)), "3-5 -1.0  unread"; got != want {
		t.Errorf("of a damaged record it read %s, want %s", got, want)
	}
	damaged.Subject = "nonsense"
	if got, want := told(p.Read(damaged)), "3-5 -1.0  key nonsense unread"; got != want {
		t.Errorf("of a record with an odd subject it read %s, want %s", got, want)
	}
	other := rec
	other.Subject = "test.log.3.other.x"
	if got := told(p.Read(other)); got != "" {
		t.Errorf("of another type's record it read %s", got)
	}
}

func TestKey(t *testing.T) {
	p := projections.Define("p", projections.From(counted), projections.On(onDocs), projections.Key(func(e holdfast.Event, at event) string {
		n := e.(*wrapperspb.Int32Value).Value
		if n == 2 {
			panic("no key")
		}
		return fmt.Sprint(n, "-", at.Version)
	}))
	l := newLog(t, ref)
	got := told(p.Read(l.record(recorded(wrapperspb.Int32(1)), recorded(wrapperspb.Int32(2)), &messages.Event{Type: "test.Unknown"})))
	if want := "counted/c=2E1@1 0.0 Int32Value 1 key 1-1; counted/c=2E1@2 1.0 Int32Value 2 unread; counted/c=2E1@3 2.-1 test.Unknown unread"; got != want {
		t.Errorf("it read %s, want %s", got, want)
	}
}

func TestReadEvery(t *testing.T) {
	var seen []string
	p := projections.Define("p", projections.Every(func(_ docs, at event) error {
		seen = append(seen, fmt.Sprintf("%s %s %d", at.ID, at.Name, len(at.Data)))
		return nil
	}))
	l := newLog(t, ref)
	for _, i := range p.Read(l.record(&messages.Event{Type: "test.Unknown", Data: []byte("xyz")}, recorded(wrapperspb.UInt32(3)))) {
		if err := p.Handle(nil, i); err != nil {
			t.Error(err)
		}
	}
	if got, want := strings.Join(seen, "; "), "counted/c=2E1@1 test.Unknown 3; counted/c=2E1@2 google.protobuf.UInt32Value 2"; got != want {
		t.Errorf("it has seen %s, want %s", got, want)
	}
}

func TestHandle(t *testing.T) {
	refused := errors.New("refused")
	p := projections.Define("p", projections.From(counted), projections.On(func(_ docs, e *wrapperspb.Int32Value, _ event) error {
		if e.Value == 2 {
			panic("two")
		}
		return refused
	}))
	l := newLog(t, ref)
	items := p.Read(l.record(recorded(wrapperspb.Int32(1)), recorded(wrapperspb.Int32(2))))
	if err := p.Handle(nil, items[0]); !errors.Is(err, refused) {
		t.Errorf("it returned %v", err)
	}
	if err := p.Handle(nil, items[1]); err == nil || err.Error() != "panic: two" {
		t.Errorf("it returned %v", err)
	}
	items[0].Name = "test.Other"
	if err := p.Handle(nil, items[0]); err == nil || !strings.Contains(err.Error(), "has no On for test.Other") {
		t.Errorf("it returned %v", err)
	}
}

func TestCarry(t *testing.T) {
	p := projections.Define("p", projections.From(counted), projections.On(onDocs), effect("mail"))
	payload := func(s string) []byte { b, _ := proto.Marshal(wrapperspb.String(s)); return b }
	for want, e := range map[string]projections.Effected{
		"e-1 got hello":                            {ID: "e-1", Name: "mail", Payload: payload("hello")},
		"panic: it cannot":                         {ID: "e-1", Name: "mail", Payload: payload("panic")},
		`has no Effect "other": was it renamed?`:   {ID: "e-1", Name: "other"},
		`the effect "mail" cannot be read: proto:`: {ID: "e-1", Name: "mail", Payload: []byte{0xff}},
	} {
		if err := p.Carry(t.Context(), e); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), want) {
			t.Errorf("it returned %v, want %s", err, want)
		}
	}
}
