package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	defaultMaxInFlight      = 4096
	defaultMaxInFlightBytes = 64 << 20
	defaultMaxBody          = 512 << 10
	defaultTimeout          = 10 * time.Second
	defaultVersion          = "0.0.0"

	// What a subscription may hold before it drops: requests are taken from it as fast
	// as they can be counted, so this is for bursts.
	pendingMessages = 128 << 10
	pendingBytes    = 64 << 20
)

// Config is what a gateway is started with. Context, Conn, Types, Sender, Viewer and
// Reader are required.
type Config struct {
	// Context is the bounded context whose subjects are served.
	Context messages.Context
	// Conn carries requests and replies. The gateway neither drains nor closes it. Its
	// user should not be able to publish into the log. Set its error and closed handlers
	// before Start.
	Conn *nats.Conn
	// Types are the aggregate types that clients may reach.
	Types []holdfast.Definition
	// Sender executes commands.
	Sender holdfast.Sender
	// Viewer shows aggregates as they are now.
	Viewer holdfast.Viewer
	// Reader reads the log, for the past and the history.
	Reader persistence.Reader
	// Views are the read models that clients may query; nil when there are none.
	Views Views

	// MaxInFlight is how many requests may be under way; default 4,096.
	MaxInFlight int
	// MaxInFlightBytes is how many bytes the bodies of those may take together; default
	// 64 MiB.
	MaxInFlightBytes int
	// MaxBody is how many bytes a request's body may have; default 512 KiB.
	MaxBody int
	// Timeout is how long a request may take; default 10 s. A command that takes longer
	// is answered as uncertain.
	Timeout time.Duration

	// Now is the clock that stamps commands and tells whether a time has come; default
	// time.Now.
	Now func() time.Time
	// NewID makes ids: of commands that came without one, and of references to the log
	// in internal errors. It gives what messages.CheckCommandID takes, and never the same
	// twice. Default nuid.Next.
	NewID func() string
	// Log names the log, so that clients can tell whether it is the one that they know.
	Log messages.LogName
	// Version of the service, as SemVer; default 0.0.0.
	Version string
	// Logger hears what clients are not told, and what could not be answered; default
	// slog.Default().
	Logger *slog.Logger

	pending int // messages that a subscription may hold
}

// withDefaults returns c with what was left empty filled in, or an error that names the
// field that is wrong.
func (c Config) withDefaults() (Config, error) {
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return c, fmt.Errorf("Context: %w", err)
	}
	switch {
	case c.Conn == nil:
		return c, errors.New("Conn is nil: give a NATS connection")
	case len(c.Types) == 0:
		return c, errors.New("Types is empty: give the aggregate types that clients may reach")
	case c.Sender == nil || c.Viewer == nil || c.Reader == nil:
		return c, errors.New("Sender, Viewer or Reader is nil: all three are needed")
	case c.MaxInFlight < 0 || c.MaxInFlightBytes < 0 || c.MaxBody < 0 || c.Timeout < 0:
		return c, errors.New("MaxInFlight, MaxInFlightBytes, MaxBody or Timeout is negative: choose a limit, or 0 for the default")
	}
	orDefault(&c.MaxInFlight, defaultMaxInFlight)
	orDefault(&c.MaxInFlightBytes, defaultMaxInFlightBytes)
	orDefault(&c.MaxBody, defaultMaxBody)
	orDefault(&c.Timeout, defaultTimeout)
	orDefault(&c.Version, defaultVersion)
	orDefault(&c.pending, pendingMessages)
	if c.MaxBody > c.MaxInFlightBytes {
		return c, fmt.Errorf("MaxBody is %d, more than MaxInFlightBytes, %d: such a request could never run", c.MaxBody, c.MaxInFlightBytes)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = nuid.Next
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
