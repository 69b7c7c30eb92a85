package natsd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/certtest"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	addresses, err := natsd.FreeAddresses(n)
	if err != nil {
		t.Fatal(err)
	}
	return addresses
}

func startCluster(t *testing.T, n int) []*natsd.Server {
	t.Helper()
	servers, err := natsd.StartCluster(within(t), n, natsd.Config{DataDir: t.TempDir(), Context: demo, Logger: quiet()})
	if err != nil {
		t.Fatalf("StartCluster: %v", err)
	}
	for _, s := range servers {
		t.Cleanup(s.Stop)
	}
	return servers
}

func TestClusterSurvivesLossOfOne(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 3)
	clients := make([]*nats.Conn, len(servers))
	for i, s := range servers {
		if got := s.ClusterSize(); got != 3 {
			t.Errorf("ClusterSize = %d, want 3", got)
		}
		clients[i] = connect(t, s, natsd.Node)
	}
	makeLog(t, clients[0], 3)
	appendTo(t, clients[0], 10)

	leader := leaderOf(t, servers)
	servers[leader].Stop()
	other := servers[(leader+1)%3]
	nc := clients[(leader+1)%3]
	js := stream(t, nc)
	eventually(t, "append after the leader's stop", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, demo+".log.0.account.b-1", nil)
		return err
	})
	if got := count(t, nc); got < 11 {
		t.Errorf("%d messages without the leader, want 11", got)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	wantIs(t, other.AwaitReplicas(short), context.DeadlineExceeded)

	// What it has lost it gets back from the others.
	back := servers[leader].Config()
	if err := os.Remove(filepath.Join(back.DataDir, "jetstream", "CORE", "streams", logName, "meta.inf")); err != nil {
		t.Fatal(err)
	}
	start(t, back)
	if err := other.AwaitReplicas(within(t)); err != nil {
		t.Errorf("after the return of the third: %v", err)
	}
	eventually(t, "catch up", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		log, err := js.Stream(ctx, logName)
		if err != nil {
			return err
		}
		for _, r := range log.CachedInfo().Cluster.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("%s is not current", r.Name)
			}
		}
		return nil
	})
}

// leaderOf returns the index of the server that leads the log.
func leaderOf(t *testing.T, servers []*natsd.Server) int {
	t.Helper()
	nc, leader := connect(t, servers[0], natsd.Node), ""
	eventually(t, "the log has a leader", func() error {
		if leader = logInfo(t, nc).Cluster.Leader; leader == "" {
			return errors.New("it has none")
		}
		return nil
	})
	for i, s := range servers {
		if s.Config().Name == leader {
			return i
		}
	}
	t.Fatalf("leader %q is none of the servers", leader)
	return 0
}

func TestClientReachesOtherMember(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 2)
	answer(t, connect(t, servers[0], natsd.Gateway), demo+".cmd.>", "done")
	edge := dial(t, servers[1].ClientURL())
	// Whether somebody listens spreads among the members in its own time.
	eventually(t, "request across members", func() error {
		reply, err := edge.Request(deposit, nil, time.Second)
		if err == nil && string(reply.Data) != "done" {
			err = fmt.Errorf("reply %q", reply.Data)
		}
		return err
	})
}

func TestClusterOfOneIsAlone(t *testing.T) {
	t.Parallel()
	s := startCluster(t, 1)[0]
	if s.ClusterSize() != 1 || s.Config().Cluster != nil {
		t.Errorf("ClusterSize = %d, Cluster = %v", s.ClusterSize(), s.Config().Cluster)
	}
}

func TestClusterWithSecretAndTLS(t *testing.T) {
	t.Parallel()
	secure := certtest.NewAuthority(t).Mutual(time.Now().Add(time.Hour), "127.0.0.1")
	routes := freeAddresses(t, 3)
	member := func(i int, secret string) natsd.Config {
		cfg := config(t)
		cfg.Name = fmt.Sprintf("member-%d", i)
		cfg.Cluster = &natsd.Cluster{
			Name: "secret", Listen: routes[i], Routes: routes[:max(2, i+1)], Secret: secret, TLS: secure,
		}
		return cfg
	}
	cfg, first := member(0, "s3cret"), make(chan error, 1)
	go func() {
		s, err := natsd.Start(within(t), cfg)
		if err == nil {
			t.Cleanup(s.Stop)
		}
		first <- err
	}()
	start(t, member(1, "s3cret"))
	if err := receive(t, first, "first member"); err != nil {
		t.Errorf("first member: %v", err)
	}
	short, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	wantIs(t, refused(t, short, member(2, "guess")), context.DeadlineExceeded)

	route, err := tls.Dial("tcp", routes[1], secure)
	if err != nil {
		t.Fatalf("members do not speak TLS: %v", err)
	}
	route.Close()
}

func TestRoutePortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config(t)
	cfg.Cluster = &natsd.Cluster{
		Name: "c", Listen: taken.Addr().String(), Routes: []string{taken.Addr().String(), "127.0.0.1:1"},
	}
	wantIs(t, refused(t, within(t), cfg), syscall.EADDRINUSE)
}

func TestClusterChoosesOtherPorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := natsd.Config{DataDir: t.TempDir(), Context: demo, Logger: quiet()}
	calls := 0
	servers, err := natsd.StartClusterAt(within(t), 1, cfg, func(n int) ([]string, error) {
		calls++
		addresses := freeAddresses(t, n)
		if calls == 1 { // One server needs no port for routes, which come first.
			addresses[1] = taken.Addr().String()
		}
		return addresses, nil
	})
	if err != nil {
		t.Fatalf("StartCluster: %v", err)
	}
	for _, s := range servers {
		s.Stop()
	}
	if calls != 2 {
		t.Errorf("chose ports %d times, want 2", calls)
	}
}

func TestStartClusterRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		n    int
		cfg  natsd.Config
		free error
		says string
	}{
		{"NoServers", 0, natsd.Config{DataDir: t.TempDir(), Context: demo}, nil, "at least 1"},
		{"NoFolder", 2, natsd.Config{Context: demo}, nil, "DataDir"},
		{"NoContext", 2, natsd.Config{DataDir: t.TempDir()}, nil, "Context"},
		{"NoPorts", 2, natsd.Config{DataDir: t.TempDir(), Context: demo}, errors.New("none left"), "none left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := natsd.StartClusterAt(within(t), tt.n, tt.cfg, func(n int) ([]string, error) {
				return freeAddresses(t, n), tt.free
			})
			if err == nil {
				t.Fatal("StartCluster succeeded")
			}
			wantText(t, err, "start cluster", tt.says)
		})
	}
}
