package tests

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
)

// A deed is a command, and what its client knows of it.
type deed struct {
	ref, command, body, id string
	version                uint64 // as answered; 0 when it was refused
}

// A crowd sends commands to accounts, orders and payments, each until it is answered, until
// the log has as many events as it is to have.
type crowd struct {
	t        *testing.T
	accounts int
	enough   atomic.Int64
	events   atomic.Int64 // that were answered

	all    sync.WaitGroup
	mu     sync.Mutex
	deeds  []deed
	last   holdfast.Position
	failed bool
}

const crowdAccounts = 12

// gather opens accounts, and has as many clients as there are connections begin.
func gather(t *testing.T, seed uint64, enough int, conns ...*nats.Conn) *crowd {
	t.Helper()
	c := &crowd{t: t, accounts: crowdAccounts}
	c.enough.Store(int64(enough))
	for i := range c.accounts {
		c.do(conns[0], deed{ref: fmt.Sprint("account/k-", i), command: "OpenAccount", body: `{"owner":"ada"}`, id: fmt.Sprint("open-", i)})
	}
	for i, nc := range conns {
		random := rand.New(rand.NewPCG(seed, uint64(i)+1))
		c.all.Go(func() {
			for n := 0; c.events.Load() < c.enough.Load() && !c.lost(); n++ {
				for _, d := range c.think(random, fmt.Sprintf("%d-%d", i, n)) {
					c.do(nc, d)
				}
			}
		})
	}
	return c
}

// think gives what a client does next: mostly with an account.
func (c *crowd) think(random *rand.Rand, name string) []deed {
	order, payment := "order/o-"+name, "payment/p-"+name
	amount := fmt.Sprintf(`{"amount":"%d"}`, 1+random.IntN(9))
	switch dice := random.IntN(20); {
	case dice == 0:
		end := deed{ref: order, command: "ConfirmOrder", body: `{}`, id: "end-" + name}
		if random.IntN(2) == 0 {
			end.command, end.body = "CancelOrder", `{"reason":"it 'was' a \"whim\""}`
		}
		// Of a checkout, so that nobody else takes care of it.
		return []deed{{
			ref: order, command: "PlaceOrder", id: "place-" + name,
			body: `{"customer":"ada","sku":"tea","quantity":"2","amount":"990","card":"tok-1","address":"1 Main Road","checkout":true}`,
		}, end}
	case dice == 1:
		all := []deed{{ref: payment, command: "Capture", body: `{"amount":"990","card":"tok-1"}`, id: "pay-" + name}}
		if random.IntN(2) == 0 {
			all = append(all, deed{ref: payment, command: "Refund", body: `{}`, id: "refund-" + name})
		}
		return all
	case dice < 6:
		return []deed{{ref: c.account(random), command: "Withdraw", body: amount, id: "out-" + name}}
	}
	return []deed{{ref: c.account(random), command: "Deposit", body: amount, id: "in-" + name}}
}

func (c *crowd) account(random *rand.Rand) string {
	return fmt.Sprint("account/k-", random.IntN(c.accounts))
}

// do sends a command until it is answered. A domain's no is an answer.
func (c *crowd) do(nc *nats.Conn, d deed) {
	ref, err := holdfast.ParseRef(d.ref)
	if err != nil {
		c.fail("%s: %v", d.ref, err)
		return
	}
	subject := fmt.Sprintf("demo.cmd.%s.%s.%s", ref.Type, ref.ID, d.command)
	for deadline := time.Now().Add(4 * time.Minute); ; {
		r, err := askWithin(time.Second, nc, subject, d.body, map[string]string{"Nats-Msg-Id": d.id})
		switch {
		case err == nil && r.Status == 422:
			c.note(d, holdfast.Position{}, 0)
			return
		case err == nil && r.Status == 0:
			at, err := holdfast.ParsePosition(r.Position)
			if err != nil || len(r.Events) != 1 {
				c.fail("%s: %v: %s", d.id, err, r.body)
				return
			}
			d.version = r.Version
			c.note(d, at, 1)
			return
		case err == nil && !passes(r.Status):
			c.fail("%s: %s", d.id, r.body)
			return
		case time.Now().After(deadline):
			c.fail("%s has no answer: %v %s", d.id, err, r.body)
			return
		}
	}
}

func (c *crowd) note(d deed, at holdfast.Position, events int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deeds = append(c.deeds, d)
	if c.last.Before(at) {
		c.last = at
	}
	c.events.Add(events)
}

func (c *crowd) fail(format string, args ...any) {
	c.t.Errorf(format, args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = true
}

func (c *crowd) lost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// until waits for so many events.
func (c *crowd) until(events int64) {
	c.t.Helper()
	waitFor(c.t, fmt.Sprintf("event %d", events), func() bool { return c.events.Load() >= min(events, c.enough.Load()) || c.lost() })
}

// disperse waits until everybody has had all answers.
func (c *crowd) disperse() {
	c.t.Helper()
	c.all.Wait()
	if c.failed {
		c.t.FailNow()
	}
}
