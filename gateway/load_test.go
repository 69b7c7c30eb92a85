package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// gate holds the commands of one aggregate until it is opened.
type gate struct {
	id     string
	inside chan struct{} // hears of each that waits
	open   chan struct{}
}

func newGate(w *world, id string) *gate {
	g := &gate{id: id, inside: make(chan struct{}, 10_000), open: make(chan struct{})}
	w.ledger.setHook(func(ctx context.Context, ref holdfast.Ref, _ holdfast.Command, _ holdfast.Delivery) error {
		if ref.ID != g.id {
			return nil
		}
		g.inside <- struct{}{}
		select {
		case <-g.open:
			return nil
		case <-ctx.Done():
			return holdfast.Errorf(holdfast.CodeUncertain, "the gate stayed closed")
		}
	})
	return g
}

// await returns when n more wait.
func (g *gate) await(t *testing.T, n int) {
	t.Helper()
	end := time.After(patient)
	for range n {
		select {
		case <-g.inside:
		case <-end:
			t.Fatal("the commands did not come")
		}
	}
}

// post sends n requests whose answers arrive at the subscription.
func (w *world) post(t *testing.T, n int, subject, body string) *nats.Subscription {
	t.Helper()
	inbox := nats.NewInbox()
	sub, err := w.client.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := w.client.PublishRequest(subject, inbox, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	return sub
}

// collect awaits n answers and counts them by status.
func collect(t *testing.T, sub *nats.Subscription, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for i := range n {
		m, err := sub.NextMsg(patient)
		if err != nil {
			t.Fatalf("answer %d of %d: %v", i+1, n, err)
		}
		got[m.Header.Get("Nats-Service-Error-Code")]++
	}
	return got
}

func TestSlowAggregateDelaysNoOther(t *testing.T) {
	t.Parallel()
	w := setup(t)
	g := newGate(w, "slow")
	slow := w.post(t, 3, "bank.cmd.account.slow.Deposit", `{"amount":1}`)
	g.await(t, 3)
	for i := range 20 {
		w.accepted(t, fmt.Sprintf("bank.cmd.account.a-%d.Deposit", i), `{"amount":1}`)
	}
	w.underWay(t, 3)
	close(g.open)
	check(t, "answers", fmt.Sprint(collect(t, slow, 3)), "map[:3]")
}

func TestOverload(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *gateway.Config) { c.MaxInFlight = 3 })
	g := newGate(w, "hot")
	hot := w.post(t, 3, "bank.cmd.account.hot.Deposit", `{"amount":1}`)
	g.await(t, 3)
	refused(t, w.ask(t, deposit, `{"amount":1}`), "429", "3 requests are under way, which is the limit")
	refused(t, w.ask(t, "bank.get.account.a-1", ""), "429", "3 requests are under way, which is the limit")
	check(t, "version", w.version(t, "a-1"), 0)
	close(g.open)
	check(t, "answers", fmt.Sprint(collect(t, hot, 3)), "map[:3]")
	w.underWay(t, 0)
	w.accepted(t, deposit, `{"amount":1}`)
	check(t, "429s", w.gateway.Stats(messages.KindCommand).Errors[429], 1)
}

func TestOverloadByBytes(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *gateway.Config) { c.MaxBody, c.MaxInFlightBytes = 1000, 1500 })
	g := newGate(w, "hot")
	body := `{"amount":1` + strings.Repeat(" ", 900) + `}`
	hot := w.post(t, 1, "bank.cmd.account.hot.Deposit", body)
	g.await(t, 1)
	refused(t, w.ask(t, deposit, body), "429", "the bodies of the requests under way take 912 bytes, near the limit of 1500")
	w.accepted(t, deposit, `{"amount":1}`)
	close(g.open)
	check(t, "answers", fmt.Sprint(collect(t, hot, 1)), "map[:1]")
}

func TestBurstAtOneAggregate(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *gateway.Config) { c.MaxInFlight = 100 })
	g := newGate(w, "hot")
	const burst = 10_000
	hot := w.post(t, burst, "bank.cmd.account.hot.Deposit", `{"amount":1}`)
	check(t, "answers at once", fmt.Sprint(collect(t, hot, burst-100)), fmt.Sprintf("map[429:%d]", burst-100))
	close(g.open)
	check(t, "answers then", fmt.Sprint(collect(t, hot, 100)), "map[:100]")
	check(t, "version", w.version(t, "hot"), 100)
	w.underWay(t, 0)
	w.accepted(t, "bank.cmd.account.hot.Deposit", `{"amount":1}`)
}

