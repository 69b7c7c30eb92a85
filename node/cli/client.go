package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	longestAttempt = 5 * time.Second
	connectTimeout = 5 * time.Second
	reconnectWait  = 100 * time.Millisecond
	// answerGrace is how long the answer to a command in flight is awaited when the
	// user wants to stop.
	answerGrace = 2 * time.Second

	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// A client asks a node over one connection. Safe for concurrent use.
type client struct {
	cfg     Config
	timeout time.Duration
	context messages.Context
	at      place
	nc      *nats.Conn
	// alive ends, with the reason, when nothing can be asked over nc any more.
	alive context.Context
	end   context.CancelCauseFunc
	link  atomic.Pointer[link]
}

// A place is where a client asks, for people.
type place struct {
	name   string // the servers, without passwords
	flag   string // that says so
	nobody string // the sentence for when nobody answers there
}

// A link is what nc has between two losses of its connection.
type link struct {
	up   context.Context // ends when the connection is lost
	lose context.CancelCauseFunc
}

func (c *client) newLink() *link {
	up, lose := context.WithCancelCause(c.alive)
	return &link{up, lose}
}

// A request is what is asked of a node.
type request struct {
	subject string
	header  map[string][]string
	body    []byte
	// grace is how long the answer is awaited once ctx has ended.
	grace time.Duration
	// patience is how long one answer may take, when that is longer than other answers do.
	patience time.Duration
	// retrying, when set, is told of every retry.
	retrying func(pause time.Duration, because *callError)
}

func connect(ctx context.Context, cfg Config, opt *options) (*client, error) {
	c := newClient(ctx, cfg, messages.Context(opt.context), opt.timeout)
	c.at = place{name: opt.servers(), flag: "--server"}
	c.at.nobody = fmt.Sprintf("no node serves the context %s (--context) at %s (--server): is one running? start one with '%s run --context %s'",
		c.context, c.at.name, cfg.Program, c.context)
	opts, err := opt.natsOptions()
	if err != nil {
		return nil, err
	}
	if c.nc, err = natsd.Dial(opt.server, append(opts, c.natsOptions()...)...); err != nil {
		c.end(err)
		return nil, c.connectError(err)
	}
	return c, nil
}

// newClient makes one that is to be connected.
func newClient(ctx context.Context, cfg Config, name messages.Context, timeout time.Duration) *client {
	c := &client{cfg: cfg, context: name, timeout: timeout}
	c.alive, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	c.link.Store(c.newLink())
	return c
}

// natsOptions are those that every connection of a client has.
func (c *client) natsOptions() []nats.Option {
	return []nats.Option{
		nats.Name(c.cfg.Program),
		nats.Timeout(min(connectTimeout, c.timeout)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		// What cannot be sent now is retried by us; it must not come late from a buffer.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				c.end(err)
			}
		}),
		// An answer that has not come by then does not come any more, most likely.
		nats.DisconnectErrHandler(func(*nats.Conn, error) { c.link.Swap(c.newLink()).lose(nats.ErrDisconnected) }),
		nats.ClosedHandler(func(*nats.Conn) { c.end(nats.ErrConnectionClosed) }),
	}
}

// natsOptions are those of the login.
func (o *options) natsOptions() ([]nats.Option, error) {
	var opts []nats.Option
	if o.login != "" {
		opts = append(opts, nats.UserInfo(o.login, o.password))
	}
	// nats.go looks at these files when it connects, and its errors name no flag.
	for _, file := range []struct {
		flag, path string
		option     func(string) nats.Option
	}{
		{"--credentials", o.credentials, func(p string) nats.Option { return nats.UserCredentials(p) }},
		{"--ca", o.ca, func(p string) nats.Option { return nats.RootCAs(p) }},
	} {
		if file.path == "" {
			continue
		}
		if _, err := os.ReadFile(file.path); err != nil {
			return nil, usagef("%s: %w", file.flag, err)
		}
		opts = append(opts, file.option(file.path))
	}
	return opts, nil
}

func (c *client) connectError(err error) *callError {
	e := &callError{Code: "unreachable", cause: err}
	switch {
	case errors.Is(err, nats.ErrNoServers):
		e.Message = fmt.Sprintf("nobody answers at %s (%s): is a node running? start one with '%s run'", c.at.name, c.at.flag, c.cfg.Program)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		e.Code = "login_refused"
		e.Message = fmt.Sprintf("the server at %s refuses the login: give --login and --password, or --credentials", c.at.name)
	default:
		e.Message = fmt.Sprintf("connect to %s (%s): %v", c.at.name, c.at.flag, err)
	}
	return e
}

func (c *client) close() {
	c.nc.Close()
	c.end(nats.ErrConnectionClosed)
}

// logName asks which log the context's nodes have.
func (c *client) logName(ctx context.Context) (messages.LogName, error) {
	var info micro.Info
	if err := c.ask(ctx, c.describe(), &info); err != nil {
		return "", err
	}
	name, err := messages.ParseLogName(info.Metadata[messages.MetadataLog])
	if err != nil {
		return "", fmt.Errorf("the node at %s (%s) does not say which log it has: %w", c.at.name, c.at.flag, err)
	}
	return name, nil
}

