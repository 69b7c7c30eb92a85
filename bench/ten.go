package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// A till takes in what is put into it in ten coins.
type till struct{ amount int64 }

var tills = holdfast.Define("till",
	holdfast.Decide(till.put),
	holdfast.Evolve(till.deposited),
	holdfast.Snapshot(till.save, loadTill),
)

const coins = 10

func (till) put(c *bankpb.Deposit) (holdfast.Events, error) {
	all := make(holdfast.Events, coins)
	for i := range all {
		all[i] = &bankpb.Deposited{Amount: c.Amount}
	}
	return all, nil
}

func (t till) deposited(e *bankpb.Deposited) till { return till{t.amount + e.Amount} }

func (t till) save() *bankpb.Account { return &bankpb.Account{Balance: t.amount} }

func loadTill(a *bankpb.Account) till { return till{a.Balance} }

// ten has callers whose commands each bring ten events, beside publishes of as many bytes.
type ten struct {
	ids     []string
	callers []int
	stage   *stage
	plain   *plain
	put     map[string]*atomic.Int64 // how many commands were answered
}

func newTen(o options) workload {
	return &ten{ids: idsOf(o.atMost(1000)), callers: []int{1, o.atMost(64)}, put: map[string]*atomic.Int64{}}
}

// prepare implements workload.
func (w *ten) prepare(ctx context.Context, s *stage) (parts []part, err error) {
	w.stage = s
	probe := holdfast.Ref{Type: tills.Name(), ID: "probe"}
	for range fullTrail {
		if err := w.send(ctx, probe); err != nil {
			return nil, err
		}
	}
	size, err := s.lastSize(ctx, probe)
	if err != nil {
		return nil, err
	}
	if w.plain, err = newPlain(ctx, s, size, 2); err != nil {
		return nil, err
	}
	for _, id := range w.ids {
		w.put[id] = new(atomic.Int64)
	}
	for _, n := range w.callers {
		p := part{name: strconv.Itoa(n), ours: w.turn(n)}
		if p.raw, err = w.plain.publishers(n, subjects(evenly(w.ids), w.plain.subjectOf)); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (w *ten) send(ctx context.Context, ref holdfast.Ref) error {
	if _, err := w.stage.members[0].Send(ctx, ref, &bankpb.Deposit{Amount: 1}); err != nil {
		return fmt.Errorf("put into the %s: %w", ref, err)
	}
	return nil
}

func (w *ten) turn(callers int) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[string]{callers, evenly(w.ids)}.run(ctx, d, "holdfast", func(_ int, id string) error {
			if err := w.send(context.WithoutCancel(ctx), holdfast.Ref{Type: tills.Name(), ID: id}); err != nil {
				return err
			}
			w.put[id].Add(1)
			return nil
		})
	}
}

// verify implements workload.
func (w *ten) verify(ctx context.Context) (string, error) {
	found := map[string]int64{}
	if err := w.stage.scan(ctx, tills, func(id string, _ holdfast.Event) { found[id]++ }); err != nil {
		return "", err
	}
	var all int64
	for id, put := range w.put {
		n := put.Load()
		if found[id] != coins*n {
			return "", fmt.Errorf("the till %s: %d commands were answered, and the log has %d events", id, n, found[id])
		}
		all += n
	}
	return fmt.Sprintf("%d commands were answered, the log has the ten events of each", all), w.plain.verify(ctx)
}
