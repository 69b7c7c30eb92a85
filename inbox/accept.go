package inbox

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// codeStoreFailed is JetStream's code for a stream that cannot store a message.
const codeStoreFailed = 10077

// answerTime is what is left for the last attempt: one that is cut off makes "it was not
// accepted" into "it is not known".
const answerTime = time.Second

// accept stores a command. While the stream has no leader it tries again until ctx ends. The
// error is ErrOverloaded when the stream is full, ErrUnavailable when the command is certainly
// not stored, ErrMalformed when its id was used for another one, and ErrUncertain.
func (b *Inbox) accept(ctx context.Context, c *command) (sequence uint64, duplicate bool, err error) {
	begin, cancel := reserve(ctx, answerTime)
	defer cancel()
	perhaps := false
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		ack, err := b.core.PublishMsg(attempt, c.message(), jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			if ack.Duplicate {
				err = b.checkSame(ctx, c, ack.Sequence)
			}
			return ack.Sequence, ack.Duplicate, err
		}
		api, refused := errors.AsType[*jetstream.APIError](err)
		switch {
		case perhaps: // what is said of this attempt says nothing of the one before
		case refused && api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "maximum"):
			return 0, false, holdfast.Errorf(holdfast.CodeOverloaded, "so many commands wait that no more is taken (%s); it was not accepted: send it again later", api.Description)
		case refused && api.ErrorCode == codeStoreFailed:
			return 0, false, holdfast.Errorf(holdfast.CodeUnavailable, "the command cannot be stored (%s); it was not accepted: send it again later", api.Description)
		}
		perhaps = perhaps || !refused && !errors.Is(err, jetstream.ErrNoStreamResponse)
		until := begin
		if perhaps { // nothing is lost by an attempt that is cut off
			until = ctx
		}
		if (perhaps || passing(err)) && pause(until, retryInterval) == nil {
			continue
		}
		if perhaps {
			return 0, false, holdfast.Errorf(holdfast.CodeUncertain, "it is not known whether the stream took it: %w", err)
		}
		return 0, false, holdfast.Errorf(holdfast.CodeUnavailable, "the stream did not take it (%w); it was not accepted: send it again", err)
	}
}

// reserve is ctx, which ends sooner by d when it has a deadline.
func reserve(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline.Add(-d))
}

// checkSame refuses an id that another command of the aggregate was accepted with, as far as
// that still waits.
func (b *Inbox) checkSame(ctx context.Context, c *command, sequence uint64) error {
	m, err := b.accepted.GetMsg(ctx, sequence)
	if err != nil { // it has been executed, or JetStream is busy: it was accepted
		return nil //nolint:nilerr // the aggregate compares as well
	}
	s, err := messages.ParseSubject(m.Subject)
	if err == nil && s.Name != c.subject.Name && m.Header.Get(messages.HeaderCommandID) == c.meta.ID {
		return holdfast.Errorf(holdfast.CodeMalformed, "the command id %q was used for %s before, and is now given to %s", c.meta.ID, s.Name, c.subject.Name)
	}
	return nil
}
