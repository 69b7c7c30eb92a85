package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// A Log is what the runner reads.
type Log interface {
	persistence.Follower
	persistence.Scanner
}

// Timers wake sagas.
type Timers interface {
	Set(ctx context.Context, t timers.Timer) error
	Cancel(ctx context.Context, of holdfast.Ref, key string) error
	Run(ctx context.Context, handle timers.Handle) error
}

// A List has the sagas that are not over.
type List interface {
	// Add puts a saga on the list. One that is there keeps its place.
	Add(ctx context.Context, saga holdfast.Ref, since time.Time) error
	// Remove takes a saga off the list. One that is not there is no error.
	Remove(ctx context.Context, saga holdfast.Ref) error
}

// Seats say which node does something. *[follow.Seats] are some.
type Seats interface {
	Ensure(ctx context.Context, seat string, first func(context.Context) (uint64, error)) error
	Hold(ctx context.Context, seat string, first func(context.Context) (uint64, error), work follow.Work)
}

// Config is what [Start] needs. InFlight and Timeout have defaults.
type Config struct {
	Book   *sagas.Book
	Sagas  []*sagas.Saga
	Log    Log
	Sender holdfast.Sender
	Timers Timers
	List   List
	Seats  Seats
	Logger *slog.Logger
	// InFlight is how many tasks of a saga type and partition may be under way; 256 by
	// default.
	InFlight int
	// Timeout is how long an attempt to send a command may take; 10 seconds by default.
	Timeout time.Duration
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// A Runner runs from Start to Stop.
type Runner struct {
	config Config
	cancel context.CancelFunc
	done   sync.WaitGroup
	stop   sync.Once
}

// Start begins to run the sagas, which hear of whatever happens from when it returns. ctx is
// for the start only.
func Start(ctx context.Context, c Config) (*Runner, error) {
	if c.InFlight == 0 {
		c.InFlight = 256
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	partitions, err := c.Log.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("run sagas: %w", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Runner{config: c, cancel: cancel}
	for _, d := range c.Sagas {
		for _, p := range partitions {
			first := func(ctx context.Context) (uint64, error) { return r.first(ctx, d, p.Number) }
			if err := c.Seats.Ensure(ctx, seat(d, p.Number), first); err != nil {
				cancel()
				return nil, fmt.Errorf("run the saga %s: %w", d.Name(), err)
			}
		}
	}
	for _, d := range c.Sagas {
		for _, p := range partitions {
			r.done.Go(func() { r.hold(running, d, p.Number) })
		}
	}
	r.done.Go(func() { r.wake(running) })
	return r, nil
}

// Stop ends what is under way, which another node does again. It bears repetition.
func (r *Runner) Stop() {
	r.stop.Do(func() {
		r.cancel()
		r.done.Wait()
	})
}

func seat(d *sagas.Saga, partition uint32) string {
	return fmt.Sprintf("saga.%s.%d", d.Name(), partition)
}

func (r *Runner) hold(ctx context.Context, d *sagas.Saga, partition uint32) {
	first := func(ctx context.Context) (uint64, error) { return r.first(ctx, d, partition) }
	r.config.Seats.Hold(ctx, seat(d, partition), first, func(ctx context.Context, done uint64, note func(uint64)) error {
		f := newFollowing(ctx, r, d, note)
		defer f.wait()
		return r.config.Log.Follow(ctx, holdfast.NewPosition(partition, done), f.take)
	})
}

// first is from where on a saga type is run of which it is not known how far it has come:
// from the end of the log, unless its definition says otherwise. If there are such sagas in
// the log it has been run before, and only that knowledge got lost: then from the first of
// them on, since what has been done may be done again.
func (r *Runner) first(ctx context.Context, d *sagas.Saga, partition uint32) (uint64, error) {
	if d.FromStart() {
		return 0, nil
	}
	all, err := r.config.Log.Describe(ctx)
	if err != nil {
		return 0, err
	}
	var begun uint64
	_, err = r.config.Log.Scan(ctx, persistence.ScanOptions{Filter: persistence.Filter{Type: d.Name()}}, func(rec persistence.Record) error {
		if rec.Position.Partition() != partition {
			return nil
		}
		begun = rec.Position.Sequence()
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return begun - 1, nil
	case err != nil:
		return 0, err
	}
	for _, p := range all {
		if p.Number == partition {
			return p.Last, nil
		}
	}
	return 0, fmt.Errorf("the log has no partition %d", partition)
}

// errFound ends a scan.
var errFound = errors.New("found")

// wake wakes the sagas whose time has come.
func (r *Runner) wake(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.config.Timers.Run(ctx, func(ctx context.Context, t timers.Timer) error {
			return r.send(ctx, sagas.Timer{Saga: t.For, Key: t.Key, At: t.At}.Command())
		})
		if ctx.Err() == nil {
			r.config.Logger.Error("timers do not fire; trying again", "error", err)
			_ = pause(ctx, time.Second)
		}
	}
}

// position reads where a record stands, and whose it is.
func refOf(rec persistence.Record) (holdfast.Ref, error) {
	sub, err := messages.ParseSubject(rec.Subject)
	if err != nil {
		return holdfast.Ref{}, err
	}
	return holdfast.Ref{Type: sub.Type, ID: sub.ID.Raw()}, nil
}

func pause(ctx context.Context, d time.Duration) error { return pauseOr(ctx, d, nil) }

// pauseOr waits, or until enough is closed, or gives the reason why it did not.
func pauseOr(ctx context.Context, d time.Duration, enough <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-enough:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
