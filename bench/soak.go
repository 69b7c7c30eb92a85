package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// soak has 64 callers ask for the state of accounts and pay into them: at first for a long time
// mostly the one, then as often the other. Where fewer may be active than there are, most have
// to be loaded, and others make room. It is for long runs, in which neither memory nor times
// may grow. Beside it stand getting the last message of a subject, and publishing the next.
type soak struct {
	deposits
	told func(format string, args ...any)
	turn atomic.Uint64 // how many errands of ours were picked in turn
}

// An errand is one operation.
type errand struct {
	id    string
	write bool
}

func newSoak(o options) workload {
	n := o.aggregates
	if n == 0 {
		n = o.atMost(1000)
	}
	ids := idsOf(n)
	return &soak{told: o.told, deposits: deposits{ids: ids, callers: []int{o.atMost(64)}, pick: evenly(ids), earlier: fullTrail}}
}

// prepare implements workload.
func (w *soak) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.told("soak, %s: opening %d accounts", s.mode.name, len(w.ids))
	if _, err := w.deposits.prepare(ctx, s); err != nil {
		return nil, err
	}
	nc := w.plain.conns[0]
	if err := w.plain.fill(nc, w.ids); err != nil { // each subject has something to be got
		return nil, err
	}
	var parts []part
	raw := new(atomic.Uint64)
	for _, p := range []struct {
		name   string
		writes float64
	}{{"97/3", 0.03}, {"50/50", 0.5}} {
		parts = append(parts, part{
			name: p.name, steady: true,
			ours: w.mixed(w.errands(p.writes, &w.turn)), raw: []turn{w.mixedRaw(nc, w.errands(p.writes, raw))},
		})
	}
	return parts, nil
}

// stride is a prime, by which those that are picked in turn lie apart: in the order in which they
// were opened they would be neighbours in the log.
const stride = 611_953

// errands picks three of four in turn, so that each account is touched in time, and the fourth
// among those that are picked often.
func (w *soak) errands(writes float64, turn *atomic.Uint64) picker[errand] {
	return func(dice *rand.Rand) func() errand {
		often := unevenly(w.ids)(dice)
		return func() errand {
			e := errand{write: dice.Float64() < writes}
			if dice.IntN(4) == 0 {
				e.id = often()
			} else {
				e.id = w.ids[turn.Add(1)*stride%uint64(len(w.ids))]
			}
			return e
		}
	}
}

func (w *soak) mixed(errands picker[errand]) turn {
	member := w.stage.members[0]
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[errand]{w.callers[0], errands}.run(ctx, d, "holdfast", func(_ int, e errand) error {
			ctx := context.WithoutCancel(ctx)
			err := w.stage.untilRoom(func() (err error) {
				if e.write {
					_, err = member.Send(ctx, account(e.id), &bankpb.Deposit{Amount: 1})
				} else {
					_, err = member.View(ctx, account(e.id))
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("pay into the account %s, or look at it: %w", e.id, err)
			}
			if e.write {
				w.count(e.id)
			}
			return nil
		})
	}
}

func (w *soak) mixedRaw(nc *nats.Conn, errands picker[errand]) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[errand]{w.callers[0], errands}.run(ctx, d, "get, publish", func(_ int, e errand) error {
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

// verify implements workload.
func (w *soak) verify(ctx context.Context) (string, error) {
	said, err := w.deposits.verify(ctx)
	stats, times := w.stage.members[0].Stats(), w.turn.Load()/uint64(len(w.ids))
	return fmt.Sprintf("%s; each of %d accounts was asked at least %d times, %d activations, %d active in the end, %d requests had to wait for room", said, len(w.ids), times, stats.Activations, stats.Active, w.stage.crowded.Load()), err
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
