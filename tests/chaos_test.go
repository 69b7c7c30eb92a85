package tests

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go"
)

var (
	chaosRuns  = flag.Int("chaos.runs", 1, "how many chaos runs on each stage")
	chaosTime  = flag.Duration("chaos.time", 10*time.Second, "how long each takes")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "the first run's seed; 0 takes one of the clock")
	chaosStage = flag.String("chaos.stage", "", "only this stage: one, three or own")
)

// stages are what the nodes stand on: one external NATS server, a cluster of three, or a
// server of each node's own.
var stages = map[string]func(*testing.T) *stage{
	"one":   func(t *testing.T) *stage { return stageOn(t, 1, jumpy, hasty) },
	"three": func(t *testing.T) *stage { return stageOn(t, 3, jumpy, hasty) },
	"own":   func(t *testing.T) *stage { return stageOfThree(t, jumpy, hasty) },
}

// TestChaos has nodes and servers killed, frozen, cut off, filled up and restarted while
// clients work, and proves that what these were told is a possible history of each account.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano() % 1e9)
	}
	for i := range uint64(*chaosRuns) {
		for _, name := range []string{"one", "three", "own"} {
			if *chaosStage == "" || *chaosStage == name {
				t.Run(fmt.Sprintf("%s/%d", name, seed+i), func(t *testing.T) {
					if *chaosTime < time.Minute { // a long one is not to be disturbed
						t.Parallel()
					}
					chaos(t, stages[name](t), seed+i, *chaosTime)
				})
			}
		}
	}
}

// A trial is one chaos run.
type trial struct {
	*stage
	begun time.Time
	epoch time.Duration // is how long an account is used: a history of many operations is hard to prove

	mu      sync.Mutex
	ops     map[string][]porcupine.Operation // by account
	unheard map[string]unheard               // by command id
	refused map[string]bool                  // ids of commands that were not executed, as their clients were told
	gaps    map[string]*gap                  // by kind and number of an account, and "" for all
}

// A gap is the longest time without a success.
type gap struct {
	since   time.Time
	longest time.Duration
}

func (g *gap) success(now time.Time) {
	g.longest, g.since = max(g.longest, now.Sub(g.since)), now
}

// unheard is a command of which nobody knows whether it took effect.
type unheard struct {
	account string
	op      porcupine.Operation
}

const (
	maxEpoch      = 10 * time.Second
	chaosClients  = 18
	accountsAKind = 3
)

var kinds = []string{"bank", "cas", "set"}

func chaos(t *testing.T, s *stage, seed uint64, length time.Duration) {
	c := &trial{
		stage: s, epoch: min(length/2, maxEpoch), ops: map[string][]porcupine.Operation{}, unheard: map[string]unheard{}, refused: map[string]bool{}, gaps: map[string]*gap{},
	}
	accounts := c.open(length)
	c.begun = time.Now()
	c.gaps[""] = &gap{since: c.begun}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range chaosClients {
		conn, random := s.dial(i), rand.New(rand.NewPCG(seed, uint64(i)+1))
		clients.Go(func() { c.client(conn, i, random, stop) })
	}
	var faults []string
	for _, f := range s.schedule(rand.New(rand.NewPCG(seed, 0)), length) {
		if time.Since(c.begun) > length {
			break
		}
		faults = append(faults, fmt.Sprintf("%8v %v", time.Since(c.begun).Round(time.Millisecond), f))
		s.inflict(f)
	}
	<-time.After(2 * stageLease) // all is well again
	close(stop)
	clients.Wait()
	c.judge(accounts)
	t.Logf("faults:\n%s", strings.Join(faults, "\n"))
}

// open opens the accounts of a run, with what comes after it.
func (c *trial) open(length time.Duration) (accounts []string) {
	c.t.Helper()
	nc := c.dial(0)
	for e := range int((length+time.Minute)/c.epoch) + 1 {
		for _, kind := range kinds {
			for n := range accountsAKind {
				accounts = append(accounts, fmt.Sprintf("%s-%d-%d", kind, e, n))
			}
		}
	}
	for _, account := range accounts {
		r := mustAsk(c.t, nc, "demo.cmd.account."+account+".OpenAccount", `{"owner":"ada"}`, map[string]string{"Nats-Msg-Id": "open-" + account})
		if r.Status != 0 {
			c.t.Fatalf("open: %s", r.body)
		}
	}
	return accounts
}

