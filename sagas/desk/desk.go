package desk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas"
)

// queueGroup is shared by the desks of all nodes: each request goes to one of them.
const queueGroup = "holdfast"

const (
	// maxInFlight is how many requests may be under way: operators are few.
	maxInFlight = 64
	// maxBody is how many bytes a request's body may have, a command in it included.
	maxBody        = 512 << 10
	defaultTimeout = 10 * time.Second
)

// Config is what a desk is started with. Timeout and what follows it have defaults.
type Config struct {
	// Context is the one whose sagas are seen to.
	Context messages.Context
	// Conn carries requests and replies. The desk neither drains nor closes it. Its user need
	// not be able to publish into the context's subjects, and better is not.
	Conn *nats.Conn
	// Book has the sagas.
	Book *sagas.Book
	// List has those that are not over.
	List *List
	// Sender takes operators' actions to the sagas.
	Sender holdfast.Sender
	// Viewer shows where sagas stand.
	Viewer holdfast.Viewer
	// Reader reads their histories.
	Reader persistence.Reader

	// Timeout is how long a request may take; 10 seconds by default.
	Timeout time.Duration
	// Now is the clock that stamps actions, and tells how old a saga is; default time.Now.
	Now func() time.Time
	// NewID makes ids, of actions that came without one; default nuid.Next.
	NewID func() string
	// Logger hears what operators are not told; default slog.Default().
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
	case c.Book == nil || c.List == nil:
		return c, errors.New("Book or List is nil: both are needed")
	case c.Sender == nil || c.Viewer == nil || c.Reader == nil:
		return c, errors.New("Sender, Viewer or Reader is nil: all three are needed")
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
	endpoint serve.Endpoint
	listener *serve.Listener
}

// Start answers operators' requests until Stop, or until the connection is closed.
func Start(cfg Config) (*Desk, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start desk: %w", err)
	}
	d := &Desk{cfg: cfg, requests: serve.New(serve.Config{
		Context: cfg.Context, Conn: cfg.Conn, MaxInFlight: maxInFlight, MaxInFlightBytes: maxInFlight * maxBody, MaxBody: maxBody,
		Timeout: cfg.Timeout, Now: cfg.Now, NewID: cfg.NewID, Logger: cfg.Logger,
	})}
	d.endpoint.Handle = d.handle
	if d.listener, err = d.requests.Listen(messages.DeskSubjects(cfg.Context), queueGroup, &d.endpoint); err != nil {
		return nil, fmt.Errorf("start desk: %w", err)
	}
	return d, nil
}

// Stop takes no request any more, waits for what is under way, and returns when the replies
// have been handed to the server. When ctx ends before, it has the requests break off and
// returns an error that says how many there were. Stop may be called again, also at the same
// time.
func (d *Desk) Stop(ctx context.Context) error {
	if err := d.listener.Stop(ctx); err != nil {
		return fmt.Errorf("stop desk: %w", err)
	}
	return nil
}

// A request is one that has been understood, but for its body.
type request struct {
	*serve.Request
	header messages.RequestHeader
	verb   messages.DeskVerb
	saga   *sagas.Saga // not of DeskList, as what follows
	id     messages.ID
	ref    holdfast.Ref
}

// name of the saga, for people and machines.
func (r *request) name() string { return messages.FormatRef(r.ref.Type, r.id) }

// handle has a request understood and executed.
func (d *Desk) handle(ctx context.Context, came *serve.Request) (serve.Answer, error) {
	r, err := d.parse(came)
	if err != nil {
		return serve.Answer{}, err
	}
	switch r.verb {
	case messages.DeskList:
		return d.list(ctx, r)
	case messages.DeskShow:
		return d.show(ctx, r)
	default:
		return d.act(ctx, r)
	}
}

// parse reads what a request says beside its body.
func (d *Desk) parse(came *serve.Request) (*request, error) {
	subject, err := messages.ParseDeskSubject(came.Subject)
	if err != nil {
		return nil, malformed("%w", err)
	}
	r := &request{Request: came, verb: subject.Verb, id: subject.ID, ref: holdfast.Ref{Type: subject.Saga, ID: subject.ID.Raw()}}
	if r.verb != messages.DeskList {
		if r.saga, err = d.saga(subject.Saga); err != nil {
			return nil, err
		}
	}
	kind := messages.KindCommand // an action is one
	if r.verb == messages.DeskList || r.verb == messages.DeskShow {
		kind = messages.Kind(r.verb)
	}
	if r.header, err = came.ParseHeader(kind); err != nil {
		return nil, err
	}
	if r.header.Protobuf {
		return nil, malformed("header %s: the desk reads and writes %s only", messages.HeaderContentType, messages.TypeJSON)
	}
	return r, nil
}

func (d *Desk) saga(name string) (*sagas.Saga, error) {
	s := d.cfg.Book.Saga(name)
	if s == nil {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "saga %s is unknown: there are %s", name, cmp.Or(strings.Join(d.cfg.Book.Names(), ", "), "none"))
	}
	return s, nil
}

func malformed(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeMalformed, format, args...)
}
