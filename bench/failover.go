package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/cluster"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
)

// failover kills a node, as kill -9 does, while callers at another one pay into accounts that
// it owns, and measures for each account how long it does not answer. With one server the node
// is only a member: beside it stands the time until its record expires in the register, which
// is when the others can know. With three it has one of them in it, which leads the log: beside
// it stands the time until a bare publisher to the log is answered again, in the same kill.
type failover struct {
	accounts int // that are paid into
	stage    *stage
	js       natsjs.JetStream
	log      natsjs.Stream

	paid map[string]*atomic.Int64
	// Of the last kill, whatever of it nobody has taken yet.
	ours, raw *report.Sample
	kills     int
	longest   time.Duration // that an account did not answer
	later     time.Duration // the most by which that was later than the raw side
	lease     time.Duration
}

// pool is how many accounts there are for one that is paid into: the victim owns only some of
// them.
const pool = 8

func newFailover(o options) workload {
	return &failover{accounts: o.atMost(64), paid: map[string]*atomic.Int64{}}
}

// prepare implements workload.
func (w *failover) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage = s
	if w.lease = s.setting.lease; w.lease == 0 {
		w.lease = cluster.DefaultLease
	}
	conns, err := s.dials(0, 1)
	if err != nil {
		return nil, err
	}
	if w.js, err = natsjs.New(conns[0]); err != nil {
		return nil, err
	}
	if w.log, err = w.js.Stream(ctx, contextName.LogStream(0)); err != nil {
		return nil, fmt.Errorf("look at the log: %w", err)
	}
	ids := idsOf(pool * w.accounts)
	for _, id := range ids {
		w.paid[id] = new(atomic.Int64)
	}
	if err := atOnce(ids, func(id string) error { return w.insist(ctx, id, &bankpb.OpenAccount{Owner: "ada"}) }); err != nil {
		return nil, fmt.Errorf("open accounts: %w", err)
	}
	name := "node"
	if w.leads() {
		name = "leader"
	}
	return []part{{name: name, ours: w.turn(&w.ours), raw: []turn{w.turn(&w.raw)}, shared: true}}, nil
}

// leads reports whether a server goes with the node.
func (w *failover) leads() bool { return len(w.stage.victim.part.Routes) > 0 }

// turn gives one side of a kill. Whichever side has its turn first kills for both.
func (w *failover) turn(side **report.Sample) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		if *side == nil {
			ours, raw, err := w.kill(ctx, d)
			if err != nil {
				return report.Sample{}, unlessEnded(ctx, err)
			}
			w.ours, w.raw = &ours, &raw
		}
		s := **side
		*side = nil
		return s, nil
	}
}

// kill has callers pay for as long as d, kills the node, and waits until all of them have been
// answered.
func (w *failover) kill(ctx context.Context, d time.Duration) (ours, raw report.Sample, err error) {
	doomed, ids, err := w.ready(ctx)
	if err != nil {
		return ours, raw, err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestOutage)
	defer cancel()
	var killed atomic.Pointer[time.Time]
	outages := make([]time.Duration, len(ids))
	errs := make([]error, len(ids)+1)
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { outages[i], errs[i] = w.payUntil(limited, id, &killed) })
	}
	select {
	case <-time.After(d):
	case <-ctx.Done(): // it is killed all the same: the callers wait for that
	}
	now := time.Now()
	w.stage.victim.shoot()
	killed.Store(&now)
	var gap time.Duration
	all.Go(func() { gap, errs[len(ids)] = w.gap(limited, doomed, now) })
	all.Wait()
	w.stage.victim.kill()
	if err := errors.Join(errs...); err != nil {
		return ours, raw, err
	}
	ours = report.Sample{By: "holdfast", Ops: 1, Times: outages}
	for _, t := range outages {
		ours.Took = max(ours.Took, t)
	}
	raw = report.Sample{By: "expiry", Ops: 1, Took: gap, Times: []time.Duration{gap}}
	if w.leads() {
		raw.By = "publisher"
	}
	w.kills++
	w.longest, w.later = max(w.longest, ours.Took), max(w.later, ours.Took-gap)
	return ours, raw, nil
}

// longestOutage is after how long an account is given up.
const longestOutage = time.Minute

