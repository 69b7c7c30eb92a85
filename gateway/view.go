package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// Views are the read models that clients may query.
type Views interface {
	// Views lists them, by name.
	Views(ctx context.Context) ([]View, error)
	// Await returns when a read model has had all events up to a position. When ctx ends
	// before that it returns how far it has come, and an error.
	Await(ctx context.Context, projection string, after holdfast.Position) (holdfast.Position, error)
	// Answer gives what stands under a key, in JSON: nil when there is nothing. All events up
	// to the positions, one of each partition, are in it. The error is ErrUnknown when there
	// is no such read model, or none that answers; and ErrBehind when what answers has not had
	// all events up to the positions after, since it took the place of what was awaited.
	Answer(ctx context.Context, projection, key string, after ...holdfast.Position) ([]byte, []holdfast.Position, error)
	// Describe tells how far the log goes.
	Describe(ctx context.Context) ([]persistence.Partition, error)
}

// A View says where a read model is.
type View struct {
	Projection string `json:"projection"`
	// Form is what it is made of: rows or documents.
	Form string `json:"form"`
	// Where it is kept, for people, and Bucket the NATS KV bucket that any client may watch,
	// if it is one.
	Where  string `json:"where"`
	Bucket string `json:"bucket,omitempty"`
	// Generation that serves, and up to where it has come, a position of each partition.
	Generation uint64 `json:"generation"`
	Position   string `json:"position"`
	// Answers reports whether it answers on <context>.view.<projection>.<key>.
	Answers bool `json:"answers"`
}

// maxWaiting is how many queries may be under way. They have room of their own: however many
// wait for a read model that stands still, commands go on.
const maxWaiting = 2048

// viewForm follows the kind in the subjects of queries.
const viewForm = "<projection>.<key>"

// kindViews is that of the one subject which lists the read models.
const kindViews messages.Kind = "views"

// shown is what a query is answered with.
type shown struct {
	Projection string          `json:"projection"`
	Key        string          `json:"key"`
	Position   string          `json:"position"`
	Value      json.RawMessage `json:"value"`
}

// addViews makes the endpoints of queries.
func (g *Gateway) addViews() {
	cfg := g.cfg
	g.leaving, g.leave = context.WithCancel(context.Background())
	g.queries = serve.New(serve.Config{
		Context: cfg.Context, Conn: cfg.Conn, Timeout: cfg.Timeout, Now: cfg.Now, NewID: cfg.NewID, Logger: cfg.Logger,
		MaxInFlight: min(maxWaiting, cfg.MaxInFlight), MaxInFlightBytes: cfg.MaxInFlightBytes, MaxBody: cfg.MaxBody,
	})
	for _, e := range []*endpoint{
		{kind: messages.KindView, subject: cfg.Context.ViewSubjects(), form: "." + viewForm},
		{kind: kindViews, subject: cfg.Context.ViewsSubject()},
	} {
		e.requests = g.queries
		e.Handle = g.view
		if e.kind == kindViews {
			e.Handle = g.listViews
		}
		g.endpoints = append(g.endpoints, e)
	}
}

// parseView reads what a query says beside its subject.
func parseView(r *serve.Request) (messages.RequestHeader, error) {
	h, err := r.ParseHeader(messages.KindView)
	switch {
	case err != nil:
		return h, err
	case h.Protobuf:
		return h, holdfast.Errorf(holdfast.CodeMalformed, "header %s: read models are shown in %s only", messages.HeaderContentType, messages.TypeJSON)
	case !serve.Blank(r.Body) && strings.TrimSpace(string(r.Body)) != "{}":
		return h, holdfast.Errorf(holdfast.CodeMalformed, "body: a query has none; the key stands in the subject")
	}
	return h, nil
}

// view answers a query.
func (g *Gateway) view(ctx context.Context, r *serve.Request) (serve.Answer, error) {
	subject, err := messages.ParseViewSubject(r.Subject)
	if err != nil {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	h, err := parseView(r)
	if err != nil {
		return serve.Answer{}, err
	}
	var after []holdfast.Position
	for _, text := range h.After {
		p, err := holdfast.ParsePosition(text)
		if err != nil {
			return serve.Answer{}, holdfast.Errorf(holdfast.CodeMalformed, "header %s: %w", messages.HeaderAfter, err)
		}
		after = append(after, p)
	}
	value, header, err := g.answer(ctx, subject, after)
	if err != nil {
		return serve.Answer{Header: header}, err
	}
	if value == nil {
		return serve.Answer{Header: header}, holdfast.Errorf(holdfast.CodeUnknown, "%s has nothing under the key %s", subject.Projection, subject.Key)
	}
	body, err := serve.Encode(false, nil, shown{subject.Projection, subject.Key.String(), header.Get(messages.HeaderPosition), value})
	if err != nil {
		return serve.Answer{}, fmt.Errorf("show %s of %s: %w", subject.Key, subject.Projection, err)
	}
	if len(body) > g.queries.Room() {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeTooLarge, "what stands there takes %d bytes, an answer has room for %d", len(body), g.queries.Room())
	}
	return serve.Answer{Header: header, Body: body}, nil
}

