package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
)

// DefaultLease is how long the others wait for a node that has fallen silent.
const DefaultLease = 3 * time.Second

// LeastLease is the shortest lease that NATS can keep.
const LeastLease = time.Second

// Config is what a member is made of. Host and Conn are required.
type Config struct {
	// Host is what runs the aggregates; its System and Admit are the member's own, and
	// are set here.
	Host actors.Config
	// Conn reaches the register. The member neither drains nor closes it.
	Conn *nats.Conn
	// Replicas of the register, when it is made; 1 by default.
	Replicas int
	// Hosts are the names of those of Host.Types that this node hosts; all by default. The
	// others it takes to the nodes that do.
	Hosts []string
	// Name is what operators call the node; its address by default.
	Name string
	// Version is that of the node's release, for people.
	Version string
	// Listen is the address for the other members, host:port; 127.0.0.1 with a free port
	// by default.
	Listen string
	// Advertise is the address by which the others reach Listen, if it is another.
	Advertise string
	// TLS, when set, is used in both directions between members, and should demand and
	// show certificates; that of the member that is called is verified against the host of
	// its address. Without it, whoever can listen on the network between the nodes hears
	// what they say.
	TLS *tls.Config
	// Lease is how long after its last sign of life the others take the node for gone:
	// 3 seconds by default, and at least one. It is the same on all nodes.
	Lease time.Duration
	// Now and NewID stamp commands that come without a time and an id, and Now tells
	// whether the lease is good. They are the system's clock and random ids by default.
	Now   func() time.Time
	NewID func() string
}

// A Member is a node of the cluster. It implements holdfast.Sender and holdfast.Viewer.
type Member struct {
	config  Config
	log     *slog.Logger
	types   map[string]holdfast.Definition
	bucket  *bucket
	server  *grpc.Server
	address string
	peers   *peers
	waiting chan struct{} // one for each request that waits for its aggregate to move

	run    string // what this node is called as long as it runs, whichever member it is
	asked  chan struct{}
	asking sync.Once

	current  atomic.Pointer[incarnation]
	register *register       // of the last incarnation
	running  context.Context // ends when the member is to stop
	cancel   context.CancelFunc
	living   sync.WaitGroup // what puts one incarnation in the place of another
	workers  sync.WaitGroup
	stop     sync.Once
	stopErr  error
}

// mostWaiting bounds the requests that wait for an aggregate to move: beyond it they are
// refused, so that those whose aggregates do not move find room.
const mostWaiting = 1024

// Start makes this node a member and its aggregates reachable. It returns when both
// hold, or with an error when they did not before ctx ended.
func Start(ctx context.Context, config Config) (*Member, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	m := &Member{config: config, run: config.NewID(), log: config.Host.Log, waiting: make(chan struct{}, mostWaiting), asked: make(chan struct{})}
	m.types = map[string]holdfast.Definition{}
	for _, def := range config.Host.Types {
		m.types[def.Name()] = def
	}
	m.running, m.cancel = context.WithCancel(context.Background())
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("join the cluster: %w", err), m.Stop(ctx))
	}
	return m, nil
}

func (c *Config) setDefaults() error {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = newID
	}
	if c.Host.Log == nil {
		c.Host.Log = slog.Default()
	}
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.Lease < LeastLease {
		return fmt.Errorf("Lease %v: choose at least %v", c.Lease, LeastLease)
	}
	return nil
}

func (m *Member) start(ctx context.Context) error {
	var secret string
	err := m.patiently(ctx, func(ctx context.Context) (err error) {
		if m.bucket, err = openBucket(ctx, m.config.Conn, m.config.Host.Context, m.config.Replicas); err != nil {
			return err
		}
		secret, err = m.bucket.secret(ctx, m.config.NewID)
		return err
	})
	if err != nil {
		return err
	}
	crier, creds := newCrier(m.log, m.config.Now), insecure.NewCredentials()
	if m.config.TLS != nil {
		creds = watched{credentials.NewTLS(m.config.TLS), crier}
	}
	listener, err := net.Listen("tcp", m.config.Listen)
	if err != nil {
		return err
	}
	if m.address = m.config.Advertise; m.address == "" {
		m.address = addressOf(listener, m.config.Listen)
	}
	if m.config.Name == "" {
		m.config.Name = m.address
	}
	m.peers = newPeers(secret, creds, crier)
	m.server = newPeerServer(m, secret, creds)
	m.workers.Go(func() {
		if err := m.server.Serve(listener); err != nil {
			m.log.Error("the other nodes are not served any more", "error", err)
		}
	})
	var first *incarnation
	err = m.patiently(ctx, func(ctx context.Context) (err error) {
		first, err = m.incarnate(ctx)
		return err
	})
	if err != nil {
		return err
	}
	m.current.Store(first)
	m.living.Go(func() { m.live(first) })
	return nil
}

