package desk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/runner"
)

const (
	// maxParked is how many keys, or events of a key, are looked at.
	maxParked = 10_000
	// defaultParked and mostParked are how many an answer shows.
	defaultParked, mostParked = 100, 1000
	// settling is how long an operator is kept waiting until an order is carried out.
	settling = 4 * time.Second
)

// A parkedKey is a key with parked events, as it is listed.
type parkedKey struct {
	Where      string      `json:"where"` // projection
	Projection string      `json:"projection"`
	Generation uint64      `json:"generation"`
	Partition  uint32      `json:"partition"`
	Shard      int         `json:"shard"`
	Key        string      `json:"key"`
	Events     int         `json:"events"`
	First      parkedEvent `json:"first"`
}

// A parkedEvent is one of them.
type parkedEvent struct {
	ID       string `json:"id"`
	Ref      string `json:"ref"`
	Version  uint64 `json:"version,omitempty"`
	Position string `json:"position"`
	Type     string `json:"type,omitempty"`
	Time     string `json:"time"`
	User     string `json:"user,omitempty"`
	Command  string `json:"commandId,omitempty"`
	// Reason is empty when it waits for one before it.
	Reason   string `json:"reason,omitempty"`
	Since    string `json:"since"`
	Attempts int    `json:"attempts"`
	// Data is the event; Unread says why it cannot be had, and Recorded are then its bytes, or
	// those of the whole commit.
	Data     json.RawMessage `json:"data,omitempty"`
	Unread   string          `json:"unread,omitempty"`
	Recorded []byte          `json:"recorded,omitempty"`
}

func describe(p projections.Parked) parkedEvent {
	e := p.Event
	return parkedEvent{
		ID: visible(e.ID), Ref: refOf(e.Ref), Version: uint64(e.Version), Position: e.Position.String(), Type: e.Name,
		Time: serve.ShowTime(e.Time), User: e.User, Command: e.CommandID,
		Reason: visible(p.Reason), Since: serve.ShowTime(p.Since), Attempts: p.Attempts,
	}
}

// refOf gives the form in which bodies name an aggregate.
func refOf(ref holdfast.Ref) string {
	id, err := messages.EncodeID(ref.ID)
	if err != nil { // of a record that cannot be read
		return visible(ref.String())
	}
	return messages.FormatRef(ref.Type, id)
}

// visible gives text as JSON can hold it: keys and ids may be of any bytes.
func visible(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// A parkedQuery says what of what is parked an operator wants to see.
type parkedQuery struct {
	key               string
	generation, limit uint64
}

// parked lists keys with parked events, of one projection or all; or the events of one key.
func (d *Desk) parked(ctx context.Context, r *request) (any, error) {
	q := parkedQuery{limit: defaultParked}
	if err := serve.ReadBody(r.Body, serve.Text("key", &q.key), serve.AtMost("generation", math.MaxUint64, &q.generation),
		serve.AtMost("limit", mostParked, &q.limit)); err != nil {
		return nil, err
	}
	if r.projection == "" {
		if q.key != "" || q.generation != 0 {
			return nil, malformed("body: key and generation are of one projection: name it in the subject")
		}
		return d.parkedOfAll(ctx, q)
	}
	s, err := d.status(ctx, r.projection)
	if err != nil {
		return nil, err
	}
	if q.key != "" {
		return d.parkedUnder(ctx, s, q)
	}
	keys, err := d.keys(ctx, s, q)
	return map[string]any{"parked": shownKeys(keys)}, err
}

// An unreached projection is one whose parked events cannot be looked at now.
type unreached struct {
	Projection string `json:"projection"`
	Reason     string `json:"reason"`
}

func (d *Desk) parkedOfAll(ctx context.Context, q parkedQuery) (any, error) {
	all, err := d.cfg.Runner.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	var keys []projections.ParkedKey
	failed := []unreached{}
	for _, s := range all {
		found, err := d.keys(ctx, s, q)
		if err != nil {
			failed = append(failed, unreached{s.Name, serve.Sentence(err.Error(), "it cannot be reached")})
		}
		keys = append(keys, found...)
	}
	return map[string]any{"parked": shownKeys(keys[:min(len(keys), int(q.limit))]), "unreached": failed}, nil
}

// keys gives those with parked events of one generation.
func (d *Desk) keys(ctx context.Context, s runner.Status, q parkedQuery) ([]projections.ParkedKey, error) {
	_, sink, err := d.cfg.Runner.Sink(s.Name)
	if err != nil {
		return nil, unavailable(err)
	}
	keys, err := sink.ParkedKeys(ctx, s.Name, cmp.Or(q.generation, s.Record.Serving), int(q.limit))
	if err != nil {
		return nil, unavailable(err)
	}
	return keys, nil
}

func shownKeys(keys []projections.ParkedKey) []parkedKey {
	out := make([]parkedKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, parkedKey{
			Where: "projection", Projection: k.Unit.Projection, Generation: k.Unit.Generation, Partition: k.Unit.Partition,
			Shard: k.Unit.Shard, Key: visible(k.Key), Events: k.Events, First: describe(k.First),
		})
	}
	return out
}

// find gives the key that an operator means.
func (d *Desk) find(ctx context.Context, s runner.Status, q parkedQuery) (projections.ParkedKey, error) {
	wanted := q.key
	q.limit = maxParked
	keys, err := d.keys(ctx, s, q)
	if err != nil {
		return projections.ParkedKey{}, err
	}
	for _, k := range keys {
		if k.Key == wanted || visible(k.Key) == wanted {
			return k, nil
		}
	}
	return projections.ParkedKey{}, holdfast.Errorf(holdfast.CodeUnknown, "nothing is parked under the key %q of %s", wanted, s.Name)
}

