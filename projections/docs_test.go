package projections_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
)

// A shop of documents: how events, by their number, change the one under "k".
type shown struct {
	Text string `json:"text"`
}

const (
	removes = 7 + iota
	nameless
	gone
)

var inMessages = projections.Define("messages", projections.From(counted), effect("mail"),
	projections.On(func(d *projections.Docs[*messages.Change], e *wrapperspb.Int32Value, _ event) error {
		if err := d.Later("mail", wrapperspb.String("x")); err != nil {
			return err
		}
		key := "k"
		switch e.Value {
		case removes:
			return d.Remove(key)
		case nameless:
			key = ""
		case gone:
			return d.Change(key, func(*messages.Change) *messages.Change { return nil })
		}
		return d.Change(key, func(c *messages.Change) *messages.Change {
			c.User += fmt.Sprintf("<%d>", e.Value)
			return c
		})
	}))

var inValues = projections.Define("values", projections.From(counted),
	projections.On(func(d *projections.Docs[shown], e *wrapperspb.Int32Value, _ event) error {
		return d.Change("k", func(v shown) shown { v.Text += fmt.Sprintf("<%d>", e.Value); return v })
	}))

// count has a projection handle the event of that number.
func (l *log) count(s projections.Sink, p *projections.Projection, n int32) error {
	l.t.Helper()
	u := projections.Unit{Projection: p.Name(), Generation: 1}
	if err := s.Prepare(l.t.Context(), p, 1); err != nil {
		l.t.Fatal(err)
	}
	from, err := s.Checkpoint(l.t.Context(), u)
	if err != nil {
		l.t.Fatal(err)
	}
	rec := l.record(recorded(wrapperspb.Int32(n)))
	return s.Commit(l.t.Context(), u, from, projections.Checkpoint{Done: rec.Position.Sequence()}, func(b projections.Batch) error {
		return p.Handle(b, p.Read(rec)[0])
	})
}

// TestDocs: documents are kept in one form, whatever protojson varies.
func TestDocs(t *testing.T) {
	s, l := memory.New(), newLog(t, ref)
	want := func(p *projections.Projection, want string) {
		t.Helper()
		if got, err := p.Answer(t.Context(), s, 1, "k"); err != nil || string(got) != want {
			t.Errorf("the document is %s, %v; want %s", got, err, want)
		}
	}
	for _, n := range []int32{1, 2} {
		if err := errors.Join(l.count(s, inMessages, n), l.count(s, inValues, n)); err != nil {
			t.Fatal(err)
		}
	}
	want(inMessages, `{"command_id":"","command":"","correlation_id":"","causation_id":"","user":"\u003c1\u003e\u003c2\u003e","trace":"","time":"0","events":[]}`)
	want(inValues, `{"text":"\u003c1\u003e\u003c2\u003e"}`)
	if err := l.count(s, inMessages, gone); err == nil || !strings.Contains(err.Error(), "the document is nil: take it away with Remove") {
		t.Errorf("of a document that is nil it says %v", err)
	}
	if err := l.count(s, inMessages, nameless); err == nil || !strings.Contains(err.Error(), `the key "" of a document has 0 bytes: want 1 to 128`) {
		t.Errorf("of a document without a key it says %v", err)
	}
	if err := l.count(s, inMessages, removes); err != nil {
		t.Error(err)
	}
	want(inMessages, "")
	outbox, err := s.Outbox(t.Context(), projections.Unit{Projection: "messages", Generation: 1}, 10)
	if err != nil || len(outbox) != 3 || outbox[0].ID != "counted/c=2E1@1/mail" || outbox[0].Name != "mail" {
		t.Errorf("in the outbox is %+v, %v", outbox, err)
	}
}

// TestDocsOfAnotherKind: a document that was kept when documents were others refuses the event,
// and says what to do.
func TestDocsOfAnotherKind(t *testing.T) {
	s, l := memory.New(), newLog(t, ref)
	if err := l.count(s, inValues, 1); err != nil {
		t.Fatal(err)
	}
	changed := projections.Define("values", projections.From(counted),
		projections.On(func(d *projections.Docs[[]int], e *wrapperspb.Int32Value, _ event) error {
			return d.Change("k", func(v []int) []int { return append(v, int(e.Value)) })
		}))
	if err := l.count(s, changed, 2); err == nil || !strings.Contains(err.Error(), "raise the Revision when documents change") {
		t.Errorf("it says %v", err)
	}
}
