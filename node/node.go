package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/door"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/sagas/desk"
	"github.com/holdfast-run/holdfast/sagas/runner"
)

// A Node runs from Start to Stop.
type Node struct {
	config   Config
	secure   *tls.Config   // between nodes; nil when that is not encrypted
	patience *patience     // nil without a cluster
	server   *natsd.Server // nil with an external server
	link     *link
	conns    []*nats.Conn
	edge     *nats.Conn // of these, the one for clients' requests
	store    *jetstream.Store
	member   *cluster.Member
	gateway  *gateway.Gateway
	door     *door.Door     // nil with an external server
	sagas    *runner.Runner // nil without sagas
	desk     *desk.Desk     // nil without sagas
	feed     told
	inbox    post
	views    readModels
	// startDesk has operators of sagas answered; nil without sagas.
	startDesk func() error
	stop      sync.Once
	err       error
}

// Start starts a node, and returns when clients are served. With [Config.Cluster] it waits
// for as many of the others as that needs: for all of them when the log is begun, and for
// the majority later. When it fails or ctx ends before that, it leaves nothing behind but
// files. The error is that of
// [Config.Validate] when it cannot be started as config has it.
func Start(ctx context.Context, config Config) (*Node, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	n := &Node{config: config.withDefaults()}
	var err error
	if n.secure, err = n.config.peerTLS(); err != nil {
		return nil, err
	}
	if len(n.config.Cluster) > 0 {
		n.patience = n.config.beginPatience()
		defer n.patience.end()
	}
	if err := n.run(ctx); err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return nil, errors.Join(err, n.Stop(stopping))
	}
	return n, nil
}

func (n *Node) run(ctx context.Context) error {
	c := n.config
	name := messages.Context(c.Context) // which has been parsed
	types := typesOf(c.Types, c.Sagas)
	conns, err := n.connect(ctx)
	if err != nil {
		return err
	}
	n.store, err = jetstream.Open(ctx, jetstream.Config{
		Context: name, Partitions: uint32(c.Partitions), Replicas: c.Replicas,
		Publish: conns.publish, Read: conns.read, Logger: c.Log, SyncAlways: c.syncsEach(),
	})
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", name, err)
	}
	n.member, err = cluster.Start(ctx, cluster.Config{
		Host: actors.Config{
			Context: name, Store: n.store, Types: types, Log: c.Log,
			Queue: c.Queue, Idle: c.Idle, MaxActive: c.MaxActive,
		},
		Conn: conns.register, Replicas: c.Replicas, Name: c.Name, Version: version(),
		Listen: c.PeerListen, Advertise: c.PeerAdvertise, TLS: n.secure, Lease: c.Lease, Hosts: c.Hosts,
	})
	if err != nil {
		return err
	}
	n.edge = conns.edge
	// Before anything can happen that they have to hear of.
	if err := n.runSagas(ctx, conns.following); err != nil {
		return err
	}
	if err := n.runFeed(ctx, conns.following, conns.public); err != nil {
		return err
	}
	if err := n.runInbox(ctx, types, conns.following, conns.public); err != nil {
		return err
	}
	if err := n.runProjections(ctx, conns.following, conns.public); err != nil {
		return err
	}
	n.gateway, err = gateway.Start(gateway.Config{
		Context: name, Conn: conns.edge, Types: types, Logger: c.Log,
		Sender: n.member, Viewer: n.member, Reader: linkedReader{n.store, n.member.Linked}, Views: n.queried(),
		MaxInFlight: c.MaxInFlight, Timeout: c.Timeout, Version: version(),
		Log: messages.NewLogName(n.store.Created()),
	})
	if err != nil {
		return fmt.Errorf("serve %s: %w", name, err)
	}
	if err := n.openDoor(conns.public); err != nil {
		return err
	}
	if err := n.serveProjections(); err != nil {
		return err
	}
	if err := n.serveFeed(); err != nil {
		return err
	}
	if err := n.serveInbox(); err != nil || n.startDesk == nil {
		return err
	}
	return n.startDesk()
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

