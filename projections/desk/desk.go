package desk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// queueGroup is shared by the desks of all nodes: each request goes to one of them.
const queueGroup = "holdfast"

const (
	// maxInFlight is how many requests may be under way: operators are few.
	maxInFlight    = 64
	maxBody        = 64 << 10
	defaultTimeout = 10 * time.Second
	// comparing is how long it may take to compare two generations.
	comparing = 15 * time.Minute
)

// A Runner knows how projections stand, and where they are kept. *[runner.Runner] is one.
type Runner interface {
	Statuses(ctx context.Context) ([]runner.Status, error)
	Sink(name string) (*projections.Projection, projections.Sink, error)
}

// Config is what a desk is started with. Timeout and what follows it have defaults.
type Config struct {
	// Context is the one whose projections are seen to.
	Context messages.Context
	// Conn carries requests and replies. The desk neither drains nor closes it. Its user need
	// not be able to publish into the context's subjects, and better is not.
	Conn *nats.Conn
	// Register takes what operators want to those who run the projections.
	Register *runner.Register
	// Runner is this node's.
	Runner Runner
	// Node is what the runner calls this node.
	Node string
	// Describe tells how far the log goes.
	Describe func(context.Context) ([]persistence.Partition, error)

	// Timeout is how long a request may take; 10 seconds by default. Comparisons have longer.
	Timeout time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
	// NewID makes references to the log; default nuid.Next.
	NewID func() string
	// Logger hears who did what, and what operators are not told; default slog.Default().
	Logger *slog.Logger
}

// withDefaults returns c with what was left empty filled in, or an error that names the field
// that is wrong.
func (c Config) withDefaults() (Config, error) {
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return c, fmt.Errorf("Context: %w", err)
	}
	switch {
	case c.Conn == nil:
		return c, errors.New("Conn is nil: give a NATS connection")
	case c.Register == nil || c.Runner == nil || c.Describe == nil:
		return c, errors.New("Register, Runner or Describe is nil: all three are needed")
	case c.Timeout < 0:
		return c, errors.New("Timeout is negative: choose a limit, or 0 for the default")
	}
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = nuid.Next
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// A Desk answers operators from Start to Stop.
type Desk struct {
	cfg      Config
	requests *serve.Service
	long     *serve.Service // those that compare
	endpoint serve.Endpoint
	sub      *nats.Subscription
	closed   <-chan nats.SubStatus // the subscription, and what it had taken is received
	// leaving ends when nothing is to be waited for any longer.
	leaving context.Context
	leave   context.CancelFunc
}

// Start answers operators' requests until Stop, or until the connection is closed.
func Start(cfg Config) (*Desk, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start the desk of projections: %w", err)
	}
	limits := serve.Config{
		Context: cfg.Context, Conn: cfg.Conn, MaxInFlight: maxInFlight, MaxInFlightBytes: maxInFlight * maxBody, MaxBody: maxBody,
		Timeout: cfg.Timeout, Now: cfg.Now, NewID: cfg.NewID, Logger: cfg.Logger,
	}
	d := &Desk{cfg: cfg, requests: serve.New(limits)}
	limits.Timeout = comparing
	d.long = serve.New(limits)
	d.leaving, d.leave = context.WithCancel(context.Background())
	d.endpoint.Handle = d.handle
	d.sub, err = cfg.Conn.QueueSubscribe(messages.ProjectionSubjects(cfg.Context), queueGroup, d.receive)
	if err != nil {
		return nil, fmt.Errorf("start the desk of projections: %w", err)
	}
	d.closed = d.sub.StatusChanged(nats.SubscriptionClosed)
	// So that a request that is sent after Start has returned is answered.
	if err := cfg.Conn.FlushTimeout(serve.StartTimeout); err != nil {
		return nil, errors.Join(fmt.Errorf("start the desk of projections: flush connection: %w", err), d.sub.Unsubscribe())
	}
	return d, nil
}

func (d *Desk) receive(m *nats.Msg) {
	s := d.requests
	if subject, err := messages.ParseProjectionSubject(m.Subject); err == nil && verbs[subject.Verb].long {
		s = d.long
	}
	s.Receive(&d.endpoint, serve.Request{
		Subject: m.Subject, Reply: m.Reply, Headers: m.Header, Body: m.Data, Garbled: serve.Garbled(m),
	})
}

// Stop takes no request any more, waits for what is under way, and returns when the replies
// have been handed to the server. What waits for the runner does so no longer. When ctx ends
// before, it has the requests break off and returns an error that says how many there were.
// Stop may be called again, also at the same time.
func (d *Desk) Stop(ctx context.Context) error {
	// Where nothing can come any more there is nothing to wait for.
	if d.cfg.Conn.IsConnected() && d.sub.Drain() == nil {
		select {
		case <-d.closed:
		case <-ctx.Done():
		}
	}
	d.leave()
	if err := errors.Join(d.long.Close(ctx), d.requests.Close(ctx)); err != nil {
		return fmt.Errorf("stop the desk of projections: %w", err)
	}
	return nil
}

// A request is one that has been understood, but for its body.
type request struct {
	*serve.Request
	verb       messages.ProjectionVerb
	projection string // empty: all
	by         string // who acts; empty of what only looks
}

