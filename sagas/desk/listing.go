package desk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// batch is how many sagas are looked at before it is asked whether these are enough, and
	// lookers how many of them at a time.
	batch   = 32
	lookers = 16
	// maxReason is how much of a reason is listed: what fails may say much.
	maxReason = 256
	// pageRoom is what a page takes beside its rows or entries.
	pageRoom = 1 << 10
)

// A query says which sagas are wanted.
type query struct {
	saga      string
	status    []sagas.Status
	olderThan time.Duration
	limit     uint64
	after     place
}

// A place is where a saga stands on the list: the oldest first. It is told in a form of its
// own, so that it can be gone on from when the saga that stood there is over.
type place struct {
	since time.Time
	ref   string
}

func (p place) compare(q place) int {
	return cmp.Or(p.since.Compare(q.since), strings.Compare(p.ref, q.ref))
}

// String gives what parsePlace reads.
func (p place) String() string { return serve.ShowTime(p.since) + " " + p.ref }

func parsePlace(s string) (p place, err error) {
	since, ref, _ := strings.Cut(s, " ")
	if p.since, err = time.Parse(time.RFC3339Nano, since); err == nil {
		_, _, err = messages.ParseRef(ref)
	}
	if p.ref = ref; err != nil {
		return p, errors.New("want what the page before gave as next")
	}
	return p, nil
}

func (e entry) place() place { return place{e.Since, messages.FormatRef(e.typ, e.id)} }

// readQuery reads the body of a request for the list.
func (d *Desk) readQuery(body []byte) (q query, err error) {
	q.limit = defaultLimit
	var status []string
	var after string
	err = serve.ReadBody(body,
		serve.Text("saga", &q.saga),
		serve.Into("status", `a list such as ["stuck"]`, &status),
		serve.Duration("olderThan", &q.olderThan),
		serve.AtMost("limit", maxLimit, &q.limit),
		serve.Text("after", &after))
	if err != nil {
		return q, err
	}
	if q.saga != "" {
		if _, err := d.saga(q.saga); err != nil {
			return q, err
		}
	}
	for _, s := range status {
		if !slices.Contains(open, sagas.Status(s)) {
			return q, malformed("body: status: %q is none of a saga that is not over: want %s", s, strings.Trim(fmt.Sprint(open), "[]"))
		}
		q.status = append(q.status, sagas.Status(s))
	}
	if after != "" {
		if q.after, err = parsePlace(after); err != nil {
			return q, malformed("body: after: %w", err)
		}
	}
	return q, nil
}

// open are what a saga can be that is not over.
var open = []sagas.Status{sagas.Running, sagas.Waiting, sagas.Compensating, sagas.Stuck}

// A row is a saga in the answer to list.
type row struct {
	Ref     string         `json:"ref"`
	Saga    string         `json:"saga"`
	ID      string         `json:"id"`
	Status  string         `json:"status"`
	Reason  string         `json:"reason"`
	Since   string         `json:"since"`
	Changed string         `json:"changed"`
	Done    int            `json:"done"`
	Steps   int            `json:"steps"`
	Error   *serve.Failure `json:"error,omitempty"` // it could not be read, and no more is known than since when it is there
}

// A listing is the answer to list.
type listing struct {
	Sagas []json.RawMessage `json:"sagas"`
	Next  string            `json:"next"`
	Known []string          `json:"known"`
}

// list lists the sagas that are not over, the oldest first.
func (d *Desk) list(ctx context.Context, r *request) (serve.Answer, error) {
	q, err := d.readQuery(r.Body)
	if err != nil {
		return serve.Answer{}, err
	}
	entries, err := d.entries(ctx, q)
	if err != nil {
		return serve.Answer{}, err
	}
	page := listing{Sagas: []json.RawMessage{}, Known: append([]string{}, d.cfg.Book.Names()...)}
	room := d.requests.Room() - pageRoom
	// What has been found by half of the time is told, and the rest is for the next page.
	early, cancel := context.WithTimeout(ctx, d.cfg.Timeout/2)
	defer cancel()
	for len(entries) > 0 {
		seen, fits := 0, true
		for _, row := range d.look(ctx, r.Subject, entries[:min(batch, len(entries))]) {
			if row != nil && q.wants(row) {
				text, err := serve.Encode(false, nil, row)
				if err != nil {
					return serve.Answer{}, err
				}
				if room -= len(text) + 1; len(page.Sagas) > 0 && room < 0 || uint64(len(page.Sagas)) == q.limit {
					fits = false
					break
				}
				page.Sagas = append(page.Sagas, text)
			}
			page.Next = entries[seen].place().String()
			seen++
		}
		entries = entries[seen:]
		if !fits || early.Err() != nil {
			break
		}
	}
	if len(entries) == 0 {
		page.Next = ""
	}
	body, err := serve.Encode(false, nil, page)
	return serve.Answer{Body: body}, err
}

