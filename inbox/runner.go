package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
)

const (
	defaultRunning = 256
	defaultAttempt = 10 * time.Second
	// maxFailures is how often a command may fail by a bug until it is parked.
	maxFailures = 5
	firstPause  = 50 * time.Millisecond
	lastPause   = 30 * time.Second
	// seat is that of the one shard that there is.
	seat = "inbox.0"
)

// Seats say which node executes commands. *[follow.Seats] are some.
type Seats interface {
	Hold(ctx context.Context, seat string, first func(context.Context) (uint64, error), work follow.Work)
}

// RunnerConfig is what [Inbox.Run] needs. Sender and Seats are required.
type RunnerConfig struct {
	Sender holdfast.Sender
	Seats  Seats
	// InFlight is how many commands may be executed at a time; 256 by default.
	InFlight int
	// Timeout is how long an attempt may take; 10 seconds by default.
	Timeout time.Duration

	// before is called before each step with a command, for tests: steps are skipped when it
	// returns an error.
	before func(step, commandID string) error
	kept   int           // bytes of bodies
	asking time.Duration // how long a request waits for messages
}

// A Runner executes the commands that wait, from Run to Stop, whenever this node holds the
// seat.
type Runner struct {
	inbox  *Inbox
	config RunnerConfig
	cancel context.CancelFunc
	done   sync.WaitGroup
	stop   sync.Once

	mu  sync.Mutex
	run *run // nil while this node does not hold the seat
}

// Run begins to execute commands.
func (b *Inbox) Run(c RunnerConfig) (*Runner, error) {
	switch {
	case c.Sender == nil || c.Seats == nil:
		return nil, errors.New("run inbox: Sender or Seats is nil: both are needed")
	case c.InFlight < 0 || c.Timeout < 0:
		return nil, errors.New("run inbox: InFlight or Timeout is negative: choose a limit, or 0 for the default")
	}
	c.InFlight = cmp.Or(c.InFlight, defaultRunning)
	c.Timeout = cmp.Or(c.Timeout, defaultAttempt)
	c.kept = cmp.Or(c.kept, maxKept)
	c.asking = cmp.Or(c.asking, defaultAsking)
	ctx, cancel := context.WithCancel(context.Background())
	r := &Runner{inbox: b, config: c, cancel: cancel}
	first := func(context.Context) (uint64, error) { return 0, nil }
	r.done.Go(func() { c.Seats.Hold(ctx, seat, first, r.work) })
	return r, nil
}

// Stop ends what is under way, which another node does again. It bears repetition.
func (r *Runner) Stop() {
	r.stop.Do(func() {
		r.cancel()
		r.done.Wait()
	})
}

// work executes commands as long as the seat is held. Where it begins is with the first that
// is there.
func (r *Runner) work(ctx context.Context, _ uint64, _ func(uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	run := newRun(ctx, r)
	defer run.wait()
	defer cancel()
	r.show(run)
	defer r.show(nil)
	if err := run.begin(); err != nil {
		return fmt.Errorf("begin with the inbox: %w", err)
	}
	return run.follow()
}

func (r *Runner) show(run *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = run
}

// Status says how it stands with the commands that wait.
type Status struct {
	// Holds is whether this node executes them. If not, the rest is not known here.
	Holds bool `json:"holds"`
	// Waiting are all that have no outcome yet, as far as they have been read; InFlight those
	// of them that are being executed.
	Waiting  int `json:"waiting"`
	InFlight int `json:"inFlight"`
	// Resting are the aggregates whose first command has failed and is tried again soon, and
	// Parked those whose first command is parked.
	Resting int `json:"resting"`
	Parked  int `json:"parked"`
	// Oldest is how old the oldest is that waits, and has been read; 0 when there is none.
	Oldest time.Duration `json:"oldest"`
	// Trouble is the last error with which a command was put off; empty when none is.
	Trouble string `json:"trouble,omitempty"`
}

// Status says how it stands.
func (r *Runner) Status() Status {
	r.mu.Lock()
	run := r.run
	r.mu.Unlock()
	if run == nil {
		return Status{}
	}
	return run.status(r.inbox.config.Now())
}
