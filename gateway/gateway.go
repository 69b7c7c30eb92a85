package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// queueGroup is shared by the gateways of all nodes: each request goes to one of them.
const queueGroup = "holdfast"

// logReaders is how many requests may read the log at a time. A state of the past may
// need all commits of an aggregate.
const logReaders = 32

// A Gateway is a running service. [Start] makes it, Stop ends it.
type Gateway struct {
	cfg       Config
	types     map[string]holdfast.Definition
	names     string // of the types, for people
	endpoints []*endpoint
	requests  *serve.Service
	queries   *serve.Service // of read models; nil without any
	// leaving ends when queries are not to wait any longer.
	leaving context.Context
	leave   context.CancelFunc
	readers chan struct{}
	service micro.Service
	// subscriptions are how many the connection has of the service.
	subscriptions int
	// rest is how many it has without them; stopping counts them once.
	rest     int
	stopping sync.Once
}

// endpoint serves the requests of one kind.
type endpoint struct {
	serve.Endpoint
	kind    messages.Kind
	subject string
	form    string
	// requests are where its own are under way.
	requests *serve.Service
	execute  func(context.Context, *request) (serve.Answer, error)
}

// Start serves the context's subjects until Stop, or until the connection is closed.
func Start(cfg Config) (*Gateway, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start gateway: %w", err)
	}
	g := &Gateway{
		cfg:   cfg,
		types: map[string]holdfast.Definition{},
		requests: serve.New(serve.Config{
			Context: cfg.Context, Conn: cfg.Conn, Timeout: cfg.Timeout, Now: cfg.Now, NewID: cfg.NewID, Logger: cfg.Logger,
			MaxInFlight: cfg.MaxInFlight, MaxInFlightBytes: cfg.MaxInFlightBytes, MaxBody: cfg.MaxBody,
		}),
		readers: make(chan struct{}, logReaders),
	}
	g.endpoints = []*endpoint{
		{kind: messages.KindCommand, form: "<type>.<id>.<Command>", execute: g.command},
		{kind: messages.KindGet, form: "<type>.<id>", execute: g.get},
		{kind: messages.KindHistory, form: "<type>.<id>", execute: g.history},
	}
	for _, e := range g.endpoints {
		e.subject, e.requests = g.prefix(e)+">", g.requests
		e.Handle = func(ctx context.Context, r *serve.Request) (serve.Answer, error) { return g.handle(ctx, e, r) }
	}
	if cfg.Views != nil {
		g.addViews()
	}
	if err := g.addTypes(); err != nil {
		return nil, fmt.Errorf("start gateway: %w", err)
	}
	if err := g.serve(); err != nil {
		return nil, fmt.Errorf("start gateway: %w", err)
	}
	return g, nil
}

func (g *Gateway) addTypes() error {
	names := make([]string, 0, len(g.cfg.Types))
	for _, def := range g.cfg.Types {
		if g.types[def.Name()] != nil {
			return fmt.Errorf("Types has two types named %s: one of them could not be reached", def.Name())
		}
		g.types[def.Name()] = def
		names = append(names, def.Name())
	}
	slices.Sort(names)
	g.names = strings.Join(names, ", ")
	return nil
}

func (g *Gateway) serve() error {
	before := g.cfg.Conn.NumSubscriptions()
	service, err := micro.AddService(g.cfg.Conn, micro.Config{
		Name:        messages.ServiceName(g.cfg.Context),
		Version:     g.cfg.Version,
		Description: "The aggregates of the context " + string(g.cfg.Context),
		Metadata: map[string]string{
			"context": string(g.cfg.Context), "types": g.names, messages.MetadataLog: string(g.cfg.Log),
		},
		QueueGroup:   queueGroup,
		StatsHandler: g.microStats,
		ErrorHandler: g.asyncError,
	})
	if err != nil {
		return err
	}
	for _, e := range g.endpoints {
		err := service.AddEndpoint(string(e.kind), micro.HandlerFunc(func(r micro.Request) { g.receive(e, r) }),
			micro.WithEndpointSubject(e.subject),
			micro.WithEndpointMetadata(g.metadata(e)),
			micro.WithEndpointPendingLimits(g.cfg.pending, pendingBytes))
		if err != nil {
			return errors.Join(fmt.Errorf("add endpoint %s: %w", e.kind, err), service.Stop())
		}
	}
	// So that a request that is sent after Start has returned is answered.
	if err := g.cfg.Conn.FlushTimeout(serve.StartTimeout); err != nil {
		return errors.Join(fmt.Errorf("flush connection: %w", err), service.Stop())
	}
	g.service, g.subscriptions = service, g.cfg.Conn.NumSubscriptions()-before
	return nil
}

func (g *Gateway) prefix(e *endpoint) string {
	return string(g.cfg.Context) + "." + string(e.kind) + "."
}

// ofAggregates reports whether the endpoint is for aggregates, and not for read models.
func (e *endpoint) ofAggregates() bool { return e.execute != nil }

// metadata tells somebody who explores the service how its subjects are formed.
func (g *Gateway) metadata(e *endpoint) map[string]string {
	if !e.ofAggregates() {
		return map[string]string{"subject": strings.TrimSuffix(e.subject, ".>") + e.form, "content-types": messages.TypeJSON}
	}
	m := map[string]string{"subject": g.prefix(e) + e.form, "content-types": messages.TypeJSON + ", " + messages.TypeProtobuf}
	if e.kind == messages.KindCommand {
		for name, def := range g.types {
			m["commands."+name] = serve.Commands(def)
		}
	}
	return m
}

// Stop has the server send no more requests, takes those that it has sent, waits for what
// is under way, and returns when the replies have been handed to the server. When ctx ends
// before, it has the requests break off and returns an error that says how many there
// were; those that had reached the connection but not the gateway are answered with 503.
// Drain the connection afterwards, so that those answers arrive. Stop may be called again,
// also at the same time.
func (g *Gateway) Stop(ctx context.Context) error {
	g.stopping.Do(func() { g.rest = g.cfg.Conn.NumSubscriptions() - g.subscriptions })
	err := g.service.Stop()
	g.receiveRest(ctx)
	if g.queries != nil {
		g.leave()
		err = errors.Join(err, g.queries.Close(ctx))
	}
	if err := errors.Join(err, g.requests.Close(ctx)); err != nil {
		return fmt.Errorf("stop gateway: %w", err)
	}
	return nil
}

// receiveRest waits until what the server has sent has been received, while it can be.
func (g *Gateway) receiveRest(ctx context.Context) {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for g.cfg.Conn.IsConnected() && g.cfg.Conn.NumSubscriptions() > g.rest {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}
