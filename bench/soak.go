package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// soak has 64 callers ask for the state of 1,000 accounts, and pay into one each tenth time. It
// is for long runs, in which memory must not grow: with many rounds, or long ones. Beside it stand
// getting the last message of a subject, and publishing the next.
type soak struct{ deposits }

// writes is the share of operations that write.
const writes = 0.1

// An errand is one operation.
type errand struct {
	id    string
	write bool
}

func newSoak(o options) workload {
	ids := idsOf(o.atMost(1000))
	return &soak{deposits{ids: ids, callers: []int{o.atMost(64)}, pick: evenly(ids), earlier: fullTrail}}
}

// prepare implements workload.
func (w *soak) prepare(ctx context.Context, s *stage) ([]part, error) {
	if _, err := w.deposits.prepare(ctx, s); err != nil {
		return nil, err
	}
	nc := w.plain.conns[0]
	for _, id := range w.ids { // each subject has something to be got
		if err := w.plain.publishOne(nc, w.plain.subjectOf(id)); err != nil {
			return nil, err
		}
	}
	return []part{{ours: w.mixed, raw: []turn{w.mixedRaw(nc)}}}, nil
}

func (w *soak) errands(dice *rand.Rand) func() errand {
	next := w.pick(dice)
	return func() errand { return errand{next(), dice.Float64() < writes} }
}

func (w *soak) mixed(ctx context.Context, d time.Duration) (report.Sample, error) {
	member := w.stage.members[0]
	return crowd[errand]{w.callers[0], w.errands}.run(ctx, d, "holdfast", func(_ int, e errand) error {
		ctx := context.WithoutCancel(ctx)
		if !e.write {
			if _, err := member.View(ctx, account(e.id)); err != nil {
				return fmt.Errorf("look at the account %s: %w", e.id, err)
			}
			return nil
		}
		if _, err := member.Send(ctx, account(e.id), &bankpb.Deposit{Amount: 1}); err != nil {
			return fmt.Errorf("pay into the account %s: %w", e.id, err)
		}
		w.count(e.id)
		return nil
	})
}

func (w *soak) mixedRaw(nc *nats.Conn) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[errand]{w.callers[0], w.errands}.run(ctx, d, "get, publish", func(_ int, e errand) error {
			s := w.plain.subjectOf(e.id)
			if !e.write {
				return getLast(nc, s)
			}
			s.Lock()
			defer s.Unlock()
			return w.plain.publishOne(nc, s)
		})
	}
}

// getLast gets the last message of a subject.
func getLast(nc *nats.Conn, s *subject) error {
	m, err := nc.Request(direct+plainStream+"."+s.name, nil, patience)
	if err == nil && m.Header.Get("Status") != "" {
		err = fmt.Errorf("the server answers %s", m.Header.Get("Status"))
	}
	if err != nil {
		return fmt.Errorf("get the last message of %s: %w", s.name, err)
	}
	return nil
}
