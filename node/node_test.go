package node_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/examples/shop"
	"github.com/holdfast-run/holdfast/internal/leaktest"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/sagas"
)

func TestMain(m *testing.M) {
	if orders := os.Getenv(dieOrders); orders != "" {
		runAndDie(orders)
	}
	_ = flag.Set("test.parallel", "4") // they wait for elections more than they compute
	leaktest.Main(m)
}

// domain is what the operator's commands know of; most nodes serve less.
var domain = node.Domain{
	Name:  "node",
	Types: []holdfast.Definition{bank.Account, shop.Order, shop.Payment, shop.Stock, shop.Shipment, shop.Mail},
	Sagas: []*sagas.Saga{bank.Transfer, shop.Checkout, shop.Fulfilment},
}

// lasting is a lease that outlives that the machine stands still for a while: a node that loses
// its own forgets what it has in memory.
const lasting = 10 * time.Second

func config(t *testing.T) node.Config {
	return node.Config{
		Context: "demo", Types: []holdfast.Definition{bank.Account}, Data: t.TempDir(), Listen: "127.0.0.1:0",
		Lease: lasting, Log: slog.New(slog.DiscardHandler),
	}
}

// external has the node use a NATS server that is there.
func external(c *node.Config, url string) {
	c.Database = "sqlite:" + filepath.Join(c.Data, "views")
	c.NATS, c.Data, c.Listen = url, "", ""
}

func start(t *testing.T, c node.Config) *node.Node {
	t.Helper()
	n, err := node.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, n) })
	return n
}

func stop(t *testing.T, n *node.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Error(err)
	}
}

var ada = holdfast.Ref{Type: "account", ID: "ada"}

func open(t *testing.T, n *node.Node) {
	t.Helper()
	sent(t, n, ada, &bankpb.OpenAccount{Owner: "Ada"}, holdfast.Meta{})
}

// sent sends a command until it is executed, with one id: a busy machine may take longer for it
// than a node waits.
func sent(t *testing.T, n *node.Node, to holdfast.Ref, c holdfast.Command, meta holdfast.Meta) holdfast.Receipt {
	t.Helper()
	if meta.ID == "" {
		meta.ID = nuid.Next()
	}
	for end := time.Now().Add(time.Minute); ; pauseFor(t, 20*time.Millisecond) {
		r, err := n.Sender().Send(t.Context(), to, proto.CloneOf(c), holdfast.WithMeta(meta))
		if err == nil {
			return r
		}
		if !passes(err) || time.Now().After(end) {
			t.Fatalf("%T to %v: %v", c, to, err)
		}
	}
}

// viewed looks at an aggregate until it is shown.
func viewed(t *testing.T, n *node.Node, of holdfast.Ref) (holdfast.View, error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; pauseFor(t, 20*time.Millisecond) {
		v, err := n.Viewer().View(t.Context(), of)
		if err == nil || !passes(err) || time.Now().After(end) {
			return v, err
		}
	}
}

// passes tells errors that a busy machine has a node give, and that mean: ask again.
func passes(err error) bool {
	return errors.Is(err, holdfast.ErrUnavailable) || errors.Is(err, holdfast.ErrUncertain) || errors.Is(err, holdfast.ErrOverloaded)
}