// A verb says what becomes of a request.
type verb struct {
	do   func(*Desk, context.Context, *request) (any, error)
	acts bool // somebody has to say that it was him
	long bool
}

var verbs = map[messages.ProjectionVerb]verb{
	messages.ProjectionList:    {do: (*Desk).list},
	messages.ProjectionShow:    {do: (*Desk).show},
	messages.ProjectionParked:  {do: (*Desk).parked},
	messages.ProjectionPause:   {do: (*Desk).pause, acts: true},
	messages.ProjectionResume:  {do: (*Desk).resume, acts: true},
	messages.ProjectionReset:   {do: (*Desk).reset, acts: true},
	messages.ProjectionRebuild: {do: (*Desk).rebuild, acts: true},
	messages.ProjectionCompare: {do: (*Desk).compare, acts: true, long: true},
	messages.ProjectionSwitch:  {do: (*Desk).switchOver, acts: true, long: true},
	messages.ProjectionBack:    {do: (*Desk).back, acts: true},
	messages.ProjectionDrop:    {do: (*Desk).drop, acts: true},
	messages.ProjectionRetry:   {do: (*Desk).retry, acts: true},
	messages.ProjectionSkip:    {do: (*Desk).skip, acts: true},
}

// handle has a request understood and executed.
func (d *Desk) handle(ctx context.Context, came *serve.Request) (serve.Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.leaving, cancel)()
	r, err := d.parse(came)
	if err != nil {
		return serve.Answer{}, err
	}
	answer, err := verbs[r.verb].do(d, ctx, r)
	if verbs[r.verb].acts {
		d.cfg.Logger.Info("an operator has acted on a projection", "projection", r.projection, "verb", r.verb, "by", r.by, "error", err)
	}
	if err != nil {
		return serve.Answer{}, serve.Unread(ctx, err)
	}
	body, err := serve.Encode(false, nil, answer)
	if err == nil && len(body) > d.requests.Room() {
		err = holdfast.Errorf(holdfast.CodeTooLarge, "the answer takes %d bytes, there is room for %d: ask for less with limit", len(body), d.requests.Room())
	}
	return serve.Answer{Body: body}, err
}

// parse reads what a request says beside its body.
func (d *Desk) parse(came *serve.Request) (*request, error) {
	subject, err := messages.ParseProjectionSubject(came.Subject)
	if err != nil {
		return nil, malformed("%w", err)
	}
	kind := messages.Kind(subject.Verb)
	if verbs[subject.Verb].acts {
		kind = messages.KindCommand // which says on whose behalf
	}
	h, err := came.ParseHeader(kind)
	switch {
	case err != nil:
		return nil, err
	case h.Protobuf:
		return nil, malformed("header %s: the desk reads and writes %s only", messages.HeaderContentType, messages.TypeJSON)
	case h.ExpectedVersion != nil:
		return nil, malformed("header %s: a projection has no version", messages.HeaderExpectedVersion)
	case verbs[subject.Verb].acts && h.User == "":
		return nil, malformed("header %s: it is missing: say who acts", messages.HeaderUser)
	}
	return &request{Request: came, verb: subject.Verb, projection: subject.Projection, by: h.User}, nil
}

// status tells how one projection stands.
func (d *Desk) status(ctx context.Context, name string) (runner.Status, error) {
	all, err := d.cfg.Runner.Statuses(ctx)
	if err != nil {
		return runner.Status{}, err
	}
	var names []string
	for _, s := range all {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return runner.Status{}, holdfast.Errorf(holdfast.CodeUnknown, "projection %s is unknown: there are %s", name, cmp.Or(strings.Join(names, ", "), "none"))
}

// list tells how all stand, as wholes.
func (d *Desk) list(ctx context.Context, r *request) (any, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return nil, err
	}
	all, err := d.cfg.Runner.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Generations = slices.Clone(all[i].Generations)
		for j := range all[i].Generations {
			all[i].Generations[j].Units = nil
		}
		all[i].Record.Orders, all[i].Record.Resets = nil, nil
	}
	return map[string]any{"projections": append([]runner.Status{}, all...)}, nil
}

// An outcome is the answer to what concerns one projection.
type outcome struct {
	Projection runner.Status `json:"projection"`
	// Generation that was begun, or dropped.
	Generation uint64 `json:"generation,omitempty"`
	// Comparison of the generation that serves with the one that was built.
	Comparison *Comparison `json:"comparison,omitempty"`
	// Parked are the keys with parked events, of what serves and of what was built.
	Parked *[2]int `json:"parked,omitempty"`
	// Order is the number of what was ordered, Done whether it has been carried out, and Left
	// how many keys still have parked events.
	Order uint64 `json:"order,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Left  int    `json:"left,omitempty"`
}

// outcome tells how a projection stands after something was done, which it is in any case.
func (d *Desk) outcome(ctx context.Context, name string) outcome {
	s, err := d.status(ctx, name)
	if err != nil {
		s = runner.Status{Name: name}
	}
	return outcome{Projection: s}
}

func (d *Desk) show(ctx context.Context, r *request) (any, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return nil, err
	}
	s, err := d.status(ctx, r.projection)
	return outcome{Projection: s}, err
}

func malformed(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeMalformed, format, args...)
}

func conflict(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeConflict, format, args...)
}
