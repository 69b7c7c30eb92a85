package tests

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A shot is a command as its client knows it.
type shot struct {
	account    int
	sent, done time.Time
	status     int // 0 is success, 1 no answer
	version    uint64
	id         string
	message    string // of an error
}

// A barrage sends deposits at a steady rate, in turn to each of some accounts.
type barrage struct {
	t        *testing.T
	conns    []*nats.Conn
	accounts int
	avoid    atomic.Int64 // the connection that is not to be used, if it is one of several

	mu    sync.Mutex
	shots []shot
	next  atomic.Int64
	end   chan struct{}
	wg    sync.WaitGroup
}

func (s *stage) barrage(accounts, perSecond int) *barrage {
	s.t.Helper()
	b := &barrage{t: s.t, accounts: accounts, end: make(chan struct{})}
	for _, url := range s.clients {
		b.conns = append(b.conns, dial(s.t, url, nats.IgnoreDiscoveredServers())) // it stays with its server
	}
	b.avoid.Store(-1)
	for i := range accounts {
		if r := mustAsk(s.t, b.conns[0], fmt.Sprintf("demo.cmd.account.k-%d.OpenAccount", i), `{"owner":"ada"}`, nil); r.Status != 0 {
			s.t.Fatalf("open: %s", r.body)
		}
	}
	const beat = 5 * time.Millisecond
	b.wg.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for begun := time.Now(); ; {
			select {
			case <-tick.C:
				for due := int64(time.Since(begun).Seconds() * float64(perSecond)); b.next.Load() < due; {
					n := b.next.Add(1)
					b.wg.Go(func() { b.shoot(int(n)) })
				}
			case <-b.end:
				return
			}
		}
	})
	return b
}

func (b *barrage) shoot(n int) {
	conn := n % len(b.conns)
	if int64(conn) == b.avoid.Load() {
		conn = (conn + 1) % len(b.conns)
	}
	s := shot{account: n % b.accounts, sent: time.Now(), id: fmt.Sprint("s-", n)}
	r, err := ask(b.conns[conn], fmt.Sprintf("demo.cmd.account.k-%d.Deposit", s.account), `{"amount":1}`, map[string]string{"Nats-Msg-Id": s.id})
	s.done, s.status, s.version, s.message = time.Now(), r.Status, r.Version, r.Error.Message
	if err != nil {
		s.status = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shots = append(b.shots, s)
}

func (b *barrage) connected() bool {
	return !slices.ContainsFunc(b.conns, func(nc *nats.Conn) bool { return !nc.IsConnected() })
}

// stop ends the barrage and gives all shots in the order in which they were sent.
func (b *barrage) stop() []shot {
	close(b.end)
	b.wg.Wait()
	slices.SortFunc(b.shots, func(x, y shot) int { return x.sent.Compare(y.sent) })
	return b.shots
}

// noticed is how long after a kill the other servers of a busy machine may still send requests
// to the one that is gone.
const noticed = 500 * time.Millisecond

// check compares what was answered with what is in the log. Nobody answers what a node
// had taken on when it was killed; whatever was sent later is answered. A machine that stood
// still has noticed the kill so much later.
func (b *barrage) check(shots []shot, killed time.Time, still time.Duration) {
	b.t.Helper()
	at := map[string]uint64{}
	for i := range b.accounts {
		for _, e := range history(b.t, b.conns[0], fmt.Sprintf("demo.history.account.k-%d", i)) {
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
		case (s.status == 503 || s.status == 429) && recorded:
			b.t.Errorf("%s was answered as not executed; the log has it", s.id)
		case s.status == 0, passes(s.status):
		case s.status == 1 && s.sent.Before(killed.Add(noticed+still)):
		default:
			b.t.Errorf("%s, sent %v after the kill, was answered with %d", s.id, s.sent.Sub(killed), s.status)
		}
	}
	b.t.Logf("%d requests by status (0 is success, 1 no answer): %v", len(shots), status)
}

// allSucceeded fails the test for every shot that did not.
func (b *barrage) allSucceeded(shots []shot) {
	b.t.Helper()
	for _, s := range shots {
		if s.status != 0 {
			b.t.Errorf("%s failed with %d %q, %v after it was sent", s.id, s.status, s.message, s.done.Sub(s.sent))
		}
	}
}

// tell logs what was answered later than a time after since, or not with success.
func (b *barrage) tell(shots []shot, since time.Time, late time.Duration) {
	for _, s := range shots {
		if done := s.done.Sub(since); done > late && (s.status != 0 || s.done.Sub(s.sent) > time.Second) {
			b.t.Logf("k-%d: sent after %v, answered %v later with %d %s", s.account, s.sent.Sub(since), s.done.Sub(s.sent), s.status, s.message)
		}
	}
}

// outage is the longest time from since to the first success of an account that was sent
// after it, and which accounts waited longer than a while.
func outage(shots []shot, since time.Time) (longest time.Duration, waited map[int]bool) {
	first := map[int]time.Duration{}
	for _, s := range shots {
		if s.status != 0 || s.sent.Before(since) {
			continue
		}
		if d := s.done.Sub(since); first[s.account] == 0 || d < first[s.account] {
			first[s.account] = d
		}
	}
	waited = map[int]bool{}
	for account, d := range first {
		longest = max(longest, d)
		if d > stageLease/3 {
			waited[account] = true
		}
	}
	return longest, waited
}

// p99 is the time within which 99 of 100 of the shots were answered that were sent in a
// span, of those that count.
func p99(shots []shot, from, to time.Time, counts func(shot) bool) time.Duration {
	var took []time.Duration
	for _, s := range shots {
		if !s.sent.Before(from) && s.sent.Before(to) && counts(s) {
			took = append(took, s.done.Sub(s.sent))
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func every(shot) bool { return true }
