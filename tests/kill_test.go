package tests

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A sent command, as its client knows it.
type sent struct {
	account  int
	id       string
	answered bool
	version  uint64 // as answered
}

// A teller sends deposits, one after the other, each until it is answered.
type teller struct {
	t      *testing.T
	nc     *nats.Conn
	name   int
	random *rand.Rand
	log    []sent
	total  *atomic.Int64
}

const killAccounts = 8

var killRounds = flag.Int("kill.rounds", 8, "how often TestKillUnderLoad kills the node")

// killFlags have a node be its own successor soon, and forget soon what is not asked for.
var killFlags = []string{"--lease", "1s", "--idle", "100ms"}

func (w *teller) run(stop <-chan struct{}) {
	for n := 0; ; n++ {
		s := sent{account: w.random.IntN(killAccounts), id: fmt.Sprintf("t%d-%d", w.name, n)}
		for !s.answered {
			select {
			case <-stop:
				w.log = append(w.log, s)
				return
			default:
			}
			w.try(&s)
		}
		if w.random.IntN(8) == 0 { // again, though it was answered
			first := s.version
			if w.try(&s); s.version != first {
				w.t.Errorf("%s was answered with version %d and then with %d", s.id, first, s.version)
			}
		}
		w.log = append(w.log, s)
		w.total.Add(1)
	}
}

// try sends once. No answer, overloaded, unavailable and uncertain mean: send it again.
func (w *teller) try(s *sent) {
	r, err := askWithin(time.Second, w.nc, fmt.Sprintf("demo.cmd.account.k-%d.Deposit", s.account), `{"amount":1}`, map[string]string{"Nats-Msg-Id": s.id})
	switch {
	case err != nil, passes(r.Status):
	case r.Status != 0:
		w.t.Errorf("%s: %s", s.id, r.body)
		s.answered = true
	default:
		s.answered, s.version = true, r.Version
	}
}

// The node is killed at random moments under load, and started again. Whatever was
// answered is in the log, once, where the answer said; nothing is there twice.
func TestKillUnderLoad(t *testing.T) {
	const tellers = 8
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	folder := t.TempDir()
	p := startProcess(t, folder, "127.0.0.1:0", killFlags...)
	url, address := p.url, p.address()
	nc := dial(t, url)
	for i := range killAccounts {
		if r := mustAsk(t, nc, fmt.Sprintf("demo.cmd.account.k-%d.OpenAccount", i), `{"owner":"ada"}`, nil); r.Status != 0 {
			t.Fatalf("open: %s", r.body)
		}
	}
	var total atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	all := make([]*teller, tellers)
	for i := range all {
		all[i] = &teller{t: t, nc: dial(t, url), name: i, random: rand.New(rand.NewPCG(seed, uint64(i)+1)), total: &total}
		wg.Go(func() { all[i].run(stop) })
	}
	for range *killRounds {
		before := total.Load()
		waitFor(t, "the tellers to be served", func() bool { return total.Load() >= before+20 })
		<-time.After(time.Duration(random.IntN(200_000)) * time.Microsecond)
		p.kill()
		p = startProcess(t, folder, address, killFlags...)
	}
	before := total.Load()
	waitFor(t, "the tellers to be served after the last kill", func() bool { return total.Load() >= before+20 })
	close(stop)
	wg.Wait()

	answered := compareWithLog(t, nc, all)
	p.kill()
	out, errs, code := runNode(t, "verify", "--data", folder)
	if code != 0 || !strings.Contains(out, "nothing is wrong") {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
	t.Logf("%d kills, %d commands answered; %s", *killRounds, answered, strings.TrimSpace(out))
}

// compareWithLog finds every answered command in the log, once, where the answer said,
// and nothing that was not sent.
func compareWithLog(t *testing.T, nc *nats.Conn, all []*teller) (answered int) {
	t.Helper()
	at := map[string]uint64{} // version by command id
	for i := range killAccounts {
		for _, e := range history(t, nc, fmt.Sprintf("demo.history.account.k-%d", i)) {
			if e.Type != "bank.v1.Deposited" {
				continue
			}
			if v, ok := at[e.CommandID]; ok {
				t.Errorf("%s took effect twice: as version %d and %d", e.CommandID, v, e.Version)
			}
			at[e.CommandID] = e.Version
		}
	}
	sentIDs := 0
	for _, w := range all {
		for _, s := range w.log {
			v, recorded := at[s.id]
			if recorded {
				sentIDs++
			}
			if !s.answered {
				continue
			}
			answered++
			if !recorded || v != s.version {
				t.Errorf("%s was answered with version %d; the log has %d (recorded: %v)", s.id, s.version, v, recorded)
			}
		}
	}
	if sentIDs != len(at) {
		t.Errorf("the log has %d commands, of which %d were sent", len(at), sentIDs)
	}
	return answered
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
