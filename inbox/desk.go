package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	// operators are few, and say little.
	operators        = 64
	operatorsBody    = 16 << 10
	operatorsTimeout = 10 * time.Second
	// settling is how long an operator is kept waiting until a wish is done.
	settling = 4 * time.Second
	glance   = 25 * time.Millisecond
)

// DeskConfig is what [Inbox.ServeOperators] needs. Conn is required.
type DeskConfig struct {
	// Conn carries operators' requests and the answers. The desk neither drains nor closes it.
	// Its user should not be able to publish into the context's subjects.
	Conn *nats.Conn
	// Timeout is how long a request may take; 10 seconds by default.
	Timeout time.Duration
	// NewID makes references to the log; nuid.Next by default.
	NewID func() string
}

// A Desk answers operators from ServeOperators to Stop.
type Desk struct {
	inbox    *Inbox
	timeout  time.Duration
	requests *serve.Service
	endpoint serve.Endpoint
	listener *serve.Listener
}

// ServeOperators answers operators' requests on <context>.parked.> until Stop, or until the
// connection is closed. Clients must not reach them.
func (b *Inbox) ServeOperators(c DeskConfig) (*Desk, error) {
	switch {
	case c.Conn == nil:
		return nil, errors.New("serve the operators of the inbox: Conn is nil: give a NATS connection")
	case c.Timeout < 0:
		return nil, errors.New("serve the operators of the inbox: Timeout is negative: choose a limit, or 0 for the default")
	}
	c.Timeout = cmp.Or(c.Timeout, operatorsTimeout)
	if c.NewID == nil {
		c.NewID = nuid.Next
	}
	d := &Desk{inbox: b, timeout: c.Timeout, requests: serve.New(serve.Config{
		Context: b.config.Context, Conn: c.Conn, MaxInFlight: operators, MaxInFlightBytes: operators * operatorsBody, MaxBody: operatorsBody,
		Timeout: c.Timeout, Now: b.config.Now, NewID: c.NewID, Logger: b.config.Logger,
	})}
	d.endpoint.Handle = d.handle
	var err error
	if d.listener, err = d.requests.Listen(messages.ParkedSubjects(b.config.Context), queueGroup, &d.endpoint); err != nil {
		return nil, fmt.Errorf("serve the operators of the inbox: %w", err)
	}
	return d, nil
}

// Stop takes no request any more, and waits for what is under way as long as ctx allows. It
// bears repetition.
func (d *Desk) Stop(ctx context.Context) error {
	if err := d.listener.Stop(ctx); err != nil {
		return fmt.Errorf("stop serving the operators of the inbox: %w", err)
	}
	return nil
}

func (d *Desk) handle(ctx context.Context, r *serve.Request) (serve.Answer, error) {
	subject, err := messages.ParseParkedSubject(r.Subject)
	if err != nil {
		return serve.Answer{}, malformed("%w", err)
	}
	acts := subject.Verb == messages.ParkedRetry || subject.Verb == messages.ParkedSkip
	by, err := operatorOf(r, subject.Verb, acts)
	if err != nil {
		return serve.Answer{}, err
	}
	answer, err := d.answer(ctx, subject, by, r.Body)
	if acts {
		d.inbox.config.Logger.Info("an operator has acted on the inbox", "verb", subject.Verb, "ref", messages.FormatRef(subject.Type, subject.ID), "by", by, "error", err)
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

// operatorOf gives who acts; nobody where it is only looked at.
func operatorOf(r *serve.Request, verb messages.ParkedVerb, acts bool) (string, error) {
	kind := messages.Kind(verb)
	if acts {
		kind = messages.KindCommand // which says on whose behalf
	}
	h, err := r.ParseHeader(kind)
	switch {
	case err != nil:
		return "", err
	case h.Protobuf:
		return "", malformed("header %s: the desk reads and writes %s only", messages.HeaderContentType, messages.TypeJSON)
	case h.ExpectedVersion != nil:
		return "", malformed("header %s: what is parked has no version", messages.HeaderExpectedVersion)
	case acts && h.User == "":
		return "", malformed("header %s: it is missing: say who acts", messages.HeaderUser)
	}
	return h.User, nil
}

func (d *Desk) answer(ctx context.Context, s messages.ParkedSubject, by string, body []byte) (any, error) {
	of := holdfast.Ref{Type: s.Type, ID: s.ID.Raw()}
	var id, reason string
	switch s.Verb {
	case messages.ParkedStatus:
		if err := serve.ReadBody(body); err != nil {
			return nil, err
		}
		return d.inbox.Backlog(ctx)
	case messages.ParkedList:
		return d.list(ctx, body)
	case messages.ParkedShow:
		if err := serve.ReadBody(body); err != nil {
			return nil, err
		}
		shown, err := d.inbox.Show(ctx, of)
		return struct {
			place
			Shown
		}{inTheInbox, shown}, err
	case messages.ParkedRetry:
		if err := serve.ReadBody(body, serve.Text("commandId", &id)); err != nil {
			return nil, err
		}
		return d.settle(ctx, of, func() (*mark, error) { return d.inbox.retry(ctx, of, id, by) })
	default: // ParkedSkip
		if err := serve.ReadBody(body, serve.Text("commandId", &id), serve.Text("reason", &reason)); err != nil {
			return nil, err
		}
		return d.settle(ctx, of, func() (*mark, error) { return d.inbox.skip(ctx, of, id, by, reason) })
	}
}

// A place says of what is parked that it is the inbox's, and not a projection's.
type place struct {
	Where string `json:"where"`
}

var inTheInbox = place{"inbox"}

type listed struct {
	place
	Parked
}

func (d *Desk) list(ctx context.Context, body []byte) (any, error) {
	var f Filter
	var after string
	var limit uint64
	if err := serve.ReadBody(body, serve.Text("type", &f.Type), serve.Text("command", &f.Command), serve.Text("code", &f.Code),
		serve.Text("after", &after), serve.AtMost("limit", maxPage, &limit)); err != nil {
		return nil, err
	}
	found, next, err := d.inbox.Parked(ctx, f, Page{After: after, Limit: int(limit)})
	all := make([]listed, 0, len(found))
	for _, p := range found {
		all = append(all, listed{inTheInbox, p})
	}
	return map[string]any{"parked": all, "next": next}, err
}

// An acted tells what has become of an operator's wish.
type acted struct {
	Ref       string `json:"ref"`
	CommandID string `json:"commandId"`
	// Done: the command was tried, or skipped. If not, that will happen yet.
	Done bool `json:"done"`
	// Parked is what is parked of the aggregate then; null when nothing is.
	Parked *Parked `json:"parked"`
}

// settle waits a while until a wish is done.
func (d *Desk) settle(ctx context.Context, of holdfast.Ref, wish func() (*mark, error)) (any, error) {
	m, err := wish()
	if err != nil {
		return nil, err
	}
	out := acted{Ref: m.Ref, CommandID: m.CommandID, Parked: &m.Parked}
	id, err := messages.EncodeID(of.ID)
	if err != nil {
		return nil, malformed("%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, min(settling, d.timeout/2))
	defer cancel()
	poll := time.NewTicker(glance)
	defer poll.Stop()
	for {
		now, err := d.inbox.mark(ctx, of.Type+"."+id.String())
		switch {
		case err != nil: // it is wished all the same
		case now == nil:
			out.Done, out.Parked = true, nil
			return out, nil
		case now.revision > m.revision && now.Wish == nil && now.Verdict == nil:
			out.Done, out.Parked = true, &now.Parked
			return out, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return out, nil
		}
	}
}

func malformed(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeMalformed, format, args...)
}
