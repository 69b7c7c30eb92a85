package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/examples/coop"
	pb "github.com/holdfast-run/holdfast/examples/coop/coopv1pb"
	"github.com/holdfast-run/holdfast/projections"
)

// cards is a read model for a printer of cards. Its first build has no letters but those of
// ASCII.
func cards(mended bool) *projections.Projection {
	type card struct {
		Name     string `json:"name"`
		Children int    `json:"children"`
	}
	return projections.Define("cards",
		projections.From(coop.Family),
		projections.On(func(d *projections.Docs[card], e *pb.FamilyEnrolled, at projections.Event) error {
			if first, _ := utf8.DecodeRuneInString(e.FamilyName); first > unicode.MaxASCII && !mended {
				return fmt.Errorf("the printer has no letter %q", first)
			}
			return d.Change(at.Ref.ID, func(card) card { return card{Name: e.FamilyName} })
		}),
		projections.On(func(d *projections.Docs[card], _ *pb.ChildAdded, at projections.Event) error {
			return d.Change(at.Ref.ID, func(c card) card {
				c.Children++
				return c
			})
		}),
	)
}

// own shows a query that waits for what its client has just written.
func (d *demo) own(ctx context.Context) error {
	d.title("A read model that has what was just written")
	for _, l := range []line{
		{Ref: heroine, Command: "RecordPaymentDue", ID: "due-2", User: "bookkeeper", Data: []byte(`{"amount":4200,"due_date":"2026-12-01"}`)},
		{Ref: heroine, Command: "RecordPaymentOverdue", ID: "overdue-2", User: "bookkeeper", Data: []byte(`{"amount":4200,"due_date":"2026-12-01"}`)},
	} {
		a, err := d.client.send(ctx, l)
		if err != nil {
			return err
		}
		d.say("    %-22s %s, position %s", l.Command, a, a.Position)
		begin := time.Now()
		v, err := d.client.view(ctx, "overdue", "f-lovelace", a.Position)
		if err != nil {
			return err
		}
		d.say("    asked for the read model as it is after %s: %s  (%d ms)", a.Position, v.Value, time.Since(begin).Milliseconds())
	}
	return nil
}

// poison has an event come that a read model cannot handle, and then a build that can.
func (s *single) poison(ctx context.Context) error {
	s.title("An event that a read model cannot handle")
	family := "family/f-obriain"
	var last answer
	for _, l := range []line{
		{Ref: family, Command: "EnrollFamily", ID: "obriain-1", User: "registrar", Data: []byte(`{"family_name":"Ó Briain","enrollment_date":"2026-11-01","parent_name":"Aoife","children_count":1}`)},
		{Ref: family, Command: "AddChild", ID: "obriain-2", User: "registrar", Data: []byte(`{"child_name":"Niamh","age":7,"grade":"2"}`)},
		{Ref: heroine, Command: "AddChild", ID: "lovelace-9", User: "registrar", Data: []byte(`{"child_name":"Annabella","age":5,"grade":"K"}`)},
	} {
		var err error
		if last, err = s.client.send(ctx, l); err != nil {
			return err
		}
		s.say("    %-18s %-14s %s", l.Ref, l.Command, last)
	}
	others, err := s.client.view(ctx, "cards", "f-lovelace", last.Position)
	if err != nil {
		return err
	}
	s.say("  It is parked, with what came later of that family; the others go on: %s", others.Value)
	if err := s.show(ctx, "parked"); err != nil {
		return err
	}
	s.say("")
	s.say("    ⚙ A build of the read model that has the letter is started.")
	s.mended = true
	if err := s.crash(ctx); err != nil {
		return err
	}
	var v view
	if err := s.until(ctx, "the parked events to be handled", func(ctx context.Context) (bool, error) {
		v, err = s.client.view(ctx, "cards", "f-obriain", last.Position)
		return strings.Contains(string(v.Value), `"children":1`), err
	}); err != nil {
		return err
	}
	s.say("  They drained by themselves, in order: %s", v.Value)
	return nil
}

// poison is not played by processes, which are of one build.
func (f *fleet) poison(context.Context) error { return nil }

// rebuild builds a read model anew, beside the one that serves.
func (d *demo) rebuild(ctx context.Context) error {
	d.title("A read model, built anew beside the one that serves")
	for _, args := range [][]string{
		{"projections", "rebuild", "overdue", "--wait", "--as", "ada"},
		{"projections", "switch", "overdue", "--as", "ada"},
		{"projections"},
	} {
		if err := d.stage.show(ctx, args...); err != nil {
			return err
		}
		d.say("")
	}
	return nil
}

// A view is what a read model has under a key.
type view struct {
	Position string
	Value    json.RawMessage
	Error    struct{ Code, Message string }
}

// view asks a read model, once it has the commit at a position.
func (c *client) view(ctx context.Context, projection, key, after string) (view, error) {
	m := message("view", projection+"/"+key)
	m.Header.Set("Holdfast-After", after)
	var v view
	status, err := c.request(ctx, m, &v)
	if err == nil && status != 0 && status != 404 {
		err = fmt.Errorf("%s: %d %s", m.Subject, status, v.Error.Message)
	}
	return v, err
}

// until waits until something is so.
func (d *demo) until(ctx context.Context, what string, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for {
		if is, err := so(ctx); is || err != nil {
			return err
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return errors.New("waited in vain for " + what)
		}
	}
}
