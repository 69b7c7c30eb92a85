package inbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// queueGroup is shared by the doors of all nodes: each command goes to one of them.
const queueGroup = "holdfast"

const (
	defaultMaxInFlight = 4096
	defaultMaxBody     = 512 << 10
	maxInFlightBytes   = 64 << 20
	// defaultTimeout is less than the 5 seconds for which clients wait for an acknowledgement.
	defaultTimeout = 4 * time.Second
	// What the subscription may hold before it drops.
	pendingMessages = 128 << 10
	pendingBytes    = 64 << 20
)

// DoorConfig is what [Inbox.Serve] needs. Conn is required.
type DoorConfig struct {
	// Conn carries clients' commands and the answers. The door neither drains nor closes it.
	// Its user should not be able to publish into the context's subjects.
	Conn *nats.Conn
	// MaxInFlight is how many commands may be on their way into the stream, 4,096 by default,
	// and MaxBody how many bytes one may have, 512 KiB by default.
	MaxInFlight, MaxBody int
	// Timeout is how long that may take; 4 seconds by default.
	Timeout time.Duration
	// NewID makes the ids of commands that came without one; nuid.Next by default.
	NewID func() string
}

func (c DoorConfig) withDefaults() (DoorConfig, error) {
	switch {
	case c.Conn == nil:
		return c, errors.New("Conn is nil: give a NATS connection")
	case c.MaxInFlight < 0 || c.MaxBody < 0 || c.Timeout < 0:
		return c, errors.New("MaxInFlight, MaxBody or Timeout is negative: choose a limit, or 0 for the default")
	}
	c.MaxInFlight = cmp.Or(c.MaxInFlight, defaultMaxInFlight)
	c.MaxBody = cmp.Or(c.MaxBody, defaultMaxBody)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.NewID == nil {
		c.NewID = nuid.Next
	}
	return c, nil
}

// A Door accepts commands from Serve to Stop.
type Door struct {
	inbox    *Inbox
	config   DoorConfig
	names    string // of the types, for people
	requests *serve.Service
	endpoint serve.Endpoint
	sub      *nats.Subscription
	closed   <-chan nats.SubStatus
}

// Serve accepts clients' commands until Stop, or until the connection is closed.
func (b *Inbox) Serve(c DoorConfig) (*Door, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("serve inbox: %w", err)
	}
	d := &Door{inbox: b, config: c, requests: serve.New(serve.Config{
		Context: b.config.Context, Conn: c.Conn, MaxInFlight: c.MaxInFlight, MaxInFlightBytes: max(maxInFlightBytes, c.MaxBody), MaxBody: c.MaxBody,
		Timeout: c.Timeout, Now: b.config.Now, NewID: c.NewID, Logger: b.config.Logger,
	})}
	var names []string
	for name := range b.types {
		names = append(names, name)
	}
	slices.Sort(names)
	d.names = strings.Join(names, ", ")
	d.endpoint.Handle, d.endpoint.Refuse = d.handle, refuse
	subject := fmt.Sprintf("%s.%s.>", b.config.Context, messages.KindInbox)
	d.sub, err = c.Conn.QueueSubscribe(subject, queueGroup, func(m *nats.Msg) {
		d.requests.Receive(&d.endpoint, serve.Request{
			Subject: m.Subject, Reply: m.Reply, Headers: m.Header, Body: m.Data, Garbled: serve.Garbled(m),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("serve inbox: %w", err)
	}
	d.closed = d.sub.StatusChanged(nats.SubscriptionClosed)
	err = d.sub.SetPendingLimits(pendingMessages, pendingBytes)
	if err == nil { // so that a command that is sent after Serve has returned is answered
		err = c.Conn.FlushTimeout(serve.StartTimeout)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve inbox: %w", err), d.sub.Unsubscribe())
	}
	return d, nil
}

// Stop takes no command any more, waits for what is under way, and returns when the answers
// have been handed to the server. When ctx ends before, it has the rest break off and returns
// an error that says how many there were. Stop may be called again, also at the same time.
func (d *Door) Stop(ctx context.Context) error {
	// Where nothing can come any more there is nothing to wait for.
	if d.config.Conn.IsConnected() && d.sub.Drain() == nil {
		select {
		case <-d.closed:
		case <-ctx.Done():
		}
	}
	if err := d.requests.Close(ctx); err != nil {
		return fmt.Errorf("stop inbox: %w", err)
	}
	return nil
}

// Stats counts what the door has answered.
func (d *Door) Stats() serve.Stats { return d.endpoint.Stats() }

// An acknowledgement is JetStream's, and names the command beside.
type acknowledgement struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	CommandID string `json:"commandId"`
}

// handle accepts one command.
func (d *Door) handle(ctx context.Context, r *serve.Request) (serve.Answer, error) {
	c, err := d.parse(r)
	if err != nil {
		return serve.Answer{}, err
	}
	sequence, duplicate, err := d.inbox.accept(ctx, c)
	if err != nil {
		return serve.Answer{}, serve.Unsettled(ctx, err, c.meta.ID)
	}
	body, err := serve.Encode(false, nil, acknowledgement{d.inbox.config.Context.InboxStream(), sequence, duplicate, c.meta.ID})
	return serve.Answer{Header: nats.Header{messages.HeaderCommandID: {c.meta.ID}}, Body: body}, err
}

// parse reads a command, and makes certain that it can be read again.
func (d *Door) parse(r *serve.Request) (*command, error) {
	subject, err := messages.ParseSubject(r.Subject)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	def, ok := d.inbox.types[subject.Type]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "type %s is unknown: there are %s", subject.Type, d.names)
	}
	header, err := r.ParseHeader(messages.KindInbox)
	if err != nil {
		return nil, err
	}
	m, ok := serve.NewCommand(def, subject.Name)
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "type %s knows no command %s: there are %s",
			subject.Type, subject.Name, cmp.Or(serve.Commands(def), "none for clients"))
	}
	if err := serve.Decode(r.Body, m, header.Protobuf); err != nil {
		return nil, err
	}
	c := &command{meta: d.requests.Meta(header, r.At), expected: header.ExpectedVersion}
	if _, err := messages.EncodeID(c.meta.ID); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "header %s: it must fit into the subject of the outcome: %w", messages.HeaderID, err)
	}
	c.subject = subject
	c.subject.Kind = messages.KindAccepted
	if c.body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "body: %s", serve.Plain(err))
	}
	return c, nil
}

// errorCodes begin those of refusals: JetStream has none there, so that no client takes one
// for another.
const errorCodes = 50_000

// refuse gives the body of a refusal as JetStream has it.
func refuse(f serve.Failure) ([]byte, error) {
	type failure struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
		Reason      string `json:"reason"`
	}
	return json.Marshal(map[string]failure{"error": {f.Status, errorCodes + f.Status, f.Message, f.Code}})
}
