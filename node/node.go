package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
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

	// NATS is the URL of an external NATS server to use instead of the embedded one, and
	// Credentials a file with the node's credentials for it, if it needs one. Whether
	// that server fsyncs before it answers cannot be seen from outside.
	NATS, Credentials string

	// Partitions of the log; fixed once the context exists. 0 takes what is there, or 1.
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
	if c.Context == "" {
		c.Context = "demo"
	}
	if c.Data == "" {
		c.Data = "holdfast-data"
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:4222"
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// A Node runs from Start to Stop.
type Node struct {
	config  Config
	server  *natsd.Server // nil with an external server
	conns   []*nats.Conn
	edge    *nats.Conn // of these, the one for clients' requests
	store   *jetstream.Store
	member  *cluster.Member
	gateway *gateway.Gateway
	stop    sync.Once
	err     error
}

// Start starts a node, and returns when clients are served. When it fails or ctx ends
// before that, it leaves nothing behind but files.
func Start(ctx context.Context, config Config) (*Node, error) {
	n := &Node{config: config.withDefaults()}
	if err := n.run(ctx); err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, n.Stop(stopping))
	}
	return n, nil
}

func (n *Node) run(ctx context.Context) error {
	c := n.config
	name, err := messages.ParseContext(c.Context)
	if err != nil {
		return err
	}
	if len(c.Types) == 0 {
		return errors.New("the node has no aggregate types: give it some")
	}
	conns, err := n.connect(ctx)
	if err != nil {
		return err
	}
	n.store, err = jetstream.Open(ctx, jetstream.Config{
		Context: name, Partitions: uint32(c.Partitions), Replicas: c.Replicas,
		Publish: conns.publish, Read: conns.read, Logger: c.Log,
	})
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", name, err)
	}
	n.member, err = cluster.Start(ctx, cluster.Config{Host: actors.Config{
		Context: name, Store: n.store, Types: c.Types, Log: c.Log,
		Queue: c.Queue, Idle: c.Idle, MaxActive: c.MaxActive,
	}})
	if err != nil {
		return err
	}
	n.edge = conns.edge
	n.gateway, err = gateway.Start(gateway.Config{
		Context: name, Conn: conns.edge, Types: c.Types, Logger: c.Log,
		Sender: n.member, Viewer: n.member, Reader: n.store,
		MaxInFlight: c.MaxInFlight, Timeout: c.Timeout, Version: version(),
	})
	if err != nil {
		return fmt.Errorf("serve %s: %w", name, err)
	}
	return nil
}

var semantic = regexp.MustCompile(`^v(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)`)

// version of the binary, as its build knows it; empty when it was not built from a
// release.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := semantic.FindStringSubmatch(info.Main.Version); v != nil {
			return v[1]
		}
	}
	return ""
}

// maxReaders connections read the log: with one for each core of a server it loads so many
// aggregates at a time, and more would idle.
const maxReaders = 4

// connections of a node: one that publishes to the log, one for clients' requests, and
// some that read the log.
type connections struct {
	publish, edge *nats.Conn
	read          []*nats.Conn
}

func (n *Node) connect(ctx context.Context) (c connections, err error) {
	dial := n.dialExternal
	if n.config.NATS == "" {
		if err := n.embed(ctx); err != nil {
			return c, err
		}
		dial = n.server.Connect
	} else {
		n.config.Log.Warn("whether the external NATS server fsyncs before it answers cannot be checked: set sync_interval: always on it", "nats", n.ClientURL())
	}
	open := func(role natsd.Role) (nc *nats.Conn) {
		if err != nil {
			return nil
		}
		// Nothing may be sent behind our back after a reconnect.
		if nc, err = dial(role, nats.ReconnectBufSize(-1), nats.ErrorHandler(n.onAsyncError)); err == nil {
			n.conns = append(n.conns, nc)
		}
		return nc
	}
	c.publish, c.edge = open(natsd.Node), open(natsd.Gateway)
	for range min(maxReaders, runtime.GOMAXPROCS(0)) {
		c.read = append(c.read, open(natsd.Node))
	}
	return c, err
}

func (n *Node) embed(ctx context.Context) error {
	c := n.config
	var err error
	n.server, err = natsd.Start(ctx, natsd.Config{
		DataDir: c.Data, Listen: c.Listen, Context: c.Context,
		ClientUser: c.ClientUser, ClientPassword: c.ClientPassword,
		RelaxedSync: c.RelaxedSync, Logger: c.Log,
	})
	return err
}

func (n *Node) dialExternal(role natsd.Role, opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts, nats.Name("holdfast "+string(role)), nats.MaxReconnects(-1))
	if n.config.Credentials != "" {
		opts = append(opts, nats.UserCredentials(n.config.Credentials))
	}
	nc, err := nats.Connect(n.config.NATS, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", n.ClientURL(), err)
	}
	return nc, nil
}

func (n *Node) onAsyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	n.config.Log.Error("NATS connection", "subject", subject, "error", err)
}

// Sender sends commands to the node's aggregates, in process.
func (n *Node) Sender() holdfast.Sender { return n.member }

// Viewer shows the node's aggregates, in process.
func (n *Node) Viewer() holdfast.Viewer { return n.member }

// Stats counts what the node's aggregates have done.
func (n *Node) Stats() actors.Stats { return n.member.Stats() }

// ClientURL is where clients connect, without passwords.
func (n *Node) ClientURL() string {
	if n.config.NATS == "" {
		return n.server.ClientURL()
	}
	servers := strings.Split(n.config.NATS, ",")
	for i, s := range servers {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			return "the given NATS server"
		}
		servers[i] = u.Redacted()
	}
	return strings.Join(servers, ",")
}

// drain has what the server had delivered to the connection answered, and closes it.
func drain(ctx context.Context, nc *nats.Conn) error {
	closed := nc.StatusChanged(nats.CLOSED)
	defer nc.RemoveStatusListener(closed)
	if err := nc.Drain(); err != nil {
		if errors.Is(err, nats.ErrConnectionClosed) {
			return nil
		}
		return fmt.Errorf("drain the clients' connection: %w", err)
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain the clients' connection: %w", context.Cause(ctx))
	}
}

// Stop takes no request any more, answers what is on its way until ctx ends, and shuts
// everything down in order. It bears repetition, and then gives the same error.
func (n *Node) Stop(ctx context.Context) error {
	n.stop.Do(func() {
		if n.gateway != nil {
			n.err = errors.Join(n.err, n.gateway.Stop(ctx), drain(ctx, n.edge))
		}
		if n.member != nil {
			n.err = errors.Join(n.err, n.member.Stop(ctx))
		}
		if n.store != nil {
			n.store.Close()
		}
		for _, nc := range n.conns {
			nc.Close()
		}
		if n.server != nil {
			n.server.Stop()
		}
	})
	return n.err
}