// patiently tries until ctx ends, while the register cannot be reached for a reason that
// passes: its stream has no leader just now, for instance.
func (m *Member) patiently(ctx context.Context, try func(context.Context) error) error {
	pause := time.NewTicker(m.config.Lease / retryAfter)
	defer pause.Stop()
	for told := false; ; told = true {
		attempt, cancel := context.WithTimeout(ctx, 2*m.config.Lease)
		err := try(attempt)
		cancel()
		if err == nil || !passing(err) {
			return err
		}
		if !told {
			m.log.Warn("the register of the nodes cannot be reached yet", "error", err)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// addressOf is where the others reach the listener: at the host that was given, which is
// the one in a certificate, unless that stands for all addresses.
func addressOf(l net.Listener, listen string) string {
	taken := l.Addr().String()
	host, _, err := net.SplitHostPort(listen)
	_, port, odd := net.SplitHostPort(taken)
	if ip := net.ParseIP(host); err != nil || odd != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return taken
	}
	return net.JoinHostPort(host, port)
}

// live follows the scene of the incarnation, and puts a new one in its place when its
// lease has been lost.
func (m *Member) live(i *incarnation) {
	for i != nil {
		s := i.scene.Load()
		m.peers.keep(func(id string) bool { return s.member(id) != nil })
		select {
		case <-s.changed:
		case <-m.running.Done():
			return
		case <-i.over.Done():
			if m.running.Err() == nil {
				m.log.Warn("this node was taken for gone, and comes back as a new member", "error", context.Cause(i.over))
				i = m.reincarnate(i)
			}
		}
	}
}

func (m *Member) reincarnate(old *incarnation) *incarnation {
	now, cancel := context.WithCancel(m.running)
	cancel() // what it has not answered by now it may not answer any more
	_ = old.close(now, context.Cause(old.over))
	for m.running.Err() == nil {
		ctx, cancel := context.WithTimeout(m.running, 2*m.config.Lease)
		next, err := m.incarnate(ctx)
		cancel()
		if err == nil {
			m.current.Store(next)
			return next
		}
		m.log.Warn("this node cannot come back yet", "error", err)
		select {
		case <-time.After(m.config.Lease / retryAfter):
		case <-m.running.Done():
		}
	}
	return nil
}

// Drain hands over to the other members what this one owns, and returns when it holds
// nothing and they send it nothing any more, or with ctx's error. Requests are served all
// the while, at the new owners. Where nobody could take over it does nothing, and it ends
// when this node's lease does: as when the last ones of a cluster stop together.
func (m *Member) Drain(ctx context.Context) error {
	i := m.current.Load()
	if !i.scene.Load().replaceable() {
		return nil
	}
	i.lease.change(func(r *record) { r.State, r.Since = stateDraining, 0 })
	for {
		s := i.scene.Load()
		if s.drained() {
			return nil
		}
		select {
		case <-s.changed:
		case <-i.over.Done():
			return nil
		case <-i.lease.spell.Load().ended: // nobody can be told, and whoever is there takes over
			return nil
		case <-ctx.Done():
			return fmt.Errorf("hand over to the other nodes: %s: %w", s.undrained(), context.Cause(ctx))
		}
	}
}

// Asked is closed when an operator has asked the node to leave: [Roster.Ask].
func (m *Member) Asked() <-chan struct{} { return m.asked }

func (m *Member) ask() { m.asking.Do(func() { close(m.asked) }) }

// Stop leaves the cluster: no request is taken any more, what is on its way is answered,
// until ctx ends. It bears repetition.
func (m *Member) Stop(ctx context.Context) error {
	m.stop.Do(func() {
		m.cancel()
		m.living.Wait()
		if m.server != nil {
			m.stopErr = m.leave(ctx)
			m.peers.close()
		}
		m.workers.Wait()
	})
	return m.stopErr
}

func (m *Member) leave(ctx context.Context) error {
	defer m.server.Stop()
	i := m.current.Load()
	if i == nil {
		return nil
	}
	err := i.host.Stop(ctx)
	defer context.AfterFunc(ctx, m.server.Stop)()
	m.server.GracefulStop()
	i.end(errors.New("the node is stopping"))
	i.workers.Wait()
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.config.Lease)
	defer cancel()
	if gone := i.lease.end(leaving); gone != nil {
		m.log.Warn("the others see that this node has gone only when its lease expires", "error", gone)
	}
	return errors.Join(err, i.close(ctx, nil))
}

// quiet passes on what Proto.Actor warns of; its notices are of no use to an operator.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(quieter{log.Handler()}) }

type quieter struct{ slog.Handler }

func (q quieter) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }

// Stats counts what the member's aggregates have done.
func (m *Member) Stats() actors.Stats { return m.current.Load().host.Stats() }
