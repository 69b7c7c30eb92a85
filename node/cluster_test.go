package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
)

// trio are the configs of three nodes that form a cluster.
func trio(t *testing.T) []node.Config {
	t.Helper()
	addresses, err := natsd.FreeAddresses(3)
	if err != nil {
		t.Fatal(err)
	}
	var members []node.ClusterNode
	for i, a := range addresses {
		members = append(members, node.ClusterNode{Name: fmt.Sprintf("n%d", i+1), Address: a})
	}
	configs := make([]node.Config, len(members))
	for i, m := range members {
		c := config(t)
		c.Lease = 0 // the default: nobody can be told of the last one that stops
		c.Data, c.Name, c.Cluster, c.ClusterSecret = filepath.Join(c.Data, m.Name), m.Name, members, "s3cret"
		configs[i] = c
	}
	return configs
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// startAll starts nodes at the same time.
func startAll(t *testing.T, configs ...node.Config) []*node.Node {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	nodes, errs := make([]*node.Node, len(configs)), make([]error, len(configs))
	var all sync.WaitGroup
	for i, c := range configs {
		all.Go(func() { nodes[i], errs[i] = node.Start(ctx, c) })
	}
	all.Wait()
	t.Cleanup(func() { stopAll(t, nodes...) })
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return nodes
}

// stopAll stops nodes at the same time: the last of them would wait for the others.
func stopAll(t *testing.T, nodes ...*node.Node) {
	t.Helper()
	var all sync.WaitGroup
	for _, n := range nodes {
		if n != nil {
			all.Go(func() { stop(t, n) })
		}
	}
	all.Wait()
}

func dial(t *testing.T, n *node.Node) *nats.Conn {
	t.Helper()
	nc, err := natsd.Dial(n.ClientURL(), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// answer asks once, and gives the version that the aggregate has then. The code is that
// of the refusal.
func answer(ctx context.Context, nc *nats.Conn, subject, id, body string) (version uint64, code string, err error) {
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	m.Header.Set(nats.MsgIdHdr, id)
	r, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, "", err
	}
	if code := r.Header.Get("Nats-Service-Error-Code"); code != "" {
		return 0, code, fmt.Errorf("%s %s", code, r.Header.Get("Nats-Service-Error"))
	}
	var done struct{ Version uint64 }
	return done.Version, "", json.Unmarshal(r.Data, &done)
}

// send sends a command until it is executed, with one id.
func send(t *testing.T, nc *nats.Conn, subject, id, body string) uint64 {
	t.Helper()
	ctx := within(t, time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		version, code, err := answer(short, nc, subject, id, body)
		cancel()
		if err == nil {
			return version
		}
		if code == "400" {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s %s: %v", subject, id, err)
		}
	}
}

// leaderOfLog is the index of the node whose server leads the log.
func leaderOfLog(t *testing.T, configs []node.Config) int {
	t.Helper()
	admin, err := natsd.ReadAdmin(configs[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsd.Dial(admin.URL, nats.UserInfo(admin.User, admin.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	leader := -1
	poll(t, "somebody leads the log", func() bool {
		log, err := js.Stream(within(t, 10*time.Second), "DEMO_LOG_0")
		if err != nil {
			return false
		}
		if r := log.CachedInfo().Config.Replicas; r != 3 {
			t.Errorf("the log has %d replicas", r)
		}
		leader = slices.IndexFunc(configs, func(c node.Config) bool { return c.Name == log.CachedInfo().Cluster.Leader })
		return leader >= 0
	})
	return leader
}

// verified has a server verify the log, as soon as all replicas have caught up.
func verified(t *testing.T, c node.Config) {
	t.Helper()
	eventually(t, cli.ExitOK, []string{"nothing is wrong"}, "verify", "--data", c.Data)
}

// Three nodes keep one log; when one stops the other two go on, and it comes back to its
// place.
func TestCluster(t *testing.T) {
	t.Parallel()
	const opening, deposit = "demo.cmd.account.ada.OpenAccount", "demo.cmd.account.ada.Deposit"
	configs := trio(t)
	begin := time.Now()
	nodes := startAll(t, configs...)
	t.Logf("three nodes serve after %v", time.Since(begin))
	var version uint64
	count := func(n *node.Node, id string) {
		t.Helper()
		begin := time.Now()
		version++
		if v := send(t, dial(t, n), deposit, id, `{"amount":1}`); v != version {
			t.Errorf("%s: version %d, want %d", id, v, version)
		}
		t.Logf("%s: answered after %v", id, time.Since(begin))
	}
	version = send(t, dial(t, nodes[0]), opening, "open", `{"owner":"Ada"}`)
	for i, n := range nodes {
		count(n, fmt.Sprint("all-", i))
	}

	leader := leaderOfLog(t, configs)
	for _, one := range []int{(leader + 1) % 3, leader} {
		begin := time.Now()
		stop(t, nodes[one])
		t.Logf("stopped %s after %v; the leader was %s", configs[one].Name, time.Since(begin), configs[leader].Name)
		for i := 1; i < 3; i++ {
			count(nodes[(one+i)%3], fmt.Sprint("without-", one, "-at-", i))
		}
		begin = time.Now()
		nodes[one] = startAll(t, configs[one])[0]
		t.Logf("it serves again after %v", time.Since(begin))
		count(nodes[one], fmt.Sprint("again-", one))
	}
	for _, c := range configs {
		verified(t, c)
	}
	stopAll(t, nodes...)
}

// A node whose server has lost the others says so to whoever asks, and can be stopped.
func TestClusterWithoutMajority(t *testing.T) {
	t.Parallel()
	configs := trio(t)
	nodes := startAll(t, configs...)
	last := dial(t, nodes[2])
	send(t, last, "demo.cmd.account.ada.OpenAccount", "open", `{"owner":"Ada"}`)
	stopAll(t, nodes[:2]...)
	begin := time.Now()
	_, code, err := answer(within(t, time.Minute), last, "demo.cmd.account.ada.Deposit", "alone", `{"amount":1}`)
	t.Logf("%q after %v", code, time.Since(begin))
	if code != "503" && code != "504" && !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("without a majority: %v", err)
	}
	begin = time.Now()
	if err := nodes[2].Stop(within(t, time.Minute)); err != nil { // it looks for its append as long as it may
		t.Error(err)
	}
	t.Logf("stopped after %v", time.Since(begin))

	begin = time.Now()
	nodes = startAll(t, configs...)
	t.Logf("all serve again after %v", time.Since(begin))
	if v := send(t, dial(t, nodes[0]), "demo.cmd.account.ada.Deposit", "alone", `{"amount":1}`); v != 2 {
		t.Errorf("version %d, want 2", v)
	}
	begin = time.Now()
	stopAll(t, nodes...)
	t.Logf("all stopped after %v", time.Since(begin))
}

// hears passes on what is logged at info level and begins with says.
type hears struct {
	slog.Handler
	says string
	to   chan<- string
}

func (h hears) Enabled(context.Context, slog.Level) bool { return true }
func (h hears) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h hears) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelInfo && strings.HasPrefix(r.Message, h.says) {
		select {
		case h.to <- r.Message:
		default:
		}
	}
	return nil
}

// A node that waits says for whom, and leaves nothing behind when its start is given up.
func TestClusterTellsForWhomItWaits(t *testing.T) {
	t.Parallel()
	configs := trio(t)
	heard := make(chan string, 1)
	hear := slog.New(hears{slog.DiscardHandler, "waiting for the other servers", heard})
	configs[0].Log, configs[1].Log = hear, hear
	next := func() string {
		t.Helper()
		select {
		case said := <-heard:
			return said
		case <-time.After(time.Minute):
			t.Fatal("it says nothing")
			panic("unreachable")
		}
	}
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	results := make(chan error, 2)
	begin := func(c node.Config) {
		n, err := node.Start(ctx, c)
		if err == nil {
			stop(t, n)
		}
		results <- err
	}
	go begin(configs[0])
	if said := next(); said != "waiting for the other servers: n2, n3" {
		t.Errorf("alone it says %q", said)
	}
	go begin(configs[1])
	for next() != "waiting for the other servers: n3" { // the last of the first may still come
	}
	giveUp()
	for range 2 {
		select {
		case err := <-results:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it hangs")
		}
	}
}

// What cannot be a cluster is refused in the words of whoever gave it.
func TestClusterRefusesBadValues(t *testing.T) {
	const three = "n1=127.0.0.1:6222,n2=127.0.0.1:6223,n3=127.0.0.1:6224"
	for _, c := range []struct {
		says string
		args []string
	}{
		{"want name=host:port of every node", []string{"--cluster", "n1"}},
		{"--cluster: one node needs no cluster", []string{"--cluster", "n1=127.0.0.1:6222", "--name", "n1"}},
		{"--cluster: it names two nodes", []string{"--cluster", "n1=127.0.0.1:6222,n2=127.0.0.1:6223", "--name", "n1"}},
		{"--cluster: it names 4 nodes", []string{"--cluster", three + ",n4=127.0.0.1:6225", "--name", "n1"}},
		{"--cluster: it names 4 nodes", []string{"--cluster", three, "--cluster", "n4=127.0.0.1:6225", "--name", "n1"}},
		{`--cluster: the name "n 3"`, []string{"--cluster", strings.Replace(three, "n3", "n 3", 1), "--name", "n1"}},
		{`--cluster: the name "n1" is there twice`, []string{"--cluster", strings.Replace(three, "n3", "n1", 1), "--name", "n1"}},
		{`--cluster: "127.0.0.1": needs the form host:port`, []string{"--cluster", strings.Replace(three, ":6223", "", 1), "--name", "n1"}},
		{`--cluster: "127.0.0.1:6222" is there twice`, []string{"--cluster", strings.Replace(three, "6223", "6222", 1), "--name", "n1"}},
		{`--cluster: "127.0.0.1:0": choose a fixed port`, []string{"--cluster", strings.Replace(three, "6222", "0", 1), "--name", "n1"}},
		{`--cluster: ":6223": name the host`, []string{"--cluster", strings.Replace(three, "127.0.0.1:6223", ":6223", 1), "--name", "n1"}},
		{`--name and --cluster: "" is none of n1, n2, n3: say which`, []string{"--cluster", three}},
		{`--name and --cluster: "n4" is none of n1, n2, n3: say which`, []string{"--cluster", three, "--name", "n4"}},
		{"--cluster-secret: there is none", []string{"--cluster", strings.ReplaceAll(three, "127.0.0.1", "10.0.0.1"), "--name", "n1"}},
		{"--cluster-secret and --cluster: ", []string{"--cluster-secret", "x"}},
		{"--cluster and --nats: ", []string{"--cluster", three, "--name", "n1", "--nats", "nats://127.0.0.1:1"}},
		{"--cluster-secret and --nats: ", []string{"--cluster-secret", "x", "--nats", "nats://127.0.0.1:1"}},
		{"--replicas: it is 2", []string{"--cluster", three, "--name", "n1", "--replicas", "2"}},
	} {
		out, errs, code := run(append([]string{"run"}, c.args...)...)
		if code != cli.ExitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit code %d, want %d and %q in:\n%s%s", c.args, code, cli.ExitUsage, c.says, out, errs)
		}
	}
}

func TestValidateCluster(t *testing.T) {
	c := node.Config{Types: domain.Types, Name: "n2", ClusterSecret: "s3cret"}
	for i := range 3 {
		c.Cluster = append(c.Cluster, node.ClusterNode{Name: fmt.Sprint("n", i+1), Address: fmt.Sprintf("10.0.0.%d:6222", i+1)})
	}
	if err := c.Validate(); err != nil {
		t.Errorf("three on a network: %v", err)
	}
	c.ClusterSecret = ""
	var wrong *node.ConfigError
	if err := c.Validate(); !errors.As(err, &wrong) || wrong.Field != "ClusterSecret" {
		t.Errorf("without a secret: %v", err)
	}
}
