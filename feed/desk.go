package feed

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
	// queueGroup is shared by the nodes: each request goes to one of them.
	queueGroup = "holdfast"
	// operators are few, and say nothing.
	operators        = 16
	operatorsBody    = 1 << 10
	operatorsTimeout = 10 * time.Second
)

// A Desk answers operators who ask how the feed stands, from ServeOperators to Stop.
type Desk struct {
	feed     *Feed
	endpoint serve.Endpoint
	listener *serve.Listener
}

// ServeOperators answers requests on <context>.feed.status, which clients must not reach, each
// within a timeout, 10 seconds if it is 0, until Stop or until the connection is closed.
func (f *Feed) ServeOperators(conn *nats.Conn, timeout time.Duration) (*Desk, error) {
	if conn == nil || timeout < 0 {
		return nil, errors.New("serve the operators of the feed: conn is nil, or timeout negative: give a NATS connection, and a limit or 0")
	}
	d := &Desk{feed: f}
	d.endpoint.Handle = d.handle
	requests := serve.New(serve.Config{
		Context: f.config.Context, Conn: conn, MaxInFlight: operators, MaxInFlightBytes: operators * operatorsBody, MaxBody: operatorsBody,
		Timeout: cmp.Or(timeout, operatorsTimeout), Now: f.config.Now, NewID: nuid.Next, Logger: f.config.Logger,
	})
	var err error
	if d.listener, err = requests.Listen(f.config.Context.FeedStatusSubject(), queueGroup, &d.endpoint); err != nil {
		return nil, fmt.Errorf("serve the operators of the feed: %w", err)
	}
	return d, nil
}

// Stop takes no request any more, and waits for what is under way as long as ctx allows. It
// bears repetition.
func (d *Desk) Stop(ctx context.Context) error {
	if err := d.listener.Stop(ctx); err != nil {
		return fmt.Errorf("stop serving the operators of the feed: %w", err)
	}
	return nil
}

// A standing is a [Status] on the wire.
type standing struct {
	Partition uint32 `json:"partition"`
	Holder    string `json:"holder"`
	// Here: the node that answers is the holder. Only it knows what is unread, and the error.
	Here     bool   `json:"here"`
	Position string `json:"position"`
	Last     string `json:"last"`
	Behind   uint64 `json:"behind"`
	// Late is how many seconds the first commit behind has waited.
	Late   float64 `json:"late"`
	Unread uint64  `json:"unread"`
	Error  string  `json:"error,omitempty"`
}

func (d *Desk) handle(ctx context.Context, r *serve.Request) (serve.Answer, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return serve.Answer{}, err
	}
	h, err := r.ParseHeader(messages.Kind("feed"))
	if err != nil {
		return serve.Answer{}, err
	}
	if h.Protobuf {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeMalformed, "header %s: how the feed stands is told in %s only", messages.HeaderContentType, messages.TypeJSON)
	}
	all, err := d.feed.Status(ctx)
	if err != nil {
		return serve.Answer{}, holdfast.Errorf(holdfast.CodeUnavailable, "%w: ask again", err)
	}
	out := make([]standing, 0, len(all))
	for _, s := range all {
		one := standing{
			Partition: s.Partition, Holder: s.Holder, Here: s.Here, Position: s.Done.String(), Last: s.Last.String(), Behind: s.Behind,
			Late: s.Late.Seconds(), Unread: s.Unread,
		}
		if s.Err != nil {
			one.Error = serve.Sentence(s.Err.Error(), "it does not go on")
		}
		out = append(out, one)
	}
	body, err := serve.Encode(false, nil, map[string]any{"partitions": out})
	return serve.Answer{Body: body}, err
}