// entries gives those that are asked for as far as the list alone can say, in order.
func (d *Desk) entries(ctx context.Context, q query) ([]entry, error) {
	all, err := d.cfg.List.all(ctx, q.saga)
	if err != nil {
		return nil, err
	}
	latest := d.cfg.Now().Add(-q.olderThan)
	all = slices.DeleteFunc(all, func(e entry) bool {
		return q.olderThan > 0 && e.Since.After(latest) || q.after.ref != "" && e.place().compare(q.after) <= 0
	})
	slices.SortFunc(all, func(a, b entry) int { return a.place().compare(b.place()) })
	return all, nil
}

// wants reports whether a row is asked for. One that could not be read may be.
func (q query) wants(r *row) bool {
	return r.Error != nil || len(q.status) == 0 || slices.Contains(q.status, sagas.Status(r.Status))
}

// look looks at sagas, and gives a row for each: nil for one that is over.
func (d *Desk) look(ctx context.Context, subject string, entries []entry) []*row {
	rows := make([]*row, len(entries))
	turns := make(chan struct{}, lookers)
	var all sync.WaitGroup
	for i, e := range entries {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			rows[i] = d.row(ctx, subject, e)
		})
	}
	all.Wait()
	return rows
}

// row looks at one saga, for at most an eighth of the time of a request. One that is over, or
// of which nothing is left, is taken off the list.
func (d *Desk) row(ctx context.Context, subject string, e entry) *row {
	looking, cancel := context.WithTimeout(ctx, d.cfg.Timeout/8)
	defer cancel()
	r := &row{Ref: messages.FormatRef(e.typ, e.id), Saga: e.typ, ID: e.id.String(), Since: serve.ShowTime(e.Since)}
	var s *messages.SagaState
	var view holdfast.View
	err := serve.Guarded(func() (err error) { // what fails in a goroutine of its own would end the node
		s, view, err = d.view(looking, e.ref())
		return err
	})
	if err != nil {
		failure := d.requests.Explain(subject, serve.Unread(looking, err))
		r.Error = &failure
		return r
	}
	if sagas.Status(s.Status).Final() || s.Status == "" {
		if err := d.cfg.List.prune(ctx, e); err != nil { // it is seen again next time
			d.cfg.Logger.Debug("a saga that is over is still listed", "saga", r.Ref, "error", err)
		}
		return nil
	}
	r.Status, r.Reason, r.Changed = s.Status, short(s.Reason), serve.ShowTime(view.Time)
	r.Done, r.Steps = progress(s)
	return r
}

func short(s string) string {
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "") + "…"
}

// view gives where a saga stands.
func (d *Desk) view(ctx context.Context, ref holdfast.Ref) (*messages.SagaState, holdfast.View, error) {
	view, err := d.cfg.Viewer.View(ctx, ref)
	if err != nil {
		return nil, view, err
	}
	s, ok := view.State.(*messages.SagaState)
	if !ok {
		return nil, view, holdfast.Errorf(holdfast.CodeUnknown, "%s is no saga: this node's binary has none of that name", ref)
	}
	return s, view, nil
}

// progress gives how many of a saga's steps are done, and not undone, and how many there are.
func progress(s *messages.SagaState) (done, steps int) {
	for _, st := range s.Steps {
		if st.GetDo().GetPhase() == messages.SagaPhase_SAGA_PHASE_ENDED && st.GetUndo().GetPhase() != messages.SagaPhase_SAGA_PHASE_ENDED {
			done++
		}
	}
	return done, len(s.Steps)
}