// eventually runs a command until it ends with that code and says all of that: what it asks for
// may become so a moment later, and what answers it may be busy.
func eventually(t *testing.T, code int, says []string, args ...string) (stdout string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; pauseFor(t, 20*time.Millisecond) {
		out, errs, got := run(args...)
		if got == code && !slices.ContainsFunc(says, func(s string) bool { return !strings.Contains(out+errs, s) }) {
			return out
		}
		if time.Now().After(end) {
			t.Fatalf("%v: exit code %d, want %d, and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
}

// completes waits until the words complete to that: a shell is not kept waiting, and gets nothing
// where the answer takes its time.
func completes(t *testing.T, want string, words ...string) {
	t.Helper()
	got := ""
	poll(t, fmt.Sprintf("%q completes to %q", words, want), func() bool {
		got, _, _ = run(append([]string{"__complete"}, words...)...)
		return strings.HasPrefix(got, want)
	})
}

// What was answered is there after a restart on the same folder, and Stop bears repetition.
func TestRestart(t *testing.T) {
	c := config(t)
	n := start(t, c)
	open(t, n)
	stop(t, n)
	stop(t, n)
	again := start(t, c)
	v, err := viewed(t, again, ada)
	if err != nil || v.Version != 1 {
		t.Errorf("view %+v: %v", v, err)
	}
	poll(t, "one is active, and was answered once", func() bool { s := again.Stats(); return s.Active == 1 && s.Answered == 1 })
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	running := config(t)
	start(t, running)
	for name, c := range map[string]struct {
		change func(*node.Config)
		says   string
	}{
		"a bad context":           {func(c *node.Config) { c.Context = "No.Good" }, "No.Good"},
		"no types":                {func(c *node.Config) { c.Types = nil }, "aggregate types"},
		"two types of a name":     {func(c *node.Config) { c.Types = append(c.Types, bank.Account) }, "account"},
		"a folder in use":         {func(c *node.Config) { c.Data = running.Data }, running.Data},
		"a port that is taken":    {func(c *node.Config) { c.Listen = taken.Addr().String() }, "address already in use"},
		"an open door":            {func(c *node.Config) { c.Listen = "0.0.0.0:0" }, "ClientPassword"},
		"a listener without use":  {func(c *node.Config) { c.NATS, c.Data = "nats://127.0.0.1:1", "" }, "Listen and NATS"},
		"nobody at that URL":      {func(c *node.Config) { external(c, "nats://127.0.0.1:1") }, "nats://127.0.0.1:1"},
		"credentials not there":   {func(c *node.Config) { external(c, "nats://127.0.0.1:1"); c.Credentials = "/none" }, "/none"},
		"replicas without others": {func(c *node.Config) { c.Replicas = 3 }, "eplicas"},
		"replicas of two":         {func(c *node.Config) { c.Replicas = 2 }, "eplicas"},
		"negative partitions":     {func(c *node.Config) { c.Partitions = -1 }, "artitions"},
	} {
		t.Run(name, func(t *testing.T) {
			config := config(t)
			c.change(&config)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if n, err := node.Start(ctx, config); err == nil {
				stop(t, n)
				t.Error("it started")
			} else if !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %q, and not %q", err, c.says)
			}
		})
	}
}

// The number of partitions is fixed once the context exists.
func TestPartitionsAreFixed(t *testing.T) {
	c := config(t)
	c.Partitions = 4
	stop(t, start(t, c))
	c.Partitions = 0
	stop(t, start(t, c))
	c.Partitions = 2
	if n, err := node.Start(context.Background(), c); err == nil {
		stop(t, n)
		t.Error("it started with another number of partitions")
	} else if !strings.Contains(err.Error(), "4") || !strings.Contains(err.Error(), "2") {
		t.Errorf("it does not say which: %v", err)
	}
}

// startExternal starts a NATS server for nodes to use, and gives what they log in with.
func startExternal(t *testing.T) natsd.Admin {
	t.Helper()
	folder := t.TempDir()
	server, err := natsd.Start(context.Background(), natsd.Config{DataDir: folder, Listen: "127.0.0.1:0", Context: "demo", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	admin, err := natsd.ReadAdmin(folder)
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

// An external NATS server, with the node as an ordinary client of it.
func TestExternalServer(t *testing.T) {
	admin := startExternal(t)
	url := strings.Replace(admin.URL, "nats://", "nats://"+admin.User+":"+admin.Password+"@", 1)
	c := config(t)
	external(&c, url)
	n := start(t, c)
	open(t, n)
	if u := n.ClientURL(); strings.Contains(u, admin.Password) {
		t.Errorf("the URL to show has the password: %s", u)
	}
	if out, _, code := run("verify", "--nats", url); code != cli.ExitOK {
		t.Errorf("verify: %d\n%s", code, out)
	}
}

// run runs the binary's command line in process.
func run(args ...string) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	cfg := cli.Config{Program: "node", Out: &out, Err: &errs, Getenv: func(string) string { return "" }}
	root := node.Command(domain, cfg)
	root.SetArgs(args)
	code = cli.Execute(context.Background(), root, cfg)
	return out.String(), errs.String(), code
}

func TestRunRefusesBadFlags(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--log-level", "loud"},
		{"run", "--log-format", "xml"},
		{"run", "--idle", "long"},
		{"run", "extra"},
		{"nothing"},
	} {
		if out, errs, code := run(args...); code != cli.ExitUsage || errs == "" {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}

func TestHelpHasExamples(t *testing.T) {
	for _, verb := range []string{"run", "verify", "send", "apply", "get", "history"} {
		out, _, code := run(verb, "--help")
		if code != cli.ExitOK || !strings.Contains(out, "Examples:") {
			t.Errorf("%s --help: exit code %d\n%s", verb, code, out)
		}
	}
}

// What a client has sent before the node stops is answered, if only by a no.
func TestStopLeavesNobodyWaiting(t *testing.T) {
	n := start(t, config(t))
	open(t, n)
	nc, err := natsd.Dial(n.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sent := 20_000
	if testing.Short() { // as the race detector takes its time
		sent = 4_000
	}
	answers := make(chan *nats.Msg, sent)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, answers); err != nil {
		t.Fatal(err)
	}
	for range sent {
		if err := nc.PublishRequest("demo.cmd.account.ada.Deposit", inbox, []byte(`{"amount":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	for i := range sent {
		select {
		case <-answers:
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d requests were answered", i, sent)
		}
	}
}