// answer asks a read model once it is at the positions, and again when another one has taken its
// place meanwhile. The header tells how far it is, also beside some errors.
func (g *Gateway) answer(ctx context.Context, subject messages.ViewSubject, after []holdfast.Position) ([]byte, nats.Header, error) {
	for {
		for _, p := range after {
			if at, err := g.await(ctx, subject.Projection, p); err != nil {
				return nil, at, err
			}
		}
		value, at, err := g.cfg.Views.Answer(ctx, subject.Projection, subject.Key.Raw(), after...)
		if errors.Is(err, holdfast.ErrBehind) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, nil, serve.Unread(ctx, err)
		}
		return value, positions(at...), nil
	}
}

// positions tells how far a read model has come.
func positions(at ...holdfast.Position) nats.Header {
	texts := make([]string, 0, len(at))
	for _, p := range at {
		texts = append(texts, p.String())
	}
	return nats.Header{messages.HeaderPosition: {strings.Join(texts, ",")}}
}

// suspicion is how long a query waits before it asks whether there is such a position at all.
const suspicion = 100 * time.Millisecond

// await waits until a read model is at a position. Beside its error it tells how far that is.
func (g *Gateway) await(ctx context.Context, projection string, after holdfast.Position) (nats.Header, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(g.leaving, stop)()
	soon, cancel := context.WithTimeout(ctx, suspicion)
	defer cancel()
	at, err := g.cfg.Views.Await(soon, projection, after)
	if err == nil {
		return nil, nil
	}
	if ctx.Err() == nil && (soon.Err() != nil || errors.Is(err, holdfast.ErrMalformed)) {
		if err := g.checkPosition(ctx, after); err != nil {
			return nil, serve.Unread(ctx, err)
		}
		if at, err = g.cfg.Views.Await(ctx, projection, after); err == nil {
			return nil, nil
		}
	}
	switch {
	case ctx.Err() == nil:
		return nil, err
	case g.leaving.Err() != nil:
		return positions(at), holdfast.Errorf(holdfast.CodeUnavailable, "this node is stopping, and %s is at %s: ask again", projection, at)
	}
	if why, ok := errors.AsType[*holdfast.Error](err); ok { // which may say what is in the way
		return positions(at), holdfast.Errorf(holdfast.CodeBehind, "%s: ask again", why.Message)
	}
	return positions(at), holdfast.Errorf(holdfast.CodeBehind, "%s is at %s and has not come to %s in time: ask again", projection, at, after)
}

// checkPosition says what is wrong with a position that the log does not have.
func (g *Gateway) checkPosition(ctx context.Context, after holdfast.Position) error {
	partitions, err := g.cfg.Views.Describe(ctx)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if p.Number != after.Partition() {
			continue
		}
		if end := holdfast.NewPosition(p.Number, p.Last); end.Before(after) {
			return holdfast.Errorf(holdfast.CodeMalformed, "header %s: %s is beyond the end of this log, %s: it is of another context, or of a log that is no more",
				messages.HeaderAfter, after, end)
		}
		return nil
	}
	return holdfast.Errorf(holdfast.CodeMalformed, "header %s: %s is of a partition that this log does not have (it has %d): it is of another context",
		messages.HeaderAfter, after, len(partitions))
}

// listViews tells which read models there are.
func (g *Gateway) listViews(ctx context.Context, r *serve.Request) (serve.Answer, error) {
	h, err := parseView(r)
	if err != nil {
		return serve.Answer{}, err
	}
	if len(h.After) > 0 {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeMalformed, "header %s: it is for queries of one read model", messages.HeaderAfter)
	}
	views, err := g.cfg.Views.Views(ctx)
	if err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	body, err := serve.Encode(false, nil, map[string][]View{"views": append([]View{}, views...)})
	return serve.Answer{Body: body}, err
}
