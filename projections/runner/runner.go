package runner

import (
	"context"
	"log/slog"
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

// Config is what [Start] needs. Rest and Now have defaults.
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
	// is behind, so that commands have room; 1.5 by default, none when it is negative.
	Rest float64
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// A Runner runs from Start to Stop.
type Runner struct {
	config Config
}

// Start begins to keep projections up to date. ctx is for the start only. What fails later
// shows in a projection's status, and touches no other one.
func Start(ctx context.Context, c Config) (*Runner, error) { return &Runner{c}, nil }

// Stop ends what is under way; a batch that is not committed is done again by the next one.
// It bears repetition.
func (r *Runner) Stop() {}

// Await waits until what serves has done everything up to a position: its effects are then to
// be seen. The error is ErrUnknown when there is no such projection, ErrMalformed when there is
// no such partition, and ErrUnavailable, which says how far it is, when ctx ends.
func (r *Runner) Await(ctx context.Context, name string, after holdfast.Position) error { return nil }

// Answer answers a query for a key from the generation that serves: JSON, nil when there is
// nothing, and the positions up to which all has been done at least.
func (r *Runner) Answer(ctx context.Context, name, key string) ([]byte, []holdfast.Position, error) {
	return nil, nil, nil
}

// Sink gives where a projection of this build is kept, with its definition: for those who
// read parked events or compare generations. The error says why it cannot be reached.
func (r *Runner) Sink(name string) (*projections.Projection, projections.Sink, error) {
	return nil, nil, nil
}

// Statuses tell how all projections stand, by name: those of this build, and those that
// another build has left behind.
func (r *Runner) Statuses(ctx context.Context) ([]Status, error) { return nil, nil }
