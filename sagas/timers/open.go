package timers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	// retryInterval is how long nobody is asked again who was not ready.
	retryInterval = 100 * time.Millisecond
	// attemptTimeout is how long one request may stay without an answer. All of them may
	// be sent again, so it need not be long: what a leader was asked that is gone is not
	// answered any more.
	attemptTimeout = 2 * time.Second
)

// Timers are those of a context. [Open] makes them. All methods may be called at any
// time by anyone.
type Timers struct {
	context messages.Context
	stream  string
	conn    *nats.Conn
	js      jetstream.JetStream
	wanted  consumer
	setter  *setter
	log     *slog.Logger
	workers int
	timeout time.Duration
	pauses  pauses
}

// Open makes the stream of the timers of a context, or compares the live settings of the
// one that exists with what timers rely on. While JetStream is not ready it tries again
// until ctx ends, and the error then is ErrUnavailable. The error is a *[SettingError]
// when the stream, or its consumer, is not what it must be; Open never changes one.
func Open(ctx context.Context, cfg Config) (*Timers, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open timers: config: %w", err)
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("open timers of %s: %w", cfg.Context, err)
	}
	t := &Timers{
		context: cfg.Context, stream: cfg.Context.TimerStream(), conn: cfg.Conn, js: js, wanted: consumerConfig(cfg.Context, cfg.patience),
		log: cfg.Logger, workers: cfg.Workers, timeout: cfg.Timeout, pauses: cfg.pauses,
	}
	t.setter = &setter{conn: cfg.Conn, stream: t.stream, newID: cfg.newID, missing: t.missing}
	if err := t.openStream(ctx, cfg.Replicas); err != nil {
		return nil, fmt.Errorf("open timers of %s: %w", cfg.Context, err)
	}
	if _, err := t.openConsumer(ctx); err != nil {
		return nil, fmt.Errorf("open timers of %s: %w", cfg.Context, err)
	}
	return t, nil
}

func (t *Timers) openStream(ctx context.Context, replicas int) error {
	wanted := streamConfig(t.context, replicas)
	var found *jetstream.StreamInfo
	err := retry(ctx, func(ctx context.Context) error {
		s, err := t.js.Stream(ctx, t.stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = t.js.CreateStream(ctx, wanted)
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return errMaking
		}
		if err == nil {
			found = s.CachedInfo()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make stream %s, or read its settings: %w", t.stream, err)
	}
	if weaker := compare(ofStream, &found.Config, &wanted); weaker != nil {
		weaker.Stream = t.stream
		return weaker
	}
	return nil
}

// openConsumer makes the consumer, or checks the one that is there, and tells how patient
// it is.
func (t *Timers) openConsumer(ctx context.Context) (patience time.Duration, err error) {
	var found *jetstream.ConsumerInfo
	err = retry(ctx, func(ctx context.Context) error {
		c, err := t.js.Consumer(ctx, t.stream, consumerName)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			c, err = t.js.CreateConsumer(ctx, t.stream, t.wanted)
		}
		if errors.Is(err, jetstream.ErrConsumerExists) || errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
			return errMaking
		}
		if err == nil {
			found = c.CachedInfo()
		}
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return 0, t.gone()
	case err != nil:
		return 0, fmt.Errorf("make consumer %s of stream %s, or read its settings: %w", consumerName, t.stream, err)
	}
	return found.Config.AckWait, t.checkConsumer(found)
}

func (t *Timers) checkConsumer(found *jetstream.ConsumerInfo) error {
	if weaker := compare(ofConsumer, &found.Config, &t.wanted); weaker != nil {
		weaker.Stream, weaker.Consumer = t.stream, consumerName
		return weaker
	}
	return nil
}

// missing gives an error if the stream is certainly not there.
func (t *Timers) missing(ctx context.Context) error {
	if _, err := t.js.Stream(ctx, t.stream); errors.Is(err, jetstream.ErrStreamNotFound) {
		return t.gone()
	}
	return nil
}

func (t *Timers) gone() error {
	return holdfast.Errorf(holdfast.CodeUnavailable,
		"stream %s is missing, and the timers that were in it: restore it from a backup, or start a node to have an empty one made: %w", t.stream, jetstream.ErrStreamNotFound)
}

// retry calls try until it has an answer that more patience would not change.
func retry(ctx context.Context, try func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil || ctx.Err() == nil && !passing(err) {
			return err
		}
		if !pause(ctx) {
			return holdfast.Errorf(holdfast.CodeUnavailable, "JetStream is not ready: %v: %w", err, context.Cause(ctx))
		}
	}
}

// pause lets some time pass, and reports whether ctx goes on.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(retryInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errMaking says that another node has just made what was not there, or somebody removed what
// was. It may take a moment until that can be seen.
var errMaking = errors.New("another node is making or removing it")

// codeNoPeers is JetStream's code for servers that have not found one another yet.
const codeNoPeers = 10005

// codeNotMade is JetStream's code for a consumer that it cannot make, as while it still removes
// the files of the last one of that name, or that was deleted before it could say that it is
// made. A consumer that is new has other codes for what is wrong with its settings.
const codeNotMade = 10012

// passing reports whether an error is one that passes: there is no leader, or a new one,
// nobody answers, or too much is going on.
func passing(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		off := api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabled || api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount
		return api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotMade || (api.Code == 503 || api.Code == 429) && !off
	}
	for _, p := range []error{
		errMaking, jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrTimeout, context.DeadlineExceeded,
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting,
	} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}
