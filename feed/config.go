package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Log is what the feed reads.
type Log interface {
	persistence.Follower
	Describe(ctx context.Context) ([]persistence.Partition, error)
}

// Seats say which node writes. *[follow.Seats] are some.
type Seats interface {
	Ensure(ctx context.Context, seat string, first func(context.Context) (uint64, error)) error
	Hold(ctx context.Context, seat string, first func(context.Context) (uint64, error), work follow.Work)
	List(ctx context.Context) (map[string]follow.Seat, error)
}

// The retention of a [Config] that does not say so.
const (
	DefaultMaxAge   = 7 * 24 * time.Hour
	DefaultMaxBytes = 1 << 30
)

// leastAge is the least that a stream may be told to keep its messages.
const leastAge = time.Second

// Config is what [Start] needs. Those from Replicas on have defaults.
type Config struct {
	Context messages.Context
	// Types are all that have events in the log. An event of another one is unread.
	Types []holdfast.Definition
	Log   Log
	Seats Seats
	// Public is a connection to where the stream is, which may be another account than that
	// of the log.
	Public *nats.Conn
	// Replicas of the stream, if it has to be made; 1 by default.
	Replicas int
	// MaxAge is how long an event stays in the feed, 7 days by default, and MaxBytes how
	// much all of them may take, 1 GiB by default: the oldest go first. The log keeps them.
	// The node that was started last has its way; without MaxBytes a feed that is there stays
	// as large as it is, and one that is made takes less when there is no room.
	MaxAge   time.Duration
	MaxBytes int64
	// Protobuf has the data of events be protobuf, not JSON.
	Protobuf bool
	// FromNow has a feed that begins leave out what the log holds by then.
	FromNow bool
	// Logger is slog.Default() by default, and Now, the clock, time.Now.
	Logger *slog.Logger
	Now    func() time.Time

	fits    bool          // MaxBytes is the default
	line    line          // Public by default
	sweep   int           // how many marks there may be; maxMarks by default
	settled time.Duration // after which an error is past; settled by default
}

func (c Config) withDefaults() (Config, error) {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.MaxBytes == 0 {
		c.MaxBytes, c.fits = DefaultMaxBytes, true
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.sweep == 0 {
		c.sweep = maxMarks
	}
	if c.settled == 0 {
		c.settled = settled
	}
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return c, fmt.Errorf("Context: %w", err)
	}
	if c.MaxAge < leastAge {
		return c, fmt.Errorf("MaxAge is %v: choose %v or more", c.MaxAge, leastAge)
	}
	if c.MaxBytes < 0 {
		return c, fmt.Errorf("MaxBytes is %d: choose more than nothing", c.MaxBytes)
	}
	if c.Public == nil || c.Log == nil || c.Seats == nil {
		return c, errors.New("Public, Log and Seats: all are needed")
	}
	if c.line == nil {
		c.line = c.Public
	}
	return c, nil
}