// client asks one thing after the other.
func (c *trial) client(nc *nats.Conn, number int, random *rand.Rand, stop <-chan struct{}) {
	kind := kinds[number%len(kinds)]
	version := map[string]int64{}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(random.IntN(20)) * time.Millisecond):
		}
		account := fmt.Sprintf("%s-%d-%d", kind, time.Since(c.begun)/c.epoch, random.IntN(accountsAKind))
		in := asked{what: "get", amount: 1 + random.Int64N(9), expect: -1, id: fmt.Sprintf("c%d-%d", number, n)}
		switch {
		case kind == "bank":
			in.what = []string{"deposit", "withdraw", "get"}[random.IntN(3)]
		case kind == "cas" && version[account] > 0 && random.IntN(2) == 0:
			in.what, in.expect = "deposit", version[account]
		case kind == "set":
			in.what = []string{"add", "read"}[random.IntN(2)]
		}
		// Who waits long for a node that is frozen leaves the others nothing to disagree with.
		patience := 300*time.Millisecond + time.Duration(random.Int64N(int64(stageLease)))
		if out, ok := c.ask(nc, number, account, in, patience); ok && kind == "cas" {
			version[account] = out.version
		}
	}
}

// ask asks once and notes what came of it.
func (c *trial) ask(nc *nats.Conn, number int, account string, in asked, patience time.Duration) (heard, bool) {
	subject, body, header := "demo.cmd.account."+account+".Deposit", fmt.Sprintf(`{"amount":%d}`, in.amount), map[string]string{"Nats-Msg-Id": in.id}
	switch in.what {
	case "withdraw":
		subject = "demo.cmd.account." + account + ".Withdraw"
	case "get":
		subject, body, header = "demo.get.account."+account, "", nil
	case "read":
		subject, body, header = "demo.history.account."+account, `{"limit":1000}`, nil
	}
	if in.expect >= 0 {
		header["Holdfast-Expected-Version"] = fmt.Sprint(in.expect)
	}
	call := time.Since(c.begun)
	r, err := askWithin(patience, nc, subject, body, header)
	op := porcupine.Operation{ClientId: number, Input: in, Call: int64(call), Return: int64(time.Since(c.begun))}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.note(account, op, r, err, header != nil)
}

// note keeps an answer for the judge.
func (c *trial) note(account string, op porcupine.Operation, r reply, err error, writes bool) (heard, bool) {
	in, out := op.Input.(asked), heard{version: int64(r.Version)}
	switch {
	case err == nil && r.Status == 0:
		c.success(account)
		if r.Next != 0 {
			c.t.Errorf("%s has too many events for one page", account)
		}
		out.balance, out.ids = balance(r), ids(r)
	case err == nil && (r.Status == 422 || r.Status == 409 && in.expect >= 0):
		out.no = true
	case err == nil && slices.Contains([]int{503, 429, 409}, r.Status), errors.Is(err, nats.ErrReconnectBufExceeded), !writes:
		c.refused[in.id] = true
		return out, false
	case err != nil || r.Status == 504:
		out.unknown = true
		op.Output, op.Return = out, math.MaxInt64
		c.unheard[in.id] = unheard{account, op}
		return out, false
	default:
		c.t.Errorf("%s of %s: %s", in.what, account, r.body)
		return out, false
	}
	op.Output = out
	c.ops[account] = append(c.ops[account], op)
	return out, true
}

// success notes when an account answered.
func (c *trial) success(account string) {
	now := time.Now()
	kind, rest, _ := strings.Cut(account, "-")
	_, n, _ := strings.Cut(rest, "-")
	if c.gaps[kind+n] == nil {
		c.gaps[kind+n] = &gap{since: c.begun}
	}
	c.gaps[kind+n].success(now)
	c.gaps[""].success(now)
}

func balance(r reply) (n int64) {
	if s, ok := r.State["balance"].(string); ok {
		_, _ = fmt.Sscan(s, &n) // what is no number is found by the model
	}
	return n
}

// ids are those of the commands that added something, in a page of a history.
func ids(r reply) string {
	var all []string
	for _, raw := range r.Events {
		if _, rest, ok := strings.Cut(string(raw), `"commandId":"c`); ok {
			id, _, _ := strings.Cut(rest, `"`)
			all = append(all, "c"+id)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