func TestQueueThatOverflows(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	w := setup(t, func(c *gateway.Config) {
		*c = c.WithPending(1)
		c.Now = func() time.Time { <-open; return dawn } // so that no request is taken from the queue
	})
	w.post(t, 4, "bank.get.account.nobody", "")
	eventually(t, func() error {
		if w.gateway.Stats(messages.KindGet).Overflows == 0 {
			return errNotYet
		}
		return nil
	})
	close(open)
	eventually(t, func() error { // they are counted first
		if !strings.Contains(w.journal.String(), "requests were lost") {
			return fmt.Errorf("the log does not tell that requests were lost: %w", errNotYet)
		}
		return nil
	})
}

// shelf is a reader that yields nothing before it is opened, whatever its context says.
type shelf struct {
	persistence.Reader
	inside, open chan struct{}
}

func (s *shelf) Backwards(context.Context, holdfast.Ref, holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(func(persistence.Commit, error) bool) {
		s.inside <- struct{}{}
		<-s.open
	}
}

func TestReadersOfTheLogTakeTurns(t *testing.T) {
	t.Parallel()
	s := &shelf{inside: make(chan struct{}, 100), open: make(chan struct{})}
	w := setup(t, timeout(100*time.Millisecond), func(c *gateway.Config) { c.Reader = s })
	inbox, answers := nats.NewInbox(), make(chan *nats.Msg, 1000)
	if _, err := w.client.ChanSubscribe(inbox, answers); err != nil {
		t.Fatal(err)
	}
	kinds := []*nats.Msg{message("bank.history.account.a-1", ""), message("bank.get.account.a-1", "", "Holdfast-As-Of-Version", "1")}
	end := time.After(patient)
	ask := func(i int) (status string) { // "" when it has come in
		t.Helper()
		m := kinds[i%2]
		m.Reply = inbox
		if err := w.client.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.inside:
			return ""
		case m := <-answers:
			return m.Header.Get("Nats-Service-Error-Code")
		case <-end:
			t.Fatal("the readers did not come")
			return ""
		}
	}
	for came, i := 0, 0; came < 32; i++ { // the time of some may be up before
		if ask(i) == "" {
			came++
		}
	}
	for i := range 8 {
		check(t, "answer while the readers wait", ask(i), "503")
	}
	check(t, "more readers", len(s.inside), 0)
	close(s.open)
	for range 32 {
		select {
		case m := <-answers:
			check(t, "answer then", m.Header.Get("Nats-Service-Error-Code"), "404")
		case <-end:
			t.Fatal("the readers are not answered")
		}
	}
}

// How long a request may take is not how long Start and Stop may.
func TestStartAndStopHaveTheirOwnTime(t *testing.T) {
	t.Parallel()
	w := setup(t, timeout(time.Nanosecond))
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Error(err)
	}
}

func TestStopWaits(t *testing.T) {
	t.Parallel()
	w := setup(t)
	g := newGate(w, "slow")
	slow := w.post(t, 2, "bank.cmd.account.slow.Deposit", `{"amount":1}`)
	g.await(t, 2)
	stopped := make(chan error, 1)
	go func() { stopped <- w.gateway.Stop(within(t)) }()
	eventually(t, func() error { // the subjects are given up first
		_, err := w.client.Request(deposit, []byte(`{"amount":1}`), patient)
		if !errors.Is(err, nats.ErrNoResponders) {
			return errors.Join(errNotYet, err)
		}
		return nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("Stop did not wait: %v", err)
	default:
	}
	close(g.open)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	check(t, "answers", fmt.Sprint(collect(t, slow, 2)), "map[:2]")
	check(t, "version", w.version(t, "slow"), 2)
}

// What the server had sent before the stop is executed, though it has not been looked at yet.
func TestStopTakesWhatWasSent(t *testing.T) {
	t.Parallel()
	const n = 3000
	var conn *nats.Conn
	w := setup(t, func(c *gateway.Config) { conn = c.Conn })
	all := w.post(t, n, "bank.get.account.nobody", "")
	if err := w.client.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Drain(); err != nil {
		t.Fatal(err)
	}
	check(t, "answers", fmt.Sprint(collect(t, all, n)), fmt.Sprintf("map[404:%d]", n))
}

func TestStopThatMayNotWait(t *testing.T) {
	t.Parallel()
	w := setup(t)
	g := newGate(w, "slow")
	slow := w.post(t, 1, "bank.cmd.account.slow.Deposit", `{"amount":1}`)
	g.await(t, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	err := w.gateway.Stop(ctx)
	check(t, "error", errors.Is(err, enough), true)
	check(t, "sentence", fmt.Sprint(err), "stop gateway: 1 requests were still under way: enough")
	check(t, "answers", fmt.Sprint(collect(t, slow, 1)), "map[504:1]")
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestStopOften(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if err := w.gateway.Stop(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestStopAfterTheConnection(t *testing.T) {
	t.Parallel()
	var conn *nats.Conn
	w := setup(t, func(c *gateway.Config) { conn = c.Conn })
	conn.Close()
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Error(err)
	}
}
