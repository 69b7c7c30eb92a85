package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank"
)

// load has one caller load accounts that nobody has in memory, as an activation does: read,
// check the chain, decode, fold. Beside it stands reading the same bytes by somebody who knows
// where they are: a request for each message, all at once; or by the subject, in one batch.
type load struct {
	o       options
	history *history
	stage   *stage
	loaded  atomic.Int64
}

// A class are accounts with the same kind of history.
type class struct {
	name     string
	events   int
	dense    bool // one after the other in the log; else spread over all of it
	snapshot bool // there is one, after which afterSnapshot events came
}

const (
	afterSnapshot = 10
	each          = 4  // accounts of a class
	others        = 12 // that write between two commits of a spread one
)

func (c class) id(i int) string { return fmt.Sprintf("%s-%d", strings.ReplaceAll(c.name, " ", "-"), i) }

// ids of the accounts of a class.
func (c class) ids() []string {
	var out []string
	for i := range each {
		out = append(out, c.id(i))
	}
	return out
}

func newLoad(o options) workload { return &load{o: o} }

func (w *load) classes() []class {
	out := []class{{name: "1", events: 1}}
	for _, n := range []int{10, 100, 1000} {
		for _, dense := range []bool{true, false} {
			c := class{name: fmt.Sprintf("%d spread", n), events: w.o.atMost(n), dense: dense}
			if dense {
				c.name = fmt.Sprintf("%d dense", n)
			}
			out = append(out, c)
		}
	}
	return append(out, class{name: "1000 snapshot", events: w.o.atMost(1000), snapshot: true})
}

// prepare implements workload.
func (w *load) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage, w.history = s, newHistory(s)
	if err := w.write(ctx); err != nil {
		return nil, err
	}
	conns, err := s.dials(0, 1)
	if err != nil {
		return nil, err
	}
	raw, err := newReader(conns[0])
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, c := range w.classes() {
		p := part{name: c.name, ours: w.turn(c), raw: []turn{w.reading(c, "gets at once", raw.bySequence)}}
		if c.events > 1 && !c.snapshot {
			p.raw = append(p.raw, w.reading(c, "one batch", raw.bySubject))
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// write writes the histories: the dense ones one after the other, then the others spread over
// as many rounds as the longest has events.
func (w *load) write(ctx context.Context) error {
	longest := 0
	for _, c := range w.classes() {
		longest = max(longest, c.events)
		for _, id := range c.ids() {
			for range c.events {
				if !c.dense {
					break
				}
				if err := w.history.append(id); err != nil {
					return err
				}
			}
		}
	}
	for round := range longest {
		if ended(ctx) {
			return context.Cause(ctx)
		}
		if err := w.spread(ctx, round, longest); err != nil {
			return err
		}
	}
	return nil
}

// spread writes one round.
func (w *load) spread(ctx context.Context, round, rounds int) error {
	var ids, kept []string
	for i := range others {
		ids = append(ids, fmt.Sprintf("other-%d", i))
	}
	for _, c := range w.classes() {
		if c.dense || round%(rounds/c.events) != 0 {
			continue
		}
		for _, id := range c.ids() {
			if len(w.history.sequences[id]) == c.events {
				continue
			}
			ids = append(ids, id)
			if c.snapshot && round == rounds-1-afterSnapshot {
				kept = append(kept, id)
			}
		}
	}
	if err := w.history.append(ids...); err != nil {
		return err
	}
	for _, id := range kept {
		if err := w.history.snapshot(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// turn loads the accounts of a class, one after the other.
func (w *load) turn(c class) turn {
	fingerprint := ""
	if c.snapshot {
		fingerprint = bank.Account.Fingerprint()
	}
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[string]{1, inTurn(c.ids())}.run(ctx, d, "holdfast", func(_ int, id string) error {
			w.loaded.Add(1)
			return w.history.restore(context.WithoutCancel(ctx), id, fingerprint)
		})
	}
}

// reading reads as many messages of an account as Holdfast has to.
func (w *load) reading(c class, by string, read func(want []uint64, id string, snapshot bool) error) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[string]{1, inTurn(c.ids())}.run(ctx, d, by, func(_ int, id string) error {
			want := w.history.sequences[id]
			if c.snapshot {
				want = want[len(want)-afterSnapshot:]
			}
			return read(want, id, c.snapshot)
		})
	}
}

// verify implements workload.
func (w *load) verify(ctx context.Context) (string, error) {
	if err := w.stage.verify(ctx, w.history.tallies()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d accounts were loaded, each as it was written", w.loaded.Load()), nil
}

// inTurn picks one after the other.
func inTurn(ids []string) picker[string] {
	return func(*rand.Rand) func() string {
		i := 0
		return func() string {
			i++
			return ids[i%len(ids)]
		}
	}
}
