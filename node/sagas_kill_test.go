package node_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/sagas"
)

var kills = flag.Int("kills", 5, "at how many points of a checkout a process is killed, 0 for all")

// A mortal is a process that runs a node and kills itself at some point.
type mortal struct {
	config node.Config
	cmd    *exec.Cmd
	stdin  io.Closer
	url    string // empty when it died before it served
	dead   chan struct{}
}

func startMortal(t *testing.T, orders string, c node.Config) *mortal {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{config: c, cmd: exec.Command(os.Args[0]), dead: make(chan struct{})}
	m.cmd.Env = append(os.Environ(), dieOrders+"="+orders, dieConfig+"="+string(config))
	m.cmd.Stderr = os.Stderr
	stdin, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.stdin = stdin
	url, _ := bufio.NewReader(stdout).ReadString('\n')
	m.url = strings.TrimSpace(url)
	go func() {
		defer close(m.dead)
		_ = m.cmd.Wait() // killed, mostly
	}()
	t.Cleanup(m.kill)
	return m
}

func (m *mortal) kill() {
	_ = m.cmd.Process.Kill() // or it is dead already
	<-m.dead
}

// stop lets it end in order.
func (m *mortal) stop() {
	_ = m.stdin.Close()
	<-m.dead
}

// A band are the processes of one node, or of three.
type band struct {
	t      *testing.T
	orders string // the folder with what they are told
	round  int
	sent   []string // checkouts

	mu      sync.Mutex
	mortals []*mortal
	conns   map[string]*nats.Conn // by URL
}

func startBand(t *testing.T, configs ...node.Config) *band {
	t.Helper()
	b := &band{t: t, orders: t.TempDir(), mortals: make([]*mortal, len(configs)), conns: map[string]*nats.Conn{}}
	var all sync.WaitGroup
	for i, c := range configs {
		c.Lease, c.Log, c.Types = time.Second, nil, nil
		all.Go(func() { b.mortals[i] = startMortal(t, b.orders, c) })
	}
	all.Wait()
	t.Cleanup(func() {
		for _, nc := range b.conns {
			nc.Close()
		}
	})
	return b
}

// connect gives a connection to one of them, which is started again if it is dead; nil when
// it dies at once.
func (b *band) connect(i int) *nats.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.mortals[i]
	select {
	case <-m.dead:
		m = startMortal(b.t, b.orders, m.config)
		b.mortals[i] = m
	default:
	}
	if nc := b.conns[m.url]; nc == nil || nc.IsClosed() { // a port may come again
		nc, err := natsd.Dial(m.url, nats.NoReconnect(), nats.IgnoreDiscoveredServers())
		if err != nil {
			return nil
		}
		b.conns[m.url] = nc
	}
	return b.conns[m.url]
}

func (b *band) stop() {
	var all sync.WaitGroup
	for _, m := range b.mortals {
		all.Go(m.stop)
	}
	all.Wait()
}

// checkout has one process die at some point of a checkout, and returns when the checkout is
// over, by the others or by that one when it is started again.
func (b *band) checkout(address string, at int) (points int) {
	b.t.Helper()
	b.round++
	id := fmt.Sprintf("%s-%d", address, b.round)
	b.sent = append(b.sent, id)
	order(b.t, b.orders, b.round, at)
	for end := time.Now().Add(2 * time.Minute); !b.ended(id, address); {
		if time.Now().After(end) {
			b.t.Fatalf("%s does not come to an end, after a kill at point %d", id, at)
		}
	}
	return passed(b.t, b.orders, b.round)
}

// ended asks for a checkout to begin, and reports whether it is over.
func (b *band) ended(id, address string) bool {
	for i := range b.mortals {
		if nc := b.connect(i); nc != nil && ended(nc, id, address) {
			return true
		}
	}
	return false
}

func ended(nc *nats.Conn, id, address string) bool {
	request := &nats.Msg{Subject: "demo.cmd.checkout." + id + ".Checkout", Header: nats.Header{"Nats-Msg-Id": {id}}}
	request.Data = fmt.Appendf(nil, `{"customer":"ada","sku":"tea","quantity":"1","amount":"990","card":"tok-1","address":%q}`, address)
	if _, err := nc.RequestMsg(request, 5*time.Second); err != nil {
		return false
	}
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		reply, err := nc.Request("demo.get.checkout."+id, nil, 5*time.Second)
		var state struct{ State struct{ Status string } }
		if err != nil || json.Unmarshal(reply.Data, &state) != nil {
			return false
		}
		if sagas.Status(state.State.Status).Final() {
			return true
		}
	}
	return false
}