// parkedUnder shows the parked events of a key, with what is in them.
func (d *Desk) parkedUnder(ctx context.Context, s runner.Status, q parkedQuery) (any, error) {
	k, err := d.find(ctx, s, q)
	if err != nil {
		return nil, err
	}
	p, sink, err := d.cfg.Runner.Sink(s.Name)
	if err != nil {
		return nil, unavailable(err)
	}
	all, err := sink.Parked(ctx, k.Unit, k.Key, int(q.limit))
	if err != nil {
		return nil, unavailable(err)
	}
	events := make([]parkedEvent, 0, len(all))
	for _, one := range all {
		e := describe(one)
		e.read(p, one)
		events = append(events, e)
	}
	return map[string]any{"key": shownKeys([]projections.ParkedKey{k})[0], "events": events}, nil
}

// read shows what is in an event: as this build understands it, or as it was recorded.
func (e *parkedEvent) read(p *projections.Projection, parked projections.Parked) {
	if parked.Record.Body == nil {
		e.Unread = "the sink has no room for its commit: the log has it at " + parked.Event.Position.String()
		return
	}
	unread := errors.New("this build handles no such event")
	for _, item := range p.Read(parked.Record) {
		if !covers(parked.Event, item.Event) {
			continue
		}
		if unread = item.Unread; unread == nil && item.Message != nil {
			if e.Data, unread = serve.Show(item.Message); unread == nil {
				return
			}
		}
		if unread == nil { // of Every
			unread = errors.New("it is handled as it was recorded")
		}
		break
	}
	e.Unread, e.Recorded = visible(unread.Error()), recorded(parked)
}

// covers reports whether what is parked is that event, or a whole of which it is a part.
func covers(parked, e projections.Event) bool {
	return parked.Index < 0 || e.Index < 0 || e.Index == parked.Index && (parked.Part < 0 || e.Part < 0 || e.Part == parked.Part)
}

// recorded gives the bytes of an event as they stand in its commit, or of all of it.
func recorded(parked projections.Parked) []byte {
	commit, err := persistence.Open(parked.Record.Position, parked.Record.Body)
	if err != nil || parked.Event.Index < 0 {
		return parked.Record.Body
	}
	index := parked.Event.Index
	for _, ch := range commit.Changes {
		if index < len(ch.Events) {
			return ch.Events[index].Data
		}
		index -= len(ch.Events)
	}
	return parked.Record.Body
}

// retry has what is parked tried again, under one key or all.
func (d *Desk) retry(ctx context.Context, r *request) (any, error) {
	var q parkedQuery
	var all bool
	if err := serve.ReadBody(r.Body, serve.Text("key", &q.key), serve.Into("all", "true or false", &all),
		serve.AtMost("generation", math.MaxUint64, &q.generation)); err != nil {
		return nil, err
	}
	if (q.key == "") != all {
		return nil, malformed("body: key, all: give a key, or all as true")
	}
	s, err := d.status(ctx, r.projection)
	if err != nil {
		return nil, err
	}
	o := runner.Order{Act: runner.Retry, Generation: q.generation, By: r.by}
	if !all {
		k, err := d.find(ctx, s, q)
		if err != nil {
			return nil, err
		}
		o.Key = k.Key
	}
	return d.order(ctx, r, o)
}

// skip has an event left out.
func (d *Desk) skip(ctx context.Context, r *request) (any, error) {
	o := runner.Order{Act: runner.Skip, By: r.by}
	if err := serve.ReadBody(r.Body, serve.Text("event", &o.Event), serve.Text("reason", &o.Reason),
		serve.AtMost("generation", math.MaxUint64, &o.Generation)); err != nil {
		return nil, err
	}
	if o.Event == "" {
		return nil, malformed("body: event: it is missing: name the one to leave out, by its id")
	}
	if err := checkReason(o.Reason); err != nil {
		return nil, err
	}
	return d.order(ctx, r, o)
}

// order has something done by those who run the projection, and waits a while until it is.
func (d *Desk) order(ctx context.Context, r *request, o runner.Order) (any, error) {
	number, err := d.cfg.Register.Order(ctx, r.projection, o)
	if err != nil {
		return nil, err
	}
	settle, cancel := context.WithTimeout(ctx, min(settling, d.cfg.Timeout/2))
	defer cancel()
	poll := time.NewTicker(glance)
	defer poll.Stop()
	for {
		out := d.outcome(ctx, r.projection)
		generation := cmp.Or(o.Generation, out.Projection.Record.Serving)
		out.Order = number
		out.Done, out.Left = carriedOut(out.Projection, generation, number)
		if out.Done {
			return out, nil
		}
		select {
		case <-poll.C:
		case <-settle.Done():
			return out, nil
		}
	}
}

// carriedOut reports whether all units have done what was ordered, and how many keys still
// have parked events.
func carriedOut(s runner.Status, generation, number uint64) (done bool, left int) {
	for _, g := range s.Generations {
		if g.Generation != generation {
			continue
		}
		done = len(g.Units) > 0
		for _, u := range g.Units {
			done = done && (u.Silent || u.Orders >= number)
			left = max(left, g.Parked)
		}
	}
	return done, left
}
