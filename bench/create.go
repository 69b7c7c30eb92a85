package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// create has 64 callers open one account after the other.
type create struct {
	callers int
	stage   *stage
	plain   *plain
	serial  atomic.Int64
	mu      sync.Mutex
	opened  []string
}

func newCreate(o options) workload { return &create{callers: o.atMost(64)} }

// prepare implements workload.
func (w *create) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage = s
	size, err := s.commitSize(ctx, 0)
	if err != nil {
		return nil, err
	}
	if w.plain, err = newPlain(ctx, s, size, 2); err != nil {
		return nil, err
	}
	raw, err := w.plain.publishers(w.callers, subjects(w.pick, fresh))
	return []part{{ours: w.turn, raw: raw}}, err
}

// pick gives ids that nobody has had.
func (w *create) pick(*rand.Rand) func() string {
	return func() string { return "n-" + strconv.FormatInt(w.serial.Add(1), 10) }
}

func (w *create) turn(ctx context.Context, d time.Duration) (report.Sample, error) {
	sender := w.stage.members[0]
	return crowd[string]{w.callers, w.pick}.run(ctx, d, "holdfast", func(_ int, id string) error {
		if _, err := sender.Send(context.WithoutCancel(ctx), account(id), &bankpb.OpenAccount{Owner: "ada"}); err != nil {
			return fmt.Errorf("open the account %s: %w", id, err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.opened = append(w.opened, id)
		return nil
	})
}

// verify implements workload.
func (w *create) verify(ctx context.Context) (string, error) {
	want := map[string]tally{}
	for _, id := range w.opened {
		want[id] = tally{events: 1}
	}
	if err := w.stage.verify(ctx, want); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d accounts were opened, all are in the log once", len(want)), w.plain.verify(ctx)
}
