package natsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// routeUser is the name that members of a cluster show one another with the secret.
const routeUser = "holdfast-route"

func (c *Cluster) addTo(o *server.Options) error {
	host, port, err := splitAddress(c.Listen)
	if err != nil {
		return err
	}
	o.Cluster = server.ClusterOpts{Name: c.Name, Host: host, Port: port, TLSConfig: c.TLS, TLSTimeout: tlsTimeout}
	var user *url.Userinfo
	if c.Secret != "" {
		o.Cluster.Username, o.Cluster.Password = routeUser, c.Secret
		user = url.UserPassword(routeUser, c.Secret)
	}
	for _, r := range c.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r, User: user})
	}
	return nil
}

// ClusterSize is the number of servers of the cluster, running or not: 1 for a
// server that is alone. It is also how many replicas a stream can have, up to
// JetStream's limit of 5.
func (s *Server) ClusterSize() int {
	if s.cfg.Cluster == nil {
		return 1
	}
	return len(s.cfg.Cluster.Routes)
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
	if n < 1 {
		return nil, fmt.Errorf("start cluster: %d servers: choose at least 1", n)
	}
	const attempts = 5
	var err error
	for range attempts {
		var servers []*Server
		if servers, err = startMembers(ctx, n, cfg); err == nil {
			return servers, nil
		}
		// Another process may take a port between its choice and its use.
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fmt.Errorf("start cluster: %w", err)
}

func startMembers(ctx context.Context, n int, cfg Config) ([]*Server, error) {
	configs, err := memberConfigs(n, cfg)
	if err != nil {
		return nil, err
	}
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
	servers := make([]*Server, n)
	for range n {
		r := <-results
		servers[r.i] = r.server
		if r.err != nil {
			cancel(r.err) // The others would wait for this one; the first cause counts.
		}
	}
	if err = context.Cause(ctx); err == nil && n > 1 {
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

func memberConfigs(n int, cfg Config) ([]Config, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("DataDir is empty: name the folder that is to hold the data")
	}
	if cfg.Name == "" {
		cfg.Name = defaultName
	}
	routes, err := freeAddresses(n)
	if err != nil {
		return nil, err
	}
	configs := make([]Config, n)
	for i := range configs {
		c := cfg
		c.Name = fmt.Sprintf("%s-%d", cfg.Name, i+1)
		c.DataDir = filepath.Join(cfg.DataDir, c.Name)
		c.Listen, c.Cluster = "127.0.0.1:0", nil
		if n > 1 {
			c.Cluster = &Cluster{Name: cfg.Name, Listen: routes[i], Routes: routes}
		}
		configs[i] = c
	}
	return configs, nil
}

// freeAddresses returns n addresses that were free a moment ago.
func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		defer l.Close() // All are held until all are found, or they might be the same.
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}

// awaitReplicas returns when a stream with a replica on each server has been
// made and has stored a message; it is removed again. Nothing less tells: the
// leader counts a member as present before it can place a stream there.
func (s *Server) awaitReplicas(ctx context.Context) error {
	nc, err := s.Connect(Node)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	const name, subject = "HOLDFAST_PROBE", "holdfast.probe"
	return s.poll(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{subject}, Storage: jetstream.MemoryStorage, Replicas: min(s.ClusterSize(), 5),
		})
		if err != nil {
			return err
		}
		if _, err := js.Publish(ctx, subject, nil); err != nil {
			return err
		}
		return js.DeleteStream(ctx, name)
	})
}
