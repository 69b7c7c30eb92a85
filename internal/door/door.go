// Package door answers clients that ask for JetStream consumers on what they may read.
//
// Whoever makes a push consumer chooses its deliver_subject, and the server publishes
// there with nobody's permission asked: a consumer on one stream that delivers to a
// subject of another would forge records. So these requests do not reach JetStream as
// they come. The door reads each, refuses what a reader does not need, and asks for the
// rest itself.
package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	// jetStream begins the subjects on which JetStream is asked for consumers.
	jetStream = "$JS.API.CONSUMER."
	// renamed begins every reply subject that comes from another account. One that does
	// not was chosen by somebody in this one.
	renamed = "_R_."
	// maxInFlight is how many requests one door asks JetStream at a time. The others wait.
	maxInFlight = 256
	// patience is how long JetStream may take: longer than clients wait for it.
	patience = 10 * time.Second
)

// Config is what a door is started with. All is required.
type Config struct {
	Context messages.Context
	// Conn may ask JetStream in the account of the streams that clients read.
	Conn *nats.Conn
	// Prefix begins the subjects of the requests: what follows it is what follows
	// $JS.API.CONSUMER in those of JetStream.
	Prefix string
	Logger *slog.Logger
}

// A Door answers from Start to Stop. The doors of all nodes share the requests.
type Door struct {
	config Config
	sub    *nats.Subscription
	closed chan struct{} // the subscription is
	room   chan struct{}
	all    sync.WaitGroup
	asking context.Context
	giveUp context.CancelFunc
	stop   sync.Once
	err    error
}

// Start has requests answered.
func Start(c Config) (*Door, error) {
	d := &Door{config: c, closed: make(chan struct{}), room: make(chan struct{}, maxInFlight)}
	d.asking, d.giveUp = context.WithCancel(context.Background())
	var err error
	if d.sub, err = c.Conn.QueueSubscribe(c.Prefix+".>", "door", d.answer); err == nil {
		d.sub.SetClosedHandler(func(string) { close(d.closed) })
		err = c.Conn.Flush()
	}
	if err != nil {
		d.giveUp()
		return nil, fmt.Errorf("answer those who ask for consumers: %w", err)
	}
	return d, nil
}

// answer takes one request after the other.
func (d *Door) answer(m *nats.Msg) {
	if !strings.HasPrefix(m.Reply, renamed) {
		return
	}
	request := strings.TrimPrefix(m.Subject, d.config.Prefix+".")
	body, err := judge(d.config.Context, request, m.Data)
	if err != nil {
		d.refuse(m, refusal{Code: 403, ErrCode: badRequest, Description: "the node: " + err.Error()})
		return
	}
	select {
	case d.room <- struct{}{}:
	case <-d.asking.Done():
		return
	}
	d.all.Go(func() {
		defer func() { <-d.room }()
		d.ask(m, request, body)
	})
}

func (d *Door) ask(m *nats.Msg, request string, body []byte) {
	ctx, cancel := context.WithTimeout(d.asking, patience)
	defer cancel()
	answer, err := d.config.Conn.RequestWithContext(ctx, jetStream+request, body)
	if err != nil {
		d.refuse(m, refusal{Code: 503, ErrCode: unavailable, Description: "the node: JetStream has not answered: ask again"})
		return
	}
	d.respond(m, answer.Data)
}

// Codes of JetStream's own, by which its clients know what to make of an error.
const (
	badRequest  = 10003
	unavailable = 10008
)

// A refusal is an error as JetStream tells it.
type refusal struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (d *Door) refuse(m *nats.Msg, why refusal) {
	body, err := json.Marshal(struct {
		Type  string  `json:"type"`
		Error refusal `json:"error"`
	}{"io.nats.jetstream.api.v1.consumer_create_response", why})
	if err != nil {
		panic("a refusal is not JSON: " + err.Error()) // unreachable: it holds text and numbers
	}
	d.respond(m, body)
}

func (d *Door) respond(m *nats.Msg, body []byte) {
	if err := m.Respond(body); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		d.config.Logger.Warn("a client that asked for a consumer hears nothing", "subject", m.Subject, "error", err)
	}
}

// Stop takes no request any more, and answers what has come until ctx ends. It bears
// repetition, and then gives the same error.
func (d *Door) Stop(ctx context.Context) error {
	d.stop.Do(func() {
		defer d.giveUp()
		release := context.AfterFunc(ctx, d.giveUp)
		defer release()
		if err := d.sub.Drain(); err != nil {
			if !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
				d.err = fmt.Errorf("stop answering those who ask for consumers: %w", err)
			}
		} else {
			select {
			case <-d.closed:
			case <-ctx.Done():
				d.err = fmt.Errorf("stop answering those who ask for consumers: %w", context.Cause(ctx))
			}
		}
		d.all.Wait()
	})
	return d.err
}
