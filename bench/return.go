package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// returning has accounts passivated, and one caller pay into them again: each command has to
// wait until its account is back. Beside it stands what that takes at least: to get the last
// message of a subject, and to publish the next.
type returning struct {
	accounts int
	stage    *stage
	plain    *plain
	paid     map[string]*atomic.Int64
}

// idleAfter is how long an account stays when nobody asks: nobody is to wait long for it to go.
const idleAfter = 40 * time.Millisecond

func newReturn(o options) workload {
	return &returning{accounts: o.atMost(200), paid: map[string]*atomic.Int64{}}
}

// prepare implements workload.
func (w *returning) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage = s
	size, err := s.commitSize(ctx, fullTrail)
	if err != nil {
		return nil, err
	}
	if w.plain, err = newPlain(ctx, s, size, 1); err != nil {
		return nil, err
	}
	for _, id := range idsOf(w.accounts) {
		w.paid[id] = new(atomic.Int64)
		if _, err := s.members[0].Send(ctx, account(id), &bankpb.OpenAccount{Owner: "ada"}); err != nil {
			return nil, fmt.Errorf("open accounts: %w", err)
		}
		if err := w.plain.publishOne(w.plain.conns[0], w.plain.subjectOf(id)); err != nil {
			return nil, err
		}
	}
	return []part{{ours: w.turn, raw: []turn{w.raw}}}, nil
}

// turn has all accounts go, pays into each, and so on. Only the paying counts.
func (w *returning) turn(ctx context.Context, d time.Duration) (report.Sample, error) {
	s := report.Sample{By: "holdfast"}
	end := time.Now().Add(d)
	for time.Now().Before(end) && !ended(ctx) {
		if err := w.passivated(ctx); err != nil {
			return s, unlessEnded(ctx, err)
		}
		for id, paid := range w.paid {
			begin := time.Now()
			if _, err := w.stage.members[0].Send(context.WithoutCancel(ctx), account(id), &bankpb.Deposit{Amount: 1}); err != nil {
				return s, fmt.Errorf("pay into the account %s: %w", id, err)
			}
			s.Times = append(s.Times, time.Since(begin))
			s.Took += s.Times[len(s.Times)-1]
			paid.Add(1)
		}
	}
	s.Ops = len(s.Times)
	return s, nil
}

// passivated returns when no account is active.
func (w *returning) passivated(ctx context.Context) error {
	tick := time.NewTicker(idleAfter / 8)
	defer tick.Stop()
	late := time.After(patience)
	for {
		active := w.stage.members[0].Stats().Active
		if active == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return fmt.Errorf("%d accounts stay active", active)
		}
	}
}

// raw gets and publishes.
func (w *returning) raw(ctx context.Context, d time.Duration) (report.Sample, error) {
	nc := w.plain.conns[0]
	pick := subjects(inTurn(idsOf(w.accounts)), w.plain.subjectOf)
	return crowd[*subject]{1, pick}.run(ctx, d, "get, publish", func(_ int, s *subject) error {
		if err := getLast(nc, s); err != nil {
			return err
		}
		return w.plain.publishOne(nc, s)
	})
}

// publishOne publishes one message and waits for the answer.
func (p *plain) publishOne(nc *nats.Conn, s *subject) error {
	m, err := nc.RequestMsg(p.message(s), patience)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", s.name, err)
	}
	if s.last, err = sequence(m); err != nil {
		return err
	}
	p.acked.Add(1)
	return nil
}

// verify implements workload.
func (w *returning) verify(ctx context.Context) (string, error) {
	want := map[string]tally{}
	var all int64
	for id, n := range w.paid {
		paid := n.Load()
		want[id], all = tally{events: paid + 1, balance: paid}, all+paid
	}
	if err := w.stage.verify(ctx, want); err != nil {
		return "", err
	}
	back := w.stage.members[0].Stats().Activations
	return fmt.Sprintf("%d deposits were answered, all are in the log once; %d activations", all, back), w.plain.verify(ctx)
}
