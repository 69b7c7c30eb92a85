package natsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// routeUser is the name that members of a cluster show one another with the secret.
const routeUser = "holdfast-route"

// addCluster puts the cluster into o, which has its listener for clients already.
func (c Config) addCluster(o *server.Options) error {
	cl := c.Cluster
	host, port, err := splitAddress(cl.Listen)
	if err != nil {
		return err
	}
	o.Cluster = server.ClusterOpts{
		Name: cl.Name, Host: host, Port: port, TLSConfig: cl.TLS, TLSTimeout: connectTimeout.Seconds(), PingInterval: pingMembers,
		// Clients of other members would take a loopback address for one of their own machine.
		NoAdvertise: isLoopback(o.Host) && !isLoopback(host),
	}
	var user *url.Userinfo
	if cl.Secret != "" {
		o.Cluster.Username, o.Cluster.Password = routeUser, cl.Secret
		user = url.UserPassword(routeUser, cl.Secret)
	}
	for _, r := range cl.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r, User: user})
	}
	return nil
}

// clusterSize is the number of servers of the cluster, running or not: 1 for a
// server that is alone. It is also how many replicas a stream can have, up to
// JetStream's limit of 5.
func (s *Server) clusterSize() int {
	if s.cfg.Cluster == nil {
		return 1
	}
	return len(s.cfg.Cluster.Routes)
}

// connectedMembers are the names of the other members that this one is
// connected to.
func (s *Server) connectedMembers() []string {
	routes, err := s.nats.Routez(nil)
	if err != nil { // which is only for options
		return nil
	}
	var names []string
	for _, r := range routes.Routes { // several of them lead to one member
		if !slices.Contains(names, r.RemoteName) {
			names = append(names, r.RemoteName)
		}
	}
	return names
}

// Config is what the server runs with: defaults filled in and a random port
// replaced by the one that was taken. [Start] with it, after Stop, brings the
// same server back at the same address.
func (s *Server) Config() Config {
	return s.cfg
}

// StartCluster runs n servers in this process as one JetStream cluster, for
// tests and benchmarks. They are named cfg.Name-1 to -n, keep their data in
// folders of these names below cfg.DataDir, and listen at random ports of
// 127.0.0.1; Listen and Cluster of cfg are of no account. It returns when
// streams with a replica on each (at most 5) can be made. With n = 1 it is one
// server without a cluster. The caller stops every server.
func StartCluster(ctx context.Context, n int, cfg Config) ([]*Server, error) {
	return startCluster(ctx, n, cfg, FreeAddresses)
}

func startCluster(
	ctx context.Context, n int, cfg Config, free func(n int) ([]string, error),
) ([]*Server, error) {
	if n < 1 {
		return nil, fmt.Errorf("start cluster: %d servers: choose at least 1", n)
	}
	if cfg.DataDir == "" {
		return nil, errors.New("start cluster: DataDir is empty: name the folder that is to hold the data")
	}
	const attempts = 5
	var err error
	for range attempts {
		var addresses []string
		if addresses, err = free(2 * n); err != nil {
			break
		}
		var servers []*Server
		servers, err = startMembers(ctx, memberConfigs(addresses[:n], addresses[n:], cfg))
		if err == nil {
			return servers, nil
		}
		// Another process may take a port between its choice and its use.
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("start cluster: %w", err)
}

func startMembers(ctx context.Context, configs []Config) ([]*Server, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		i      int
		server *Server
		err    error
	}
	results := make(chan result)
	for i, c := range configs {
		go func() {
			s, err := Start(ctx, c)
			results <- result{i, s, err}
		}()
	}
	servers := make([]*Server, len(configs))
	var err error
	for range configs {
		r := <-results
		servers[r.i] = r.server
		if r.err != nil && err == nil {
			err = r.err
			cancel(err) // The others would wait for this one.
		}
	}
	if err == nil && len(servers) > 1 {
		err = servers[0].awaitReplicas(ctx)
	}
	if err != nil {
		for _, s := range servers {
			if s != nil {
				s.Stop()
			}
		}
		return nil, err
	}
	return servers, nil
}

// memberConfigs are those of the members that have one of routes and one of
// clients each.
func memberConfigs(routes, clients []string, cfg Config) []Config {
	if cfg.Name == "" {
		cfg.Name = defaultName
	}
	configs := make([]Config, len(routes))
	for i := range configs {
		c := cfg
		c.Name = fmt.Sprintf("%s-%d", cfg.Name, i+1)
		c.DataDir = filepath.Join(cfg.DataDir, c.Name)
		c.Listen, c.Cluster = clients[i], nil
		if len(routes) > 1 {
			c.Cluster = &Cluster{Name: cfg.Name, Listen: routes[i], Routes: routes}
		}
		configs[i] = c
	}
	return configs
}

// FreeAddresses returns n addresses of 127.0.0.1 that were free a moment ago,
// for tests and benchmarks. Their ports lie below those that systems give to
// outgoing connections: none of these takes one, neither before the server does
// nor while a member is down.
func FreeAddresses(n int) ([]string, error) {
	const lowest, ports, tries = 20000, 10000, 1000
	var addresses []string
	for range tries {
		if len(addresses) == n {
			return addresses, nil
		}
		offset, err := rand.Int(rand.Reader, big.NewInt(ports))
		if err != nil {
			return nil, fmt.Errorf("choose port: %w", err)
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.FormatInt(lowest+offset.Int64(), 10)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		defer l.Close() // All are held until all are found, or they might be the same.
		addresses = append(addresses, l.Addr().String())
	}
	return nil, fmt.Errorf("find free port: none after %d tries from %d to %d", tries, lowest, lowest+ports-1)
}

const (
	probeStream  = "HOLDFAST_PROBE"
	probeSubject = "holdfast.probe"
)

// awaitReplicas returns when a stream with a replica on each server has stored
// a message on all of them; it is removed again. Nothing less tells: JetStream
// answers as soon as there is a majority, and it also makes streams with
// replicas on members that are away.
func (s *Server) awaitReplicas(ctx context.Context) error {
	js, err := s.openJetStream()
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	return s.poll(ctx, func(ctx context.Context) error {
		return probeReplicas(ctx, js, min(s.clusterSize(), 5))
	})
}

func probeReplicas(ctx context.Context, js jetstream.JetStream, replicas int) error {
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: probeStream, Subjects: []string{probeSubject}, Storage: jetstream.MemoryStorage, Replicas: replicas,
	})
	if err != nil {
		return err
	}
	if _, err := js.Publish(ctx, probeSubject, nil); err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	if info.Cluster == nil || len(info.Cluster.Replicas) != replicas-1 {
		return errors.New("replicas are missing")
	}
	for _, r := range info.Cluster.Replicas {
		if !r.Current || r.Offline {
			return fmt.Errorf("replica on %s is not current", r.Name)
		}
	}
	return js.DeleteStream(ctx, probeStream)
}
