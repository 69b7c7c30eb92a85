package bench

import (
	"context"
	"fmt"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/cluster"
)

// remote has callers at one node pay into accounts that another one owns, so that each command
// hops over gRPC on this machine. Beside it stands a bare call by gRPC, and then a publish.
type remote struct {
	deposits
	accounts int
}

func newRemote(o options) workload {
	return &remote{deposits{callers: []int{1, o.atMost(64)}, earlier: fullTrail}, o.atMost(1000)}
}

// prepare implements workload.
func (w *remote) prepare(ctx context.Context, s *stage) ([]part, error) {
	roster, err := s.awaitMembers(ctx, len(s.members))
	if err != nil {
		return nil, err
	}
	for _, id := range idsOf(8 * w.accounts) { // of which about half are
		owner, ok := roster.Owner(account(id))
		if ok && owner.Name != memberName(0) && len(w.ids) < w.accounts {
			w.ids = append(w.ids, id)
		}
	}
	if len(w.ids) < w.accounts {
		return nil, fmt.Errorf("the other node owns %d of %d accounts", len(w.ids), 8*w.accounts)
	}
	w.pick = evenly(w.ids)
	parts, err := w.deposits.prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	h, err := s.hop()
	if err != nil {
		return nil, err
	}
	js, err := natsjs.New(w.plain.conns[1])
	if err != nil {
		return nil, err
	}
	for i, callers := range w.callers {
		parts[i].raw = []turn{w.bare(h, js, callers)}
	}
	return parts, nil
}

// bare has callers make a bare call each time, and then publish.
func (w *remote) bare(h *hop, js natsjs.JetStream, callers int) turn {
	pick := subjects(w.pick, w.plain.subjectOf)
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[*subject]{callers, pick}.run(ctx, d, "gRPC, nats.go", func(_ int, s *subject) error {
			if err := h.call(context.WithoutCancel(ctx)); err != nil {
				return err
			}
			return w.plain.publishSync(js, s)
		})
	}
}

// awaitMembers returns when so many members have joined, and none else is there.
func (s *stage) awaitMembers(ctx context.Context, want int) (*cluster.Roster, error) {
	tick := time.NewTicker(cluster.LeastLease / 10)
	defer tick.Stop()
	for {
		roster, err := cluster.ReadRoster(ctx, s.conns[0], contextName)
		if err != nil {
			return nil, fmt.Errorf("read who is there: %w", err)
		}
		if len(roster.Members()) == want {
			return roster, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
