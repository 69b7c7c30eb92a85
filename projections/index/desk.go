package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

const (
	// queueGroup is shared by the nodes: each request goes to one of them.
	queueGroup     = "holdfast"
	maxInFlight    = 16
	maxBody        = 16 << 10
	defaultTimeout = 10 * time.Second
)

// A Source has the index that serves.
type Source interface {
	// Query calls do with a batch that only reads.
	Query(ctx context.Context, do func(projections.Batch) error) error
}

// Config is what a desk is started with. Timeout and Logger have defaults.
type Config struct {
	Context messages.Context
	// Conn carries requests and replies. The desk neither drains nor closes it.
	Conn   *nats.Conn
	Source Source
	// Timeout is how long a request may take; 10 seconds by default.
	Timeout time.Duration
	Logger  *slog.Logger
}

// A Desk answers operators who ask the index, from Start to Stop.
type Desk struct {
	cfg      Config
	requests *serve.Service
	endpoint serve.Endpoint
	listener *serve.Listener
}

// Start answers requests until Stop, or until the connection is closed.
func Start(cfg Config) (*Desk, error) {
	if cfg.Conn == nil || cfg.Source == nil {
		return nil, errors.New("start the index desk: Conn or Source is nil: both are needed")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	d := &Desk{cfg: cfg, requests: serve.New(serve.Config{
		Context: cfg.Context, Conn: cfg.Conn, MaxInFlight: maxInFlight, MaxInFlightBytes: maxInFlight * maxBody, MaxBody: maxBody,
		Timeout: cfg.Timeout, Now: time.Now, NewID: nuid.Next, Logger: cfg.Logger,
	})}
	d.endpoint.Handle = d.handle
	var err error
	if d.listener, err = d.requests.Listen(messages.IndexSubjects(cfg.Context), queueGroup, &d.endpoint); err != nil {
		return nil, fmt.Errorf("start the index desk: %w", err)
	}
	return d, nil
}

// Stop takes no request any more, and waits for what is under way as long as ctx allows. It
// bears repetition.
func (d *Desk) Stop(ctx context.Context) error {
	if err := d.listener.Stop(ctx); err != nil {
		return fmt.Errorf("stop the index desk: %w", err)
	}
	return nil
}

func (d *Desk) handle(ctx context.Context, r *serve.Request) (serve.Answer, error) {
	_, verb, err := messages.ParseIndexSubject(r.Subject)
	if err != nil {
		return serve.Answer{}, malformed("%w", err)
	}
	h, err := r.ParseHeader(messages.Kind(verb))
	if err != nil {
		return serve.Answer{}, err
	}
	if h.Protobuf {
		return serve.Answer{}, malformed("header %s: the index reads and writes %s only", messages.HeaderContentType, messages.TypeJSON)
	}
	answer := d.events
	if verb == messages.IndexExplain {
		answer = d.explain
	}
	v, err := answer(ctx, r.Body)
	if err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	body, err := serve.Encode(false, nil, v)
	if err == nil && len(body) > d.requests.Room() {
		err = holdfast.Errorf(holdfast.CodeTooLarge, "the answer takes %d bytes, a message has room for %d: raise max_payload of the NATS server", len(body), d.requests.Room())
	}
	return serve.Answer{Body: body}, err
}

func (d *Desk) events(ctx context.Context, body []byte) (any, error) {
	var q Query
	limit := uint64(defaultLimit)
	err := serve.ReadBody(body,
		serve.Text("event", &q.Event), serve.Text("ref", &q.Ref), moment("since", &q.Since), moment("until", &q.Until),
		serve.Text("correlationId", &q.CorrelationID), serve.Text("causationId", &q.CausationID), serve.Text("commandId", &q.CommandID),
		serve.Text("user", &q.User), serve.Text("after", &q.After), serve.AtMost("limit", maxLimit, &limit))
	if err != nil {
		return nil, err
	}
	q.Limit = int(limit)
	if _, err := q.statement(); err != nil { // before anything is asked of the database
		return nil, err
	}
	var page Page
	err = d.cfg.Source.Query(ctx, func(b projections.Batch) (err error) {
		page, err = Find(projections.NewRows(b), q, d.requests.Room())
		return err
	})
	return page, err
}

func (d *Desk) explain(ctx context.Context, body []byte) (any, error) {
	var id string
	if err := serve.ReadBody(body, serve.Text("commandId", &id)); err != nil {
		return nil, err
	}
	if err := messages.CheckCommandID(id); err != nil {
		return nil, malformed("body: commandId: %w", err)
	}
	var story Story
	err := d.cfg.Source.Query(ctx, func(b projections.Batch) (err error) {
		story, err = Explain(projections.NewRows(b), id, d.requests.Room())
		return err
	})
	return story, err
}

func moment(name string, to **time.Time) serve.Member {
	return serve.Into(name, "a time such as 2026-03-14T09:26:53Z (RFC 3339)", to)
}
