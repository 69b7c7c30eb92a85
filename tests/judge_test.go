package tests

import (
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go"
)

// judge proves every account's history, once it is known what took effect.
func (c *trial) judge(accounts []string) {
	c.t.Helper()
	recorded := c.recorded(accounts)
	took, ops := 0, 0
	for id, n := range recorded {
		if n > 1 {
			c.t.Errorf("%s took effect %d times", id, n)
		}
		if c.refused[id] {
			c.t.Errorf("%s took effect, and its client was told that it did not", id)
		}
		if u, ok := c.unheard[id]; ok {
			took++
			c.ops[u.account] = append(c.ops[u.account], u.op)
		}
	}
	for account, of := range c.ops {
		ops += len(of)
		for _, op := range of {
			in, out := op.Input.(asked), op.Output.(heard)
			if writes := in.what != "get" && in.what != "read"; writes && out.no == (recorded[in.id] > 0) {
				c.t.Errorf("%s was answered with no: %v, and is %d times in the log", in.id, out.no, recorded[in.id])
			}
		}
		model := map[byte]porcupine.Model{'b': bankModel, 'c': casModel, 's': setModel}[account[0]]
		if got := porcupine.CheckOperationsTimeout(model, of, 3*time.Minute); got != porcupine.Ok {
			c.t.Errorf("%s: the history of %d operations is %s", account, len(of), got)
		}
	}
	longest := time.Duration(0)
	for slot, g := range c.gaps {
		if slot != "" {
			longest = max(longest, g.longest)
		}
	}
	out := verified(c.t, c.admin)
	c.t.Logf("%d operations, %d ambiguous (%d took effect), %d refused; the longest time without a success: %v, of one account %v; %s",
		ops, len(c.unheard), took, len(c.refused), c.gaps[""].longest.Round(time.Millisecond), longest.Round(time.Millisecond), strings.TrimSpace(out))
}

// recorded tells how often each command is in the log.
func (c *trial) recorded(accounts []string) map[string]int {
	c.t.Helper()
	nc := c.dial(0)
	recorded := map[string]int{}
	for _, account := range accounts {
		for _, e := range c.history(nc, account) {
			recorded[e.CommandID]++
		}
	}
	return recorded
}

// history reads an account's, as soon as it can be read.
func (c *trial) history(nc *nats.Conn, account string) []recordedEvent {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		r, err := askWithin(2*time.Second, nc, "demo.get.account."+account, "", nil)
		if err == nil && r.Status == 0 {
			return history(c.t, nc, "demo.history.account."+account)
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s cannot be read: %v %s", account, err, r.body)
		}
	}
}
