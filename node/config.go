package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

const (
	defaultContext = "demo"
	defaultData    = "holdfast-data"
	defaultListen  = "127.0.0.1:4222"
)

// Config is what a node is started with. Types is required; everything else has a
// default.
type Config struct {
	// Context is the bounded context that the node serves; "demo" by default.
	Context string
	// Types are the aggregate types of the domain.
	Types []holdfast.Definition

	// Data is the folder in which the embedded NATS server keeps everything;
	// "holdfast-data" by default.
	Data string
	// Listen is where the embedded server listens for clients; 127.0.0.1:4222 by
	// default. Port 0 takes a free one.
	Listen string
	// ClientUser and ClientPassword are what clients have to give, if set. They must be
	// when Listen can be reached from other machines.
	ClientUser, ClientPassword string
	// RelaxedSync has commands answered before they are fsynced, which a crash of the
	// machine may undo: for benchmarks.
	RelaxedSync bool

	// NATS is the URL of an external NATS server to use instead of the embedded one, or
	// several with commas between them, and Credentials a file with the node's credentials
	// for it, if it needs one. Whether that server fsyncs before it answers cannot be seen
	// from outside. What concerns the embedded server (Data, Listen, ClientUser,
	// ClientPassword, RelaxedSync) must then be empty.
	NATS, Credentials string

	// Partitions of the log, 1,024 at the most; fixed once the context exists. 0 takes what
	// is there, or 1.
	Partitions int
	// Replicas of the log, 1 or 3; 1 by default. 3 needs an external cluster.
	Replicas int

	// Idle is how long an aggregate stays active without being asked; 2 minutes by
	// default.
	Idle time.Duration
	// MaxActive is how many aggregates may be active; 100,000 by default.
	MaxActive int
	// Queue is how many requests may wait at one aggregate; 1,024 by default.
	Queue int
	// MaxInFlight is how many requests of clients may be under way; 4,096 by default.
	MaxInFlight int
	// Timeout is how long a client's request may take; 10 seconds by default.
	Timeout time.Duration

	// Log is slog.Default() by default.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Context = cmp.Or(c.Context, defaultContext)
	c.Data = cmp.Or(c.Data, defaultData)
	c.Listen = cmp.Or(c.Listen, defaultListen)
	c.Replicas = cmp.Or(c.Replicas, 1)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// A ConfigError says what is wrong with a field of a [Config], and what to do.
type ConfigError struct {
	// Field is the wrong one, and Other, if not empty, the one that it does not go with.
	Field, Other string
	// Problem is the sentence. It names no field.
	Problem string
}

// Error begins with the fields.
func (e *ConfigError) Error() string {
	if e.Other != "" {
		return e.Field + " and " + e.Other + ": " + e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Validate finds what a node cannot be started with, without looking at anything but c:
// a *[ConfigError].
func (c Config) Validate() error {
	if len(c.Types) == 0 {
		return &ConfigError{Field: "Types", Problem: "a node without aggregate types serves nothing: give it some"}
	}
	if err := c.validatePlace(); err != nil {
		return err
	}
	if c.NATS == "" {
		if err := c.validateServer(); err != nil {
			return err
		}
	}
	return c.validateNumbers()
}

// validatePlace looks at what says where the log is.
func (c Config) validatePlace() error {
	if _, err := messages.ParseContext(cmp.Or(c.Context, defaultContext)); err != nil {
		return &ConfigError{Field: "Context", Problem: err.Error()}
	}
	if c.NATS == "" {
		if c.Credentials != "" {
			return &ConfigError{Field: "Credentials", Other: "NATS", Problem: "credentials are for an external NATS server: name it, or leave them out"}
		}
		return nil
	}
	if _, err := redact(c.NATS); err != nil {
		return &ConfigError{Field: "NATS", Problem: err.Error()}
	}
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"Data", c.Data != ""},
		{"Listen", c.Listen != ""},
		{"ClientUser", c.ClientUser != ""},
		{"ClientPassword", c.ClientPassword != ""},
		{"RelaxedSync", c.RelaxedSync},
	} {
		if f.given {
			return &ConfigError{Field: f.name, Other: "NATS", Problem: "the one is of the embedded NATS server, the other has an external one used instead: leave one of them out"}
		}
	}
	return nil
}

// validateServer looks at what the embedded server is started with.
func (c Config) validateServer() error {
	if c.Replicas == 3 {
		return &ConfigError{Field: "Replicas", Problem: "the embedded NATS server is alone, and 3 replicas need an external cluster: choose 1, or name the cluster"}
	}
	err := c.withDefaults().serverConfig().Validate()
	if field, ok := errors.AsType[*natsd.FieldError](err); ok {
		return (*ConfigError)(field)
	}
	return err
}

func (c Config) validateNumbers() error {
	if c.Partitions < 0 || c.Partitions > jetstream.MaxPartitions {
		return &ConfigError{Field: "Partitions", Problem: fmt.Sprintf("it is %d: choose 1 to %d, or 0 for what is there", c.Partitions, jetstream.MaxPartitions)}
	}
	if c.Replicas != 0 && c.Replicas != 1 && c.Replicas != 3 {
		return &ConfigError{Field: "Replicas", Problem: fmt.Sprintf("it is %d: choose 1 or 3", c.Replicas)}
	}
	for _, f := range []struct {
		name string
		n    int
	}{{"MaxActive", c.MaxActive}, {"Queue", c.Queue}, {"MaxInFlight", c.MaxInFlight}} {
		if f.n < 0 {
			return &ConfigError{Field: f.name, Problem: fmt.Sprintf("it is %d: choose 1 or more", f.n)}
		}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"Idle", c.Idle}, {"Timeout", c.Timeout}} {
		if f.d < 0 {
			return &ConfigError{Field: f.name, Problem: fmt.Sprintf("it is %v: choose more than nothing, for instance 10s", f.d)}
		}
	}
	return nil
}

// serverConfig is what the embedded server is started with.
func (c Config) serverConfig() natsd.Config {
	return natsd.Config{
		DataDir: c.Data, Listen: c.Listen, Context: c.Context,
		ClientUser: c.ClientUser, ClientPassword: c.ClientPassword,
		RelaxedSync: c.RelaxedSync, Logger: c.Log,
	}
}
