package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	pcluster "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"

	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/messages"
)

// Config is what a member is made of.
type Config struct {
	// Host is what runs the aggregates; its System is the member's own, and is set here.
	Host actors.Config
	// Listen is the address for the other members, host:port; 127.0.0.1 with a free port
	// by default.
	Listen string
	// Now and NewID stamp commands that come without a time and an id. They are the
	// system's clock and random ids by default.
	Now   func() time.Time
	NewID func() string
}

// A Member is a node of the cluster. It implements holdfast.Sender and holdfast.Viewer.
type Member struct {
	config    Config
	log       *slog.Logger
	system    *actor.ActorSystem
	proto     *pcluster.Cluster
	host      *actors.Host
	placement placement
	joined    chan struct{} // closed when Proto.Actor's start has returned
	joinErr   error         // of that
	stop      sync.Once
	stopped   chan struct{}
}

// Sizes of the traffic between members. Proto.Actor packs a batch into one gRPC message,
// which must fit: 64 of the largest bodies stay below the limit.
const (
	remoteBatch   = 64
	remoteQueue   = 1024
	remoteMessage = 64 << 20
)

// Start makes this node a member and its aggregates reachable. It returns when both
// hold, or with an error when they did not before ctx ended.
func Start(ctx context.Context, config Config) (*Member, error) {
	config.setDefaults()
	host, port, err := splitAddress(config.Listen)
	if err != nil {
		return nil, err
	}
	m := &Member{config: config, log: config.Host.Log, joined: make(chan struct{}), stopped: make(chan struct{})}
	m.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(quieter{m.log.Handler()})
	}))
	config.Host.System = m.system
	if m.host, err = actors.NewHost(config.Host); err != nil {
		return nil, err
	}
	m.system.EventStream.Subscribe(m.onTopology)
	p := &provider{ready: make(chan struct{})}
	for _, def := range config.Host.Types {
		p.kinds = append(p.kinds, def.Name())
	}
	m.proto = pcluster.New(m.system, clusterConfig(config.Host.Context, p, host, port))
	m.host.Start()
	go m.join()
	select {
	case <-p.ready:
		return m, nil
	case <-m.joined:
		if err = m.joinErr; err == nil {
			return m, nil
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("join the cluster: %w", err), m.Stop(ctx))
}

func (c *Config) setDefaults() {
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
}

func splitAddress(s string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(s)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil {
		return "", 0, fmt.Errorf("cluster address %q: want host:port: %w", s, err)
	}
	return host, port, nil
}

func clusterConfig(c messages.Context, p *provider, host string, port int) *pcluster.Config {
	r := remote.Configure(host, port, remote.WithServerOptions(grpc.MaxRecvMsgSize(remoteMessage),
		grpc.UnaryInterceptor(refuseCall), grpc.StreamInterceptor(refuseStream)))
	r.EndpointWriterBatchSize, r.EndpointWriterQueueSize = remoteBatch, remoteQueue
	r.EndpointManagerBatchSize, r.EndpointManagerQueueSize = remoteBatch, remoteQueue
	config := pcluster.Configure(string(c), p, lookup{}, r,
		pcluster.WithHeartbeatExpiration(24*time.Hour),
		pcluster.WithClusterContextProducer(func(*pcluster.Cluster) pcluster.Context { return refusal{} }))
	config.GossipInterval = time.Hour // members are told by the provider, not by gossip
	return config
}

// join runs Proto.Actor's start, which panics on errors and sleeps a second at its end.
func (m *Member) join() {
	defer close(m.joined)
	defer func() {
		if v := recover(); v != nil {
			m.joinErr = fmt.Errorf("%v", v)
		}
	}()
	m.proto.StartMember()
}

func (m *Member) onTopology(event any) {
	t, ok := event.(*pcluster.ClusterTopology)
	if !ok {
		return
	}
	v := &view{self: m.system.ID}
	for _, member := range t.Members {
		v.members = append(v.members, member.Id)
	}
	m.placement.update(v)
}

// Stop leaves the cluster: no request is taken any more, what is on its way is answered,
// until ctx ends. It bears repetition.
func (m *Member) Stop(ctx context.Context) error {
	err := m.host.Stop(ctx)
	m.stop.Do(func() {
		defer close(m.stopped)
		<-m.joined
		m.placement.update(nil)
		if _, port, _ := m.system.GetHostPort(); port > 0 { // else it never listened
			m.proto.Gossip.Shutdown()
			m.proto.Remote.Shutdown(true)
		}
		m.system.Shutdown()
	})
	<-m.stopped
	return err
}

// Stats counts what the member's aggregates have done.
func (m *Member) Stats() actors.Stats { return m.host.Stats() }