// ready returns when the victim is a member that owns what is paid into, and leads the log if
// it can.
func (w *failover) ready(ctx context.Context) (doomed cluster.Info, ids []string, err error) {
	v := w.stage.victim
	if !v.running() {
		if err := v.start(ctx); err != nil {
			return doomed, nil, err
		}
	}
	roster, err := w.stage.awaitMembers(ctx, 1+len(w.stage.members))
	if err != nil {
		return doomed, nil, err
	}
	if w.leads() {
		if err := lead(ctx, w.js, w.log, func() (string, error) { return victimName, nil }); err != nil {
			return doomed, nil, fmt.Errorf("have the log led by the victim: %w", err)
		}
	}
	for id := range w.paid {
		owner, ok := roster.Owner(account(id))
		if ok && owner.Name == victimName && len(ids) < w.accounts {
			doomed, ids = owner, append(ids, id)
		}
	}
	if len(ids) < w.accounts {
		return doomed, nil, fmt.Errorf("the victim owns %d of %d accounts", len(ids), len(w.paid))
	}
	for _, id := range ids { // they move there first
		if err := w.pay(ctx, id); err != nil {
			return doomed, nil, err
		}
	}
	return doomed, ids, nil
}

// payUntil pays into an account again and again, until a payment has been answered that was
// begun after the kill, and gives how long after.
func (w *failover) payUntil(ctx context.Context, id string, killed *atomic.Pointer[time.Time]) (time.Duration, error) {
	for {
		at := killed.Load()
		if err := w.pay(ctx, id); err != nil {
			return 0, err
		}
		if at != nil {
			return time.Since(*at), nil
		}
	}
}

func (w *failover) pay(ctx context.Context, id string) error {
	if err := w.insist(ctx, id, &bankpb.Deposit{Amount: 1}); err != nil {
		return err
	}
	w.paid[id].Add(1)
	return nil
}

const (
	// attempt is how long a caller waits for an answer before it asks again, under the same id.
	attempt = 500 * time.Millisecond
	// breath is how long it waits after a refusal.
	breath = 5 * time.Millisecond
)

// insist sends a command until it has been executed, which it is once.
func (w *failover) insist(ctx context.Context, id string, c holdfast.Command) error {
	command := nuid.Next()
	named := func(d *holdfast.Delivery) { d.Meta.ID = command }
	for {
		limited, cancel := context.WithTimeout(ctx, attempt)
		_, err := w.stage.members[0].Send(limited, account(id), c, named)
		cancel()
		if err == nil {
			return nil
		}
		if _, no := errors.AsType[*holdfast.Rejection](err); no {
			return fmt.Errorf("the account %s: %w", id, err)
		}
		select {
		case <-time.After(breath):
		case <-ctx.Done():
			return fmt.Errorf("the account %s does not answer any more: %w", id, err)
		}
	}
}

// gap is how long after the kill what is beside it is there again.
func (w *failover) gap(ctx context.Context, doomed cluster.Info, killed time.Time) (time.Duration, error) {
	if w.leads() {
		return w.publisherGap(ctx, killed)
	}
	roster, err := cluster.ReadRoster(ctx, w.js.Conn(), contextName)
	if err == nil {
		err = roster.AwaitGone(ctx, doomed)
	}
	if err != nil {
		return 0, fmt.Errorf("wait until the victim's record expires: %w", err)
	}
	return time.Since(killed), nil
}

// publisherGap is how long after the kill the log answers a publisher. As long as it refuses
// what nobody could expect, it has a leader, and nothing is written.
func (w *failover) publisherGap(ctx context.Context, killed time.Time) (time.Duration, error) {
	m := nats.NewMsg(subjectOf(messages.KindLog, "raw"))
	m.Header.Set(headerExpected, strconv.Itoa(1<<50))
	for {
		limited, cancel := context.WithTimeout(ctx, attempt/5)
		answer, err := w.js.Conn().RequestMsgWithContext(limited, m)
		cancel()
		if err == nil && len(answer.Data) > 0 && !bytes.Contains(answer.Data, []byte(`"code":503`)) {
			return time.Since(killed), nil
		}
		select {
		case <-time.After(breath):
		case <-ctx.Done():
			return 0, errors.New("the log has not had a leader again")
		}
	}
}

// verify implements workload.
func (w *failover) verify(ctx context.Context) (string, error) {
	want := map[string]tally{}
	var all int64
	for id, n := range w.paid {
		paid := n.Load()
		want[id], all = tally{events: paid + 1, balance: paid}, all+paid
	}
	if err := w.stage.verify(ctx, want); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d deposits were answered, all are in the log once; in %d kills (lease %v) no account was away longer than %v", all, w.kills, w.lease, round(w.longest))
	if w.leads() {
		fmt.Fprintf(&b, ", at most %v more than the bare publisher", round(w.later))
	}
	return b.String(), nil
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
