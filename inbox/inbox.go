package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	defaultMaxWaiting = 1_000_000
	defaultMaxBytes   = -1 // which the server does not set aside
	defaultRetention  = 24 * time.Hour
	defaultWindow     = 2 * time.Minute
	leastWindow       = 100 * time.Millisecond // JetStream's
	leastRetention    = time.Second
	// goneFor is how long it can be seen in the bucket that a command is parked no more.
	goneFor = time.Minute
)

// Config is what [Open] needs. Context, Core, Public and Types are required.
type Config struct {
	// Context is the bounded context whose inbox it is.
	Context messages.Context
	// Core may use JetStream and publish the commands that are accepted, and Public may do so
	// with outcomes: where clients are kept apart, it is of the account that they can read.
	Core, Public *nats.Conn
	// Types are the aggregate types that clients may reach.
	Types []holdfast.Definition
	// Replicas of what is stored; 1 by default.
	Replicas int

	// MaxWaiting is how many commands may wait, 1,000,000 by default, and MaxBytes how many
	// bytes they may take, as many as there is room for by default. Beyond it clients hear that it is overloaded. Retention is
	// for how long an outcome can be read, 24 hours by default, and Window for how long the
	// stream itself knows a command's id again, 2 minutes by default. They count when the
	// streams are made.
	MaxWaiting, MaxBytes int64
	Retention, Window    time.Duration

	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Logger hears what nobody is told otherwise; slog.Default() by default.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return c, fmt.Errorf("Context: %w", err)
	}
	switch {
	case c.Core == nil || c.Public == nil:
		return c, errors.New("Core or Public is nil: give two NATS connections, or the same one twice")
	case len(c.Types) == 0:
		return c, errors.New("Types is empty: give the aggregate types that clients may reach")
	case c.MaxWaiting < 0 || c.MaxBytes < 0 || c.Retention < 0 || c.Window < 0:
		return c, errors.New("MaxWaiting, MaxBytes, Retention or Window is negative: choose a limit, or 0 for the default")
	case c.Window > 0 && c.Window < leastWindow || c.Retention > 0 && c.Retention < leastRetention:
		return c, fmt.Errorf("Window is less than %v or Retention less than %v: choose more, or 0 for the default", leastWindow, leastRetention)
	}
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, defaultMaxWaiting)
	c.MaxBytes = cmp.Or(c.MaxBytes, defaultMaxBytes)
	c.Retention = cmp.Or(c.Retention, defaultRetention)
	c.Window = cmp.Or(c.Window, defaultWindow)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// An Inbox is what is stored: the commands that wait, those that are parked, and outcomes. Its
// methods are for operators, on any node, and safe for concurrent use.
type Inbox struct {
	config   Config
	types    map[string]holdfast.Definition
	core     jetstream.JetStream
	public   jetstream.JetStream
	accepted jetstream.Stream
	outcomes jetstream.Stream
	parked   jetstream.KeyValue
}

// Open opens what is stored, and makes what is missing. It tries again until ctx ends. The error
// is a *[SettingError] when a stream is there and is not what it must be.
func Open(ctx context.Context, c Config) (*Inbox, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open inbox: config: %w", err)
	}
	b := &Inbox{config: c, types: map[string]holdfast.Definition{}}
	for _, def := range c.Types {
		b.types[def.Name()] = def
	}
	if b.core, err = jetstream.New(c.Core); err == nil {
		b.public, err = jetstream.New(c.Public)
	}
	if err == nil {
		b.accepted, err = openStream(ctx, b.core, acceptedStream(c), ofAccepted)
	}
	if err == nil {
		b.outcomes, err = openStream(ctx, b.public, outcomeStream(c), ofOutcomes)
	}
	if err == nil {
		b.parked, err = bucket.Open(ctx, c.Core, jetstream.KeyValueConfig{
			Bucket: c.Context.InboxBucket(), Description: "The commands of the inbox of " + string(c.Context) + " that are parked",
			Replicas: c.Replicas, LimitMarkerTTL: goneFor,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("open the inbox of %s: %w", c.Context, err)
	}
	return b, nil
}
