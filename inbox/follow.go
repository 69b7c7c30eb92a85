package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// fetching is how many messages are asked for at a time, defaultAsking for how long a
	// request waits for them, and heartbeat how often the server shows meanwhile that it is there.
	fetching      = 64
	defaultAsking = 10 * time.Second
	heartbeat     = time.Second
	// forgotten is after how long without a request the server removes a consumer.
	forgotten = 5 * time.Minute
)

// errGap: messages got lost on their way.
var errGap = errors.New("messages are missing")

// follow reads the stream, from the first message that is left, until ctx ends.
func (r *run) follow() error {
	next := uint64(1)
	for {
		err := r.consume(&next)
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("stream %s is missing, and the commands that were in it: restore it, or start a node to have an empty one made: %w", r.config.Context.InboxStream(), err)
		}
		r.config.Logger.Debug("reading the inbox once more", "from", next, "reason", err)
		if pause(r.ctx, retryInterval) != nil {
			return context.Cause(r.ctx)
		}
	}
}

// consume reads with one consumer, which the server forgets, until something is wrong with it.
func (r *run) consume(next *uint64) error {
	attempt, cancel := context.WithTimeout(r.ctx, attemptTimeout)
	defer cancel()
	name := nuid.Next()
	consumer, err := r.accepted.CreateConsumer(attempt, jetstream.ConsumerConfig{
		Name: name, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *next, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: forgotten,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), attemptTimeout)
		defer cancel()
		_ = r.accepted.DeleteConsumer(ctx, name) // or the server does so later
	}()
	for got := uint64(0); ; {
		if err := r.batch(consumer, next, &got); err != nil {
			return err
		}
	}
}

// batch takes what comes of one request.
func (r *run) batch(consumer jetstream.Consumer, next, got *uint64) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.runner.config.asking)
	defer cancel()
	messages, err := consumer.Fetch(fetching, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	before := *got
	for m := range messages.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if *got++; meta.Sequence.Consumer != *got {
			return errGap
		}
		*next = meta.Sequence.Stream + 1
		c, err := readCommand(m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream)
		if err != nil {
			r.config.Logger.Error("a message in the inbox is none of a node's, and stays there", "subject", m.Subject(), "sequence", meta.Sequence.Stream, "error", err)
			continue
		}
		r.add(c)
	}
	if err := messages.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if *got-before < fetching {
		return r.missed(consumer, *got)
	}
	return context.Cause(r.ctx)
}

// missed finds out, when nothing comes any more, whether the last messages got lost: no later one
// would show that.
func (r *run) missed(consumer jetstream.Consumer, got uint64) error {
	ctx, cancel := context.WithTimeout(r.ctx, attemptTimeout)
	defer cancel()
	info, err := consumer.Info(ctx)
	if err == nil && info.Delivered.Consumer != got {
		err = errGap
	}
	return err
}
