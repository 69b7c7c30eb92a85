package gateway

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// state is the JSON form of messages.GetReply.
type state struct {
	Ref      string          `json:"ref"`
	Version  uint64          `json:"version"`
	Position string          `json:"position"`
	Time     string          `json:"time"`
	State    json.RawMessage `json:"state"`
}

// get shows the state, now or at an earlier moment.
func (g *Gateway) get(ctx context.Context, r *request) (serve.Answer, error) {
	if !serve.Blank(r.Body) && (r.header.Protobuf || strings.TrimSpace(string(r.Body)) != "{}") {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeMalformed, "body: a get has none; %s and %s ask for the past",
			messages.HeaderAsOfVersion, messages.HeaderAsOf)
	}
	var view holdfast.View
	var err error
	switch {
	case r.header.AsOf != nil:
		view, err = g.asOfTime(ctx, r, *r.header.AsOf)
	case r.header.AsOfVersion != nil:
		view, err = g.asOfVersion(ctx, r, holdfast.Version(*r.header.AsOfVersion))
	default:
		view, err = g.cfg.Viewer.View(ctx, r.ref)
	}
	if err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	return g.state(r, view)
}

func (g *Gateway) state(r *request, view holdfast.View) (serve.Answer, error) {
	reply := &messages.GetReply{
		Ref:       messages.FormatRef(r.subject.Type, r.subject.ID),
		Version:   uint64(view.Version),
		Position:  view.Position.String(),
		Time:      view.Time.UnixNano(),
		StateType: string(proto.MessageName(view.State)),
	}
	var shown json.RawMessage
	var err error
	if r.header.Protobuf {
		reply.State, err = proto.MarshalOptions{Deterministic: true}.Marshal(view.State)
	} else {
		shown, err = serve.Show(view.State)
	}
	if err != nil {
		return serve.Answer{}, err
	}
	body, err := serve.Encode(r.header.Protobuf, reply, state{
		Ref: reply.Ref, Version: reply.Version, Position: reply.Position, Time: serve.ShowTime(view.Time), State: shown,
	})
	if err != nil {
		return serve.Answer{}, err
	}
	if len(body) > g.requests.Room() {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeTooLarge, "the state at version %d takes %d bytes, an answer has room for %d", view.Version, len(body), g.requests.Room())
	}
	return serve.Answer{Header: serve.Header(view.Version, view.Position), Body: body}, nil
}

// moment is up to where events are folded.
type moment struct {
	version holdfast.Version
	time    time.Time // the zero time: whenever it was
}

func (m moment) includes(version uint64, nanos int64) bool {
	return version <= uint64(m.version) && (m.time.IsZero() || !time.Unix(0, nanos).After(m.time))
}

func (g *Gateway) asOfVersion(ctx context.Context, r *request, v holdfast.Version) (holdfast.View, error) {
	if v == 0 {
		return holdfast.View{}, holdfast.Errorf(holdfast.CodeUnknown, "%s: at version 0 nothing has happened yet", r.name())
	}
	return g.past(ctx, r, v, moment{version: v})
}

func (g *Gateway) asOfTime(ctx context.Context, r *request, t time.Time) (holdfast.View, error) {
	if now := g.cfg.Now(); t.After(now) {
		return holdfast.View{}, holdfast.Errorf(holdfast.CodeMalformed, "header %s: %s is in the future, it is %s now",
			messages.HeaderAsOf, serve.ShowTime(t), serve.ShowTime(now))
	}
	return g.past(ctx, r, 0, moment{version: math.MaxUint64, time: t})
}

// past folds the events up to a moment, from the first one. at is the version that must
// be there, or 0.
func (g *Gateway) past(ctx context.Context, r *request, at holdfast.Version, m moment) (holdfast.View, error) {
	if r.def.NewSaved() == nil {
		return holdfast.View{}, holdfast.Errorf(holdfast.CodeUnknown, "type %s has no state to show", r.subject.Type)
	}
	leave, err := g.enterLog(ctx)
	if err != nil {
		return holdfast.View{}, err
	}
	defer leave()
	commits, err := g.commitsUntil(ctx, r, at, m)
	if err != nil {
		return holdfast.View{}, err
	}
	view := holdfast.View{Ref: r.ref}
	folded := r.def.Zero()
	err = persistence.EachEvent(commits, func(c persistence.Commit, version uint64, ch *messages.Change, e *messages.Event) (bool, error) {
		if err := ctx.Err(); err != nil || !m.includes(version, ch.Time) {
			return false, err
		}
		var err error
		folded, err = persistence.Fold(r.def, folded, []*messages.Event{e})
		view.Version, view.Position, view.Time = holdfast.Version(version), c.Position, time.Unix(0, ch.Time)
		return true, err
	})
	if err != nil {
		return holdfast.View{}, err
	}
	if view.Version == 0 {
		return holdfast.View{}, holdfast.Errorf(holdfast.CodeUnknown, "%s: nothing had happened yet at %s", r.name(), serve.ShowTime(m.time))
	}
	view.State = r.def.Save(folded)
	return view, nil
}

// commitsUntil gives the commits that hold the events up to a moment, newest first.
func (g *Gateway) commitsUntil(ctx context.Context, r *request, at holdfast.Version, m moment) ([]persistence.Commit, error) {
	var commits []persistence.Commit
	first := true
	for c, err := range g.cfg.Reader.Backwards(ctx, r.ref, at) {
		if err != nil {
			return nil, err
		}
		if first && c.LastVersion < uint64(at) {
			return nil, holdfast.Errorf(holdfast.CodeUnknown, "%s: there is no version %d yet, it is at version %d", r.name(), at, c.LastVersion)
		}
		first = false
		if len(c.Changes) > 0 && m.includes(c.FirstVersion, c.Changes[0].Time) {
			commits = append(commits, c)
		}
	}
	if first {
		return nil, r.nothing()
	}
	return commits, nil
}

// enterLog waits for its turn to read the log; leave ends the turn.
func (g *Gateway) enterLog(ctx context.Context) (leave func(), err error) {
	select {
	case g.readers <- struct{}{}:
		return func() { <-g.readers }, nil
	case <-ctx.Done():
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "too many requests are reading the log: send it again later")
	}
}

// name of the aggregate, for people.
func (r *request) name() string { return messages.FormatRef(r.subject.Type, r.subject.ID) }

// nothing is the error that there is no such aggregate.
func (r *request) nothing() error {
	return holdfast.Errorf(holdfast.CodeUnknown, "%s: nothing has happened to it yet", r.name())
}