// connections of a node: one that publishes to the log, one for clients' requests, one for
// the register of nodes, which must not wait, one for what clients may read, one for what
// follows from the log, and some that read the log.
type connections struct {
	publish, edge, register, public, following *nats.Conn
	read                                       []*nats.Conn
}

func (n *Node) connect(ctx context.Context) (c connections, err error) {
	if err := n.reach(ctx); err != nil {
		return c, err
	}
	n.link = newLink(n.config.Log, n.ClientURL())
	open := func(role natsd.Role) (nc *nats.Conn) {
		if err != nil {
			return nil
		}
		if nc, err = n.dial(role); err == nil {
			n.conns = append(n.conns, nc)
		}
		return nc
	}
	c.publish, c.edge, c.register = open(natsd.Node), open(natsd.Gateway), open(natsd.Node)
	c.public, c.following = open(natsd.Publisher), open(natsd.Node)
	for range min(maxReaders, runtime.GOMAXPROCS(0)) {
		c.read = append(c.read, open(natsd.Node))
	}
	return c, err
}

// reach starts the embedded server, unless an external one is used.
func (n *Node) reach(ctx context.Context) error {
	if n.config.NATS == "" {
		return n.startServer(ctx)
	}
	if n.config.NATSSyncAlways {
		return nil
	}
	n.config.Log.Warn("whether the external NATS server fsyncs before it answers cannot be checked: set sync_interval: always on it, and say so with --nats-sync-always", "nats", n.ClientURL())
	return nil
}

func (n *Node) dial(role natsd.Role) (*nats.Conn, error) {
	if n.server != nil {
		return n.server.Connect(role, n.link.options()...)
	}
	return n.config.connect(append(n.link.options(), nats.Name("holdfast "+string(role)))...)
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
	servers, err := redact(n.config.NATS)
	if err != nil {
		return "" // not in a node that has been started
	}
	return servers
}

// Done is closed when the node cannot serve any longer, though nobody has stopped it:
// NATS has closed one of its connections for good. A server that is away for a while is
// not that. Stop is then all that is left to do.
func (n *Node) Done() <-chan struct{} { return n.link.closed }

// Err says why [Node.Done] is closed; nil as long as it is not.
func (n *Node) Err() error { return n.link.why() }

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

// drainMember hands over to the other nodes for half of the time that there is: the rest
// is for the requests that are under way.
func (n *Node) drainMember(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return n.member.Drain(ctx)
}

// lingering is how long a server passes on what others had sent to it before they heard
// that this node answers no more, and what it had answered.
const lingering = 250 * time.Millisecond

func (n *Node) linger(ctx context.Context) {
	if len(n.config.Cluster) == 0 {
		return
	}
	select {
	case <-time.After(lingering):
	case <-ctx.Done():
	}
}

// stopAnswering stops whatever answers requests.
func (n *Node) stopAnswering(ctx context.Context) error {
	err := n.gateway.Stop(ctx)
	if n.desk != nil {
		err = errors.Join(err, n.desk.Stop(ctx))
	}
	if n.door != nil {
		err = errors.Join(err, n.door.Stop(ctx))
	}
	return errors.Join(err, n.inbox.stopAnswering(ctx), n.feed.stopAnswering(ctx), n.views.stopAnswering(ctx))
}

// Stop takes no request any more, answers what is on its way until ctx ends, and shuts
// everything down in order. It bears repetition, and then gives the same error.
func (n *Node) Stop(ctx context.Context) error {
	n.stop.Do(func() {
		if n.link != nil {
			n.link.leave()
		}
		if n.sagas != nil {
			n.sagas.Stop()
		}
		if n.inbox.runner != nil {
			n.inbox.runner.Stop()
		}
		if n.gateway != nil {
			n.err = n.drainMember(ctx)
			n.err = errors.Join(n.err, n.stopAnswering(ctx), drain(ctx, n.edge))
			n.linger(ctx)
		}
		n.views.stop()
		if n.member != nil {
			n.err = errors.Join(n.err, n.member.Stop(ctx))
		}
		if n.feed.Feed != nil { // of which the events of the last requests have had a chance
			n.feed.Stop()
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
