package timers

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// Status tells how many timers there are.
type Status struct {
	// Pending are those that have not fired.
	Pending uint64
	// Due are those that have fired and have not been handled.
	Due uint64
}

// Status counts. One that fires meanwhile may be counted as both, and none is left out; but on
// a replicated stream it may lag a little behind. The error is ErrUnavailable when it cannot.
func (t *Timers) Status(ctx context.Context) (Status, error) {
	var s Status
	err := retry(ctx, func(ctx context.Context) error {
		consumer, err := t.js.Consumer(ctx, t.stream, consumerName)
		if err != nil {
			return err
		}
		// The pending ones first: what fires then is among the others.
		if s.Pending, err = t.pending(ctx); err != nil {
			return err
		}
		due, err := consumer.Info(ctx)
		if err != nil {
			return err
		}
		s.Due = due.NumPending + uint64(due.NumAckPending)
		return nil
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = t.gone()
	}
	if err != nil {
		return Status{}, holdfast.Errorf(holdfast.CodeUnavailable, "count timers: %w", err)
	}
	return s, nil
}

// pending has a server count the subjects of timers that are pending: it tells with the
// first message of several how many follow.
func (t *Timers) pending(ctx context.Context) (uint64, error) {
	const nothing = "404"
	m, err := t.conn.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+t.stream, fmt.Appendf(nil, `{"seq":1,"next_by_subj":"%s.%s.>","batch":1}`, t.context, messages.KindTimer))
	if err != nil {
		return 0, err
	}
	status := m.Header.Get("Status")
	if status == nothing {
		return 0, nil
	}
	n, err := strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the answer of stream %s cannot be read: %s %s", t.stream, status, m.Header.Get("Description"))
	}
	return n + 1, nil
}
