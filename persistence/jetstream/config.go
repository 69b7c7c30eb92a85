package jetstream

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	defaultTimeout = 5 * time.Second
	// A timeout is counted in ticks, so that a request costs neither a timer nor a look
	// at the clock.
	ticksPerTimeout = 20
)

// MaxPartitions is the most that a log may have.
const MaxPartitions = 1024

// Config says which log a store is on. Context, Publish and Read have no default, but
// Publish may be nil with Existing.
type Config struct {
	// Context whose log it is.
	Context messages.Context
	// Partitions of the log, fixed when the context is created. 0 takes what exists,
	// else makes 1.
	Partitions uint32
	// Replicas of every stream that is made: 1 or 3, default 1. An existing stream may
	// have more; the snapshots are made with as many as the log has. To change the number
	// later, stop all nodes first: a store reads a stream as what it was when the store
	// was opened.
	Replicas int
	// Existing has Open make nothing: a log that is not there is [ErrNoLog], and snapshots
	// that are not there are done without. For those who look at a log.
	Existing bool
	// Publish carries appends and snapshots. It must not buffer while it reconnects
	// (nats.ReconnectBufSize(-1)), since an append would then be sent after its caller has
	// been told that it was not. The store closes no connection. It may be nil with
	// Existing: appends and snapshots are then ErrUnavailable.
	Publish *nats.Conn
	// Read carry everything else, in turn. A server answers reads of one connection one
	// after the other, so with several it uses several cores, and a slow read does not
	// hold up all others. Publish must not be among them, for that reason.
	Read []*nats.Conn
	// SyncAlways says that the server acknowledges only what its disk has. On a stream with
	// one replica, where it then writes one message after the other, commits of several
	// aggregates are gathered while others are being written, and stored together.
	SyncAlways bool
	// AppendTimeout is how long an append or the saving of a snapshot may stay without
	// an answer until it is looked up in the log, and how long that may take. Default 5 s.
	AppendTimeout time.Duration
	// ReadTimeout is how long one request for a message may stay without an answer; a
	// load is many. Default 5 s.
	ReadTimeout time.Duration
	// Logger for what nobody is told otherwise. Default slog.Default().
	Logger *slog.Logger

	newTicker func(time.Duration) (ticks <-chan time.Time, stop func())
	newID     func() string
}

func (c Config) withDefaults() (Config, error) {
	if c.AppendTimeout == 0 {
		c.AppendTimeout = defaultTimeout
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.newTicker == nil {
		c.newTicker = func(d time.Duration) (<-chan time.Time, func()) {
			t := time.NewTicker(d)
			return t.C, t.Stop
		}
	}
	if c.newID == nil {
		c.newID = nuid.Next
	}
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return c, fmt.Errorf("Context: %w", err)
	}
	if c.Partitions > MaxPartitions {
		return c, fmt.Errorf("Partitions is %d: the most is %d", c.Partitions, MaxPartitions)
	}
	if c.Replicas != 0 && c.Replicas != 1 && c.Replicas != 3 {
		return c, fmt.Errorf("Replicas is %d: choose 1 or 3", c.Replicas)
	}
	if c.AppendTimeout < time.Millisecond || c.ReadTimeout < time.Millisecond {
		return c, fmt.Errorf("AppendTimeout is %s and ReadTimeout is %s: give at least 1ms", c.AppendTimeout, c.ReadTimeout)
	}
	return c, c.checkConnections()
}

func (c Config) checkConnections() error {
	if c.Existing && c.Publish == nil && len(c.Read) > 0 && !slices.Contains(c.Read, nil) {
		return nil
	}
	if c.Publish == nil || len(c.Read) == 0 || slices.Contains(c.Read, nil) {
		return errors.New("Publish and Read: connections are needed for both")
	}
	if slices.Contains(c.Read, c.Publish) {
		return errors.New("Publish is also in Read: give another connection, since a long read holds up what waits behind it")
	}
	if c.Publish.Opts.ReconnectBufSize >= 0 {
		return errors.New("Publish buffers while it reconnects: connect it with nats.ReconnectBufSize(-1)")
	}
	return nil
}

// tick is the interval at which timeouts are looked at.
func (c Config) tick() time.Duration {
	return min(c.AppendTimeout, c.ReadTimeout) / ticksPerTimeout
}

// ticks that make up at least d.
func (c Config) ticks(d time.Duration) uint64 {
	return uint64((d+c.tick()-1)/c.tick()) + 1
}
