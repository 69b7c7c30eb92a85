package runner

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// A Log is what the runner reads.
type Log interface {
	persistence.Follower
	persistence.Scanner
}

// Seats say which node works on a unit. *[follow.Seats] are some.
type Seats interface {
	Hold(ctx context.Context, seat string, first func(context.Context) (uint64, error), work follow.Work)
}

// Config is what [Start] needs. Rest, Grace and Now have defaults.
type Config struct {
	Projections []*projections.Projection
	Log         Log
	Register    *Register
	Seats       Seats
	// Sink gives where a projection is kept. Its error is the reason why the projection is
	// blocked; it is asked again until there is none.
	Sink func(*projections.Projection) (projections.Sink, error)
	// Node is what this node is called in statuses.
	Node string
	// Alone says that no other node serves the context.
	Alone  bool
	Logger *slog.Logger
	// Rest is how many times as long as it works a generation rests that does not serve and
	// is behind, so that commands have room; 3 by default, none when it is negative.
	Rest float64
	// Grace is how long Stop waits for handlers, which it cannot interrupt; 5 seconds by
	// default.
	Grace time.Duration
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// A Runner runs from Start to Stop.
type Runner struct {
	config     Config
	partitions []uint32
	running    map[string]*running
	cancel     context.CancelFunc
	ended      chan struct{}
	stop       sync.Once
	stopping   atomic.Bool

	mu   sync.Mutex
	last map[uint32]ends
}

// ends are where a partition of the log ends, as was seen last and a while before.
type ends struct{ last, before uint64 }

// Start begins to keep projections up to date. ctx is for the start only. What fails later
// shows in a projection's status, and touches no other one.
func Start(ctx context.Context, c Config) (*Runner, error) {
	if c.Rest == 0 {
		c.Rest = 3
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Runner{config: c, running: map[string]*running{}, ended: make(chan struct{}), last: map[uint32]ends{}}
	for _, p := range c.Projections {
		if r.running[p.Name()] != nil {
			return nil, holdfast.Errorf(holdfast.CodeMalformed, "run projections: two are called %q: rename one", p.Name())
		}
		r.running[p.Name()] = newRunning(r, p)
	}
	partitions, err := c.Log.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("run projections: %w", err)
	}
	for _, p := range partitions {
		r.partitions = append(r.partitions, p.Number)
	}
	r.saw(partitions)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	var all sync.WaitGroup
	for _, x := range r.running {
		all.Go(func() { x.run(running) })
	}
	all.Go(func() { r.lookAtEnds(running) })
	go func() {
		all.Wait()
		close(r.ended)
	}()
	return r, nil
}

// Stop ends what is under way; a batch that is not committed is done again by the next one.
// It bears repetition.
func (r *Runner) Stop() {
	r.stop.Do(func() {
		r.stopping.Store(true)
		r.cancel()
		grace := time.NewTimer(r.config.Grace)
		defer grace.Stop()
		select {
		case <-r.ended:
		case <-grace.C:
			r.config.Logger.Error("a projection does not end: a handler hangs, and is left to itself")
		}
	})
}

// lookAtEnds keeps in mind where the log ends, until ctx ends.
func (r *Runner) lookAtEnds(ctx context.Context) {
	for pause(ctx, time.Second) == nil {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		partitions, err := r.config.Log.Describe(short)
		cancel()
		if err == nil {
			r.saw(partitions)
		}
	}
}

func (r *Runner) saw(partitions []persistence.Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range partitions {
		before, ok := r.last[p.Number]
		if !ok {
			before.last = p.Last
		}
		r.last[p.Number] = ends{last: p.Last, before: before.last}
	}
}

func (r *Runner) ends(partition uint32) (last, before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.last[partition]
	return e.last, e.before
}

// others are where the other partitions end, after which there is little to read.
func (r *Runner) others(partition uint32) (after []holdfast.Position) {
	for _, p := range r.partitions {
		if last, _ := r.ends(p); p != partition {
			after = append(after, holdfast.NewPosition(p, last))
		}
	}
	return after
}

// lastOf asks where a partition ends now.
func (r *Runner) lastOf(ctx context.Context, partition uint32) (uint64, error) {
	partitions, err := r.config.Log.Describe(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range partitions {
		if p.Number == partition {
			return p.Last, nil
		}
	}
	return 0, holdfast.Errorf(holdfast.CodeMalformed, "the log has no partition %d", partition)
}

// pauseOr waits, or until enough is closed or has something, or gives the reason why it did not.
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