// settled starts a node that does not die, has all checkouts come to their end, and looks at
// what they have come to.
func settled(t *testing.T, orders []string, configs ...node.Config) {
	t.Helper()
	for i := range configs {
		configs[i] = withSagas(configs[i])
	}
	n := startAll(t, configs...)[0]
	var gone, begun int64
	for _, id := range orders {
		var state *messages.SagaState
		for end := time.Now().Add(time.Minute); ; {
			m, err := n.Viewer().View(t.Context(), holdfast.Ref{Type: "checkout", ID: id})
			if holdfast.CodeOf(err) == holdfast.CodeUnknown {
				break // its request died with the process
			}
			if err == nil {
				if state = m.State.(*messages.SagaState); sagas.Status(state.Status).Final() {
					break
				}
			}
			if time.Now().After(end) {
				t.Fatalf("checkout %s is left behind: %v, %v", id, state, err)
			}
			pauseFor(t, 10*time.Millisecond)
		}
		if state == nil {
			continue
		}
		begun++
		payment, shipment := view[*shoppb.Payment](t, n, "payment", id), view[*shoppb.Shipment](t, n, "shipment", id)
		sent := !strings.HasPrefix(id, "nowhere")
		if got := state.Status == string(sagas.Completed); got != sent || (payment.GetCaptured()-payment.GetRefunded() == 990) != sent || (shipment.GetQuantity() == 1) != sent {
			t.Errorf("checkout %s is %s (%s), and there are %v and %v", id, state.Status, state.Reason, payment, shipment)
		}
		gone += shipment.GetQuantity()
	}
	stock := view[*shoppb.Stock](t, n, "stock", "tea")
	if stock.Gone != gone || stock.Free+stock.Gone != 1000 || len(stock.Reserved) > 0 {
		t.Errorf("%d of 1000 were sent, and there are %v", gone, stock)
	}
	if begun == 0 {
		t.Error("no checkout has begun")
	}
	t.Logf("%d checkouts, %d were completed", begun, gone)
	once(t, n, append([]string{"stock.tea"}, prefixed("payment.", orders)...)...)
}

func prefixed(prefix string, names []string) (out []string) {
	for _, n := range names {
		out = append(out, prefix+n)
	}
	return out
}

func view[M any](t *testing.T, n *node.Node, typ, id string) (m M) {
	t.Helper()
	v, err := viewed(t, n, holdfast.Ref{Type: typ, ID: id})
	if holdfast.CodeOf(err) == holdfast.CodeUnknown {
		return m
	}
	if err != nil {
		t.Fatal(err)
	}
	return v.State.(any).(M)
}

// once checks that no command took effect twice.
func once(t *testing.T, n *node.Node, aggregates ...string) {
	t.Helper()
	nc := dial(t, n)
	for _, of := range aggregates {
		seen := map[string]bool{}
		for next := uint64(1); ; {
			var page struct {
				Events []struct{ CommandID string }
				Next   uint64
			}
			body := answered(t, nc, "demo.history."+of, fmt.Sprintf(`{"from":%d}`, next))
			if strings.HasPrefix(body, "404 ") { // nothing has happened to it
				break
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			for _, e := range page.Events {
				if seen[e.CommandID] {
					t.Errorf("%s took the command %s twice", of, e.CommandID)
				}
				seen[e.CommandID] = true
			}
			if next = page.Next; next == 0 {
				break
			}
		}
	}
}

func pauseFor(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

// A checkout survives that its node is killed before or after anything that it does.
func TestKilledAtEveryPoint(t *testing.T) { testKills(t, config(t)) }

// The others carry on.
func TestKilledAtEveryPointOfThree(t *testing.T) { testKills(t, trio(t)...) }

func testKills(t *testing.T, configs ...node.Config) {
	t.Helper()
	some := *kills
	if len(configs) > 1 { // after each kill the servers elect a leader
		some = min(some, 1)
	}
	b := startBand(t, configs...)
	command(t, b, 1, func(int) (subject, body string) { return "demo.cmd.stock.tea.AddStock", `{"quantity":"1000"}` })
	// Where checkouts go that are completed, and that are undone.
	addresses, points := []string{"home", "nowhere"}, []int{}
	for _, address := range addresses {
		points = append(points, b.checkout(address, 0))
	}
	for i, address := range addresses {
		n := 0
		for _, at := range samples(points[i], some) {
			b.checkout(address, at)
			n++
		}
		t.Logf("%s: killed at %d of %d points", address, n, points[i])
	}
	b.stop()
	settled(t, b.sent, configs...)
}

// samples are some of the points that there are, all for 0.
func samples(of, some int) (at []int) {
	step := 1
	if some > 0 {
		step = max(1, of/some)
	}
	for n := 1 + rand.IntN(step); n <= of; n += step {
		at = append(at, n)
	}
	return at
}
