package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsEnv has the test binary be a NATS server instead, as configured in it: one that
// knows nothing of Holdfast, in a process of its own, which can be killed.
const natsEnv = "HOLDFAST_TESTS_NATS"

// A natsConfig is what such a server is started with.
type natsConfig struct {
	Name, Folder string
	Port         int
	RoutePort    int
	Routes       []string // of a cluster
}

// serveNATS is the server. It returns with the process's exit code when it could not start.
func serveNATS(config string) int {
	var c natsConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Port, JetStream: true, StoreDir: c.Folder, SyncAlways: true,
		DisableJetStreamBanner: true, NoLog: true, PingInterval: 2 * time.Second,
	}
	if c.RoutePort != 0 {
		// Without NoAdvertise clients would learn of ways around the lines that are cut.
		o.Cluster = server.ClusterOpts{Name: "tests", Host: "127.0.0.1", Port: c.RoutePort, NoAdvertise: true, PingInterval: 2 * time.Second}
		o.Routes = server.RoutesFromStr("nats://" + strings.Join(c.Routes, ",nats://"))
	}
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.Start()
	s.WaitForShutdown()
	return 0
}

// A natsServer is one in a process.
type natsServer struct {
	config natsConfig
	cmd    *exec.Cmd
}

func (s *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.config.Port) }

func (s *natsServer) start(t *testing.T) {
	t.Helper()
	config, err := json.Marshal(s.config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(self)
	s.cmd.Env = append(os.Environ(), natsEnv+"="+string(config))
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
}

// kill is SIGKILL. It bears repetition.
func (s *natsServer) kill() {
	_ = s.cmd.Process.Kill() // it may have ended already
	_ = s.cmd.Wait()
}

// startNATS starts as many servers, as one cluster, with folder to hold their data, and
// returns when streams with a replica on each can be made.
func startNATS(t *testing.T, n int, folder func(name string) string) []*natsServer {
	t.Helper()
	ports := freePorts(t, 2*n)
	var servers []*natsServer
	var routes []string
	for _, p := range ports[n:] {
		routes = append(routes, fmt.Sprintf("127.0.0.1:%d", p))
	}
	for i := range n {
		name := fmt.Sprint("s", i+1)
		c := natsConfig{Name: name, Folder: folder(name), Port: ports[i]}
		if n > 1 {
			c.RoutePort, c.Routes = ports[n+i], routes
		}
		s := &natsServer{config: c}
		s.start(t)
		servers = append(servers, s)
	}
	awaitNATS(t, servers[0].url(), n)
	return servers
}

func awaitNATS(t *testing.T, url string, replicas int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		try, enough := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.CreateStream(try, jetstream.StreamConfig{Name: "PROBE", Subjects: []string{"probe"}, Replicas: replicas, Storage: jetstream.MemoryStorage})
		enough()
		if err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the NATS servers are not ready: %v", err)
		}
	}
	if err := js.DeleteStream(ctx, "PROBE"); err != nil {
		t.Fatal(err)
	}
}