// call asks until it is answered for good or --timeout has passed; how it ends is a
// body or a *callError. What may have been executed is only asked again because its
// command id makes that safe.
func (c *client) call(ctx context.Context, q request) ([]byte, int, error) {
	deadline := c.cfg.Now().Add(c.timeout)
	seed := q.subject + strings.Join(q.header[messages.HeaderID], "")
	uncertain := false
	for n := 1; ; n++ {
		left := deadline.Sub(c.cfg.Now())
		body, e := c.attempt(ctx, q, left)
		if e == nil {
			return body, n, nil
		}
		uncertain = uncertain || e.Uncertain
		if e.final() {
			return nil, n, e
		}
		e.Uncertain = uncertain
		if !e.retry {
			return nil, n, e
		}
		pause := backoff(n, seed)
		if pause >= left {
			e.Exhausted = true
			return nil, n, e
		}
		if q.retrying != nil {
			q.retrying(pause, e)
		}
		if err := c.cfg.Wait(ctx, pause); err != nil {
			e.Interrupted = true
			return nil, n, e
		}
	}
}

// backoff is how long to pause after the nth attempt: twice as long each time, a
// quarter more or less so that those who failed together do not return together.
func backoff(n int, seed string) time.Duration {
	pause := longestPause
	if n < 7 {
		pause = min(pause, firstPause<<(n-1))
	}
	h := fnv.New32a()
	fmt.Fprint(h, seed, n)
	return pause*3/4 + pause/2*time.Duration(h.Sum32()%1024)/1024
}

// attempt asks once, for as long as one attempt may take of what is left.
func (c *client) attempt(ctx context.Context, q request, left time.Duration) ([]byte, *callError) {
	limit := min(longestAttempt, c.timeout/3)
	limit = max(min(limit, left), limit/4) // the last one may take a little more than is left
	limit = max(limit, q.patience)
	up := c.link.Load().up
	waiting, cancel := context.WithTimeout(up, limit)
	defer cancel()
	stopped := context.AfterFunc(ctx, func() {
		if c.cfg.Wait(waiting, q.grace) == nil {
			cancel()
		}
	})
	defer stopped()
	m, err := c.nc.RequestMsgWithContext(waiting, &nats.Msg{Subject: q.subject, Header: q.header, Data: q.body})
	if err != nil {
		if cause := context.Cause(up); cause != nil {
			err = cause
		}
		e := c.noAnswer(err, limit, len(q.body))
		e.Interrupted = ctx.Err() != nil
		e.retry = e.retry && !e.Interrupted
		return nil, e
	}
	if e := answeredError(m); e != nil {
		return nil, e
	}
	return m.Data, nil
}

// noAnswer explains why an attempt has no answer.
func (c *client) noAnswer(err error, limit time.Duration, size int) *callError {
	e := &callError{Code: "unreachable", cause: err}
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		e.retry = true
		e.Message = c.at.nobody
	case errors.Is(err, nats.ErrPermissionViolation):
		e.Code = "forbidden"
		e.Message = fmt.Sprintf("the server at %s does not let this login ask the context %s: is --context right, and the login?", c.at.name, c.context)
	case errors.Is(err, nats.ErrMaxPayload):
		e.Status, e.Code = statusTooLarge, "too_large"
		e.Message = fmt.Sprintf("the data has %d bytes, and with its headers the server takes %d: send less at once", size, c.nc.MaxPayload())
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		e.retry = true
		e.Message = fmt.Sprintf("the connection to %s (%s) is lost: is the node still running?", c.at.name, c.at.flag)
	case errors.Is(err, nats.ErrConnectionClosed):
		e.Uncertain = true
		e.Message = fmt.Sprintf("the server at %s has closed the connection for good: is the login still valid?", c.at.name)
	case errors.Is(err, nats.ErrDisconnected):
		e.retry, e.Uncertain = true, true
		e.Message = fmt.Sprintf("the connection to %s (%s) was lost before the answer came", c.at.name, c.at.flag)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, nats.ErrTimeout):
		e.retry, e.Uncertain = true, true
		e.Message = fmt.Sprintf("no answer within %v", limit.Round(time.Millisecond))
	default:
		e.Message = fmt.Sprintf("ask %s (%s): %v", c.at.name, c.at.flag, err)
	}
	return e
}

// answeredError reads the error in an answer, if it is one.
func answeredError(m *nats.Msg) *callError {
	text := m.Header.Get(micro.ErrorCodeHeader)
	if text == "" {
		return nil
	}
	status, err := strconv.Atoi(text)
	if err != nil || status < 400 || status > 599 {
		return &callError{Status: statusInternal, Code: "unreadable", Message: fmt.Sprintf("the node answers with the error code %q, which is none", text)}
	}
	e := &callError{Status: status, Code: "error", Message: m.Header.Get(micro.ErrorHeader)}
	var body struct {
		Error struct{ Code, Message string }
	}
	// A body of another form is no loss: the header has the sentence.
	if json.Unmarshal(m.Data, &body) == nil && body.Error.Code != "" {
		e.Code, e.Message = body.Error.Code, body.Error.Message
	}
	e.retry = status == statusOverloaded || status == statusUnavailable || status == statusUncertain
	e.Uncertain = status == statusUncertain
	return e
}
