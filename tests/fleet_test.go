package tests

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// A fleet is some nodes of one context, each a process, on one NATS server.
type fleet struct {
	t      *testing.T
	server *natsd.Server
	admin  string // the URL with the operator's login
	nodes  map[string]*process
}

const fleetLease = 1500 * time.Millisecond

func startFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	folder := t.TempDir()
	server, err := natsd.Start(t.Context(), natsd.Config{DataDir: folder, Listen: "127.0.0.1:0", Context: "demo", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	admin, err := natsd.ReadAdmin(folder)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, server: server, nodes: map[string]*process{}}
	f.admin = strings.Replace(admin.URL, "nats://", "nats://"+admin.User+":"+admin.Password+"@", 1)
	for _, name := range names {
		f.start(name)
	}
	return f
}

func (f *fleet) start(name string) {
	f.t.Helper()
	f.nodes[name] = startRun(f.t, "--nats", f.admin, "--name", name, "--lease", fleetLease.String())
}

// A shot is a command as its client knows it.
type shot struct {
	account    int
	sent, done time.Time
	status     int // 0 is success, 1 no answer
	version    uint64
	id         string
}

// A barrage sends deposits at a steady rate, in turn to each of some accounts.
type barrage struct {
	t        *testing.T
	nc       *nats.Conn
	accounts int

	mu    sync.Mutex
	shots []shot
	next  atomic.Int64
	end   chan struct{}
	wg    sync.WaitGroup
}

func (f *fleet) barrage(accounts, perSecond int) *barrage {
	f.t.Helper()
	nc := dial(f.t, f.admin)
	b := &barrage{t: f.t, nc: nc, accounts: accounts, end: make(chan struct{})}
	for i := range accounts {
		if r := mustAsk(f.t, nc, fmt.Sprintf("demo.cmd.account.k-%d.OpenAccount", i), `{"owner":"ada"}`, nil); r.Status != 0 {
			f.t.Fatalf("open: %s", r.body)
		}
	}
	b.wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for range perSecond / 100 {
					b.wg.Go(b.shoot)
				}
			case <-b.end:
				return
			}
		}
	})
	return b
}

func (b *barrage) shoot() {
	n := int(b.next.Add(1))
	s := shot{account: n % b.accounts, sent: time.Now(), id: fmt.Sprint("s-", n)}
	r, err := ask(b.nc, fmt.Sprintf("demo.cmd.account.k-%d.Deposit", s.account), `{"amount":1}`, map[string]string{"Nats-Msg-Id": s.id})
	s.done, s.status, s.version = time.Now(), r.Status, r.Version
	if err != nil {
		s.status = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shots = append(b.shots, s)
}

// stop ends the barrage and gives all shots in the order in which they were sent.
func (b *barrage) stop() []shot {
	close(b.end)
	b.wg.Wait()
	slices.SortFunc(b.shots, func(x, y shot) int { return x.sent.Compare(y.sent) })
	return b.shots
}

// check compares what was answered with what is in the log.
func (b *barrage) check(shots []shot) {
	b.t.Helper()
	at := map[string]uint64{}
	for i := range b.accounts {
		for _, e := range history(b.t, b.nc, fmt.Sprintf("demo.history.account.k-%d", i)) {
			if e.Type != "bank.v1.Deposited" {
				continue
			}
			if _, ok := at[e.CommandID]; ok {
				b.t.Errorf("%s took effect twice", e.CommandID)
			}
			at[e.CommandID] = e.Version
		}
	}
	status := map[int]int{}
	for _, s := range shots {
		status[s.status]++
		v, recorded := at[s.id]
		switch {
		case s.status == 0 && (!recorded || v != s.version):
			b.t.Errorf("%s was answered with version %d; the log has %d", s.id, s.version, v)
		case s.status == 503 && recorded:
			b.t.Errorf("%s was answered as not executed; the log has it", s.id)
		case s.status == 0, s.status == 503, s.status == 504:
		default:
			b.t.Errorf("%s was answered with %d", s.id, s.status)
		}
	}
	b.t.Logf("%d requests by status: %v", len(shots), status)
}

// outage is the longest time from since to the first success of an account that was sent
// after it, and how many accounts waited longer than a while.
func outage(shots []shot, since time.Time) (longest time.Duration, accounts int) {
	first := map[int]time.Duration{}
	for _, s := range shots {
		if s.status != 0 || s.sent.Before(since) {
			continue
		}
		if d := s.done.Sub(since); first[s.account] == 0 || d < first[s.account] {
			first[s.account] = d
		}
	}
	for _, d := range first {
		longest = max(longest, d)
		if d > fleetLease/3 {
			accounts++
		}
	}
	return longest, accounts
}

// A node is killed under load: the others take over when its lease is over.
func TestFailOver(t *testing.T) {
	f := startFleet(t, "n1", "n2", "n3")
	b := f.barrage(150, 1000)
	<-time.After(2 * time.Second)
	killed := time.Now()
	f.nodes["n2"].kill()
	<-time.After(fleetLease + 2*time.Second)
	f.start("n2")
	<-time.After(time.Second)
	shots := b.stop()
	b.check(shots)
	longest, n := outage(shots, killed)
	t.Logf("n2 owned about %d accounts; the last of them answered %v after the kill; the lease is %v", n, longest, fleetLease)
	if longest > fleetLease+300*time.Millisecond {
		t.Errorf("want %v at the most", fleetLease+300*time.Millisecond)
	}
	out, errs, code := runNode(t, "verify", "--nats", f.admin)
	if code != 0 || !strings.Contains(out, "nothing is wrong") {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
}

// A node is frozen for longer than its lease, and wakes up.
func TestFrozen(t *testing.T) {
	f := startFleet(t, "n1", "n2", "n3")
	b := f.barrage(150, 1000)
	<-time.After(time.Second)
	frozen := time.Now()
	signal(t, f.nodes["n1"], syscall.SIGSTOP)
	<-time.After(2*fleetLease + time.Second)
	signal(t, f.nodes["n1"], syscall.SIGCONT)
	<-time.After(2 * time.Second)
	shots := b.stop()
	b.check(shots)
	longest, n := outage(shots, frozen)
	t.Logf("about %d accounts waited, the longest %v", n, longest)
}

func signal(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Every node is restarted in turn under load: no request fails.
func TestRollingRestart(t *testing.T) {
	f := startFleet(t, "n1", "n2", "n3")
	b := f.barrage(150, 1000)
	<-time.After(time.Second)
	for _, name := range []string{"n1", "n2", "n3"} {
		signal(t, f.nodes[name], syscall.SIGTERM)
		if err := f.nodes[name].cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.start(name)
		<-time.After(500 * time.Millisecond)
	}
	if out, errs, code := runNode(t, "leave", "n2", "--nats", f.admin); code != 0 {
		t.Errorf("leave: exit code %d\n%s%s", code, out, errs)
	}
	<-time.After(500 * time.Millisecond)
	shots := b.stop()
	b.check(shots)
	for _, s := range shots {
		if s.status != 0 {
			t.Errorf("%s failed with %d, %v after it was sent", s.id, s.status, s.done.Sub(s.sent))
		}
	}
}
