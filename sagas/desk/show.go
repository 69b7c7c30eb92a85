package desk

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A showing is the answer to show.
type showing struct {
	Ref      string            `json:"ref"`
	Saga     string            `json:"saga"`
	ID       string            `json:"id"`
	Version  uint64            `json:"version"`
	Position string            `json:"position"`
	Status   string            `json:"status"`
	Reason   string            `json:"reason"`
	Since    string            `json:"since"`
	Changed  string            `json:"changed"`
	Done     int               `json:"done"`
	Steps    int               `json:"steps"`
	Waits    []wait            `json:"waits"`
	State    json.RawMessage   `json:"state"` // null when it cannot be shown, or takes too much room
	Timeline []json.RawMessage `json:"timeline"`
	Next     uint64            `json:"next"`
	Error    *serve.Failure    `json:"error,omitempty"` // why it is not known where the saga stands
}

// show shows where a saga stands and what it has done.
func (d *Desk) show(ctx context.Context, r *request) (serve.Answer, error) {
	from, limit := uint64(1), uint64(maxLimit)
	if err := serve.ReadBody(r.Body, serve.AtMost("from", math.MaxUint64, &from), serve.AtMost("limit", maxLimit, &limit)); err != nil {
		return serve.Answer{}, err
	}
	page := showing{Ref: r.name(), Saga: r.ref.Type, ID: r.id.String(), Waits: []wait{}, Timeline: []json.RawMessage{}}
	if err := d.stand(ctx, r, &page); err != nil {
		return serve.Answer{}, err
	}
	if v := page.Version; page.Error == nil { // the timeline does not go beyond the state
		limit = min(limit, max(v+1, from)-from)
	}
	if err := d.timeline(ctx, r, &page, from, limit); err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	body, err := serve.Encode(false, nil, page)
	if err == nil && len(body) > d.requests.Room() {
		err = holdfast.Errorf(holdfast.CodeTooLarge, "where the saga stands takes %d bytes, an answer has room for %d: its history has it in parts", len(body), d.requests.Room())
	}
	return serve.Answer{Body: body}, err
}

// stand puts into a page where the saga stands. One that cannot say so has a timeline all the
// same: that is when it is needed.
func (d *Desk) stand(ctx context.Context, r *request, page *showing) error {
	looking, cancel := context.WithTimeout(ctx, d.cfg.Timeout/2)
	defer cancel()
	s, view, err := d.view(looking, r.ref)
	switch {
	case holdfast.CodeOf(err) == holdfast.CodeUnknown:
		return err
	case err != nil:
		failure := d.requests.Explain(r.Subject, serve.Unread(looking, err))
		page.Error = &failure
		return nil
	}
	page.Version, page.Position = uint64(view.Version), view.Position.String()
	page.Status, page.Reason, page.Changed = s.Status, s.Reason, serve.ShowTime(view.Time)
	page.Done, page.Steps = progress(s)
	page.Waits = waits(r.ref, s)
	if shown, err := serve.Show(s); err == nil && len(shown) < d.requests.Room()/2 {
		page.State = shown
	}
	return nil
}

// timeline puts the moments of a saga's life into a page, from a version on, as many as fit.
func (d *Desk) timeline(ctx context.Context, r *request, page *showing, from, limit uint64) error {
	if err := d.since(ctx, r, page); err != nil || limit == 0 {
		return err
	}
	rest, err := serve.Encode(false, nil, page)
	if err != nil {
		return err
	}
	room := d.requests.Room() - pageRoom - len(rest)
	commits, next, err := persistence.Page(ctx, d.cfg.Reader, r.ref, from, limit, d.requests.Room())
	if err != nil || len(commits) == 0 {
		return err
	}
	page.Next = next
	t := &teller{saga: r.saga, ref: r.ref, sent: map[errandKey]*messages.SagaIntended{}}
	t.recall = func(k errandKey) (*messages.SagaIntended, error) {
		return d.intentBefore(ctx, r, commits[len(commits)-1].FirstVersion, k)
	}
	return persistence.EachEvent(commits, func(_ persistence.Commit, version uint64, ch *messages.Change, e *messages.Event) (bool, error) {
		if next != 0 && version >= next {
			return false, nil
		}
		m, err := t.tell(version, ch, e)
		if err != nil || version < from {
			return err == nil, err
		}
		text, err := serve.Encode(false, nil, m)
		if err == nil && len(text) > room && len(page.Timeline) == 0 { // it is told without what makes it large
			m.Data, m.Undecoded = nil, nil
			text, err = serve.Encode(false, nil, m)
		} else if len(text) > room {
			page.Next = version
			return false, nil
		}
		room -= len(text) + 1
		page.Timeline = append(page.Timeline, text)
		return true, err
	})
}

// since puts into a page when the saga began.
func (d *Desk) since(ctx context.Context, r *request, page *showing) error {
	for c, err := range d.cfg.Reader.Backwards(ctx, r.ref, 1) {
		if err != nil {
			return err
		}
		if len(c.Changes) > 0 {
			page.Since = serve.ShowTime(time.Unix(0, c.Changes[0].Time))
		}
		break
	}
	return nil
}

// intentBefore gives the last intent of a step and way before a version; nil if there is none.
func (d *Desk) intentBefore(ctx context.Context, r *request, version uint64, k errandKey) (*messages.SagaIntended, error) {
	if version <= 1 {
		return nil, nil
	}
	for c, err := range d.cfg.Reader.Backwards(ctx, r.ref, holdfast.Version(version-1)) {
		if err != nil {
			return nil, err
		}
		var found *messages.SagaIntended
		for _, ch := range c.Changes {
			for _, e := range ch.Events {
				event, err := persistence.DecodeEvent(r.saga.Type(), e)
				if in, ok := event.(*messages.SagaIntended); err == nil && ok && in.Step == k.step && in.Way == k.way {
					found = in
				}
			}
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, nil
}
