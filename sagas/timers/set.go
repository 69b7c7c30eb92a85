package timers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-run/holdfast"
)

// Set sets a timer, durably, unless one of the same aggregate and key is pending: then it
// changes nothing, whatever that one's time is, and that is no error. Once it has fired, a
// Set with its key sets it again, and when its time is past it fires again at once: a
// handle bears that.
//
// While JetStream is not ready Set tries again until ctx ends. Many at once cost less, each,
// than a few. After any error the caller sets the timer again; they are ErrMalformed,
// which names what is wrong with the timer; ErrUnavailable, it is certainly not set; and
// ErrUncertain, it may or may not be.
func (t *Timers) Set(ctx context.Context, timer Timer) error {
	m, err := timer.schedule(t.context)
	if err != nil {
		return holdfast.Errorf(holdfast.CodeMalformed, "set timer %s: %w", timer, err)
	}
	var perhaps bool
	for {
		no := t.setter.send(ctx, m)
		if no == nil {
			return nil
		}
		perhaps = perhaps || no.perhaps
		if !no.final && pause(ctx) {
			continue
		}
		err := no.err
		if ctx.Err() != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		if perhaps {
			return holdfast.Errorf(holdfast.CodeUncertain, "set timer %s: %w", timer, err)
		}
		return holdfast.Errorf(holdfast.CodeUnavailable, "set timer %s: %w", timer, err)
	}
}

// inFlight is how many timers of one SetAll are sent before the first has its answer.
const inFlight = 1024

// A NotSetError says which timers of a [Timers.SetAll] are to be set again.
type NotSetError struct {
	Timers []Timer
	// Errs are what [Timers.Set] says of them, in their order.
	Errs []error
}

// Error tells how many they are, and what became of the first.
func (e *NotSetError) Error() string {
	return fmt.Sprintf("%d timers are not set, or perhaps not; of the first: %v", len(e.Timers), e.Errs[0])
}

// Unwrap gives all errors.
func (e *NotSetError) Unwrap() []error { return e.Errs }

// SetAll sets each timer as [Timers.Set] does, in no order, up to 1,024 of them at the same
// time. If some may not be set, though others are, the error is a *[NotSetError].
func (t *Timers) SetAll(ctx context.Context, timers []Timer) error {
	errs := make([]error, len(timers))
	next := make(chan int)
	var all sync.WaitGroup
	for range min(len(timers), inFlight) {
		all.Go(func() {
			for i := range next {
				errs[i] = t.Set(ctx, timers[i])
			}
		})
	}
	for i := range timers {
		next <- i
	}
	close(next)
	all.Wait()
	var no NotSetError
	for i, err := range errs {
		if err != nil {
			no.Timers, no.Errs = append(no.Timers, timers[i]), append(no.Errs, err)
		}
	}
	if no.Errs != nil {
		return &no
	}
	return nil
}
