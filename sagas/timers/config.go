package timers

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast/messages"
)

const (
	defaultWorkers = 64
	maxWorkers     = 4096
	defaultTimeout = 30 * time.Second
	// patience is how long a timer that has been handed out may stay without a sign of
	// life of whom it was handed to.
	patience = 10 * time.Second
)

// Config says whose timers they are. Context and Conn have no default.
type Config struct {
	// Context whose timers they are.
	Context messages.Context
	// Conn carries everything. It needs JetStream's interface ($JS.API.>), its
	// acknowledgements ($JS.ACK.>) and the subjects of the context. It is not closed.
	Conn *nats.Conn
	// Replicas of the stream when it is made: 1 or 3, as many as the log has. Default 1.
	// An existing stream may have more.
	Replicas int
	// Workers is how many timers one Run has in hand at a time, 4096 at most. Default 64.
	Workers int
	// Timeout is how long one handle may take until its context ends. Default 30 s.
	Timeout time.Duration
	// Logger for what nobody is told otherwise. Default slog.Default().
	Logger *slog.Logger

	patience time.Duration
	pauses   pauses
	newID    func() string
}

// pauses are how long a timer rests whose handle has failed: at first, twice as long
// every time, and at most.
type pauses struct{ first, most time.Duration }

func (p pauses) after(failures uint64) time.Duration {
	pause := p.first
	for ; failures > 1 && pause < p.most; failures-- {
		pause *= 2
	}
	return min(pause, p.most)
}

func (c Config) withDefaults() (Config, error) {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Workers == 0 {
		c.Workers = defaultWorkers
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.patience == 0 {
		c.patience = patience
	}
	if c.pauses == (pauses{}) {
		c.pauses = pauses{first: time.Second, most: time.Minute}
	}
	if c.newID == nil {
		c.newID = nuid.Next
	}
	if _, err := messages.ParseContext(string(c.Context)); err != nil {
		return c, fmt.Errorf("Context: %w", err)
	}
	if c.Conn == nil {
		return c, errors.New("Conn: a connection is needed")
	}
	if c.Replicas != 1 && c.Replicas != 3 {
		return c, fmt.Errorf("Replicas is %d: choose 1 or 3", c.Replicas)
	}
	if c.Workers < 1 || c.Workers > maxWorkers {
		return c, fmt.Errorf("Workers is %d: choose 1 to %d", c.Workers, maxWorkers)
	}
	if c.Timeout < time.Millisecond {
		return c, fmt.Errorf("Timeout is %s: give at least 1ms", c.Timeout)
	}
	return c, nil
}
