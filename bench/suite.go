package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/bench/report"
)

// options say what is run, and how.
type options struct {
	kinds  []kind
	modes  []mode
	rounds int
	per    time.Duration // that each side runs in a round
	zipf   bool
	dir    string
	// most bounds the aggregates and callers of a workload, for tests; 0 does not.
	most int
	// told hears what is being done.
	told func(format string, args ...any)
}

// atMost is n, or less in a test.
func (o options) atMost(n int) int {
	if o.most > 0 {
		return min(n, o.most)
	}
	return n
}

// each is how long a side of a workload runs in a round.
func (o options) each(k kind) time.Duration {
	if o.most > 0 {
		return o.per
	}
	return max(o.per, k.least)
}

// maxActive aggregates is more than any workload has in a usual time.
const maxActive = 1_000_000

// method is what a document says of how it was measured.
const method = "Holdfast and the raw engine take turns in one process, on the same servers in that process and without a network; " +
	"of the raw publishers the better of each round counts; CPU and allocations are of the whole process, servers included"

// errInterrupted is the error of a run that was ended before it was complete.
var errInterrupted = errors.New("interrupted: what was complete by then is told above")

// run runs every workload in every mode, and gives what there is when something goes wrong or
// ctx ends; then the document is not complete.
func run(ctx context.Context, o options) (report.Document, error) {
	d := report.Document{
		Format: report.Format, Versions: versions(), Began: time.Now().UTC().Truncate(time.Second),
		Method: report.Method{Rounds: o.rounds, For: o.per.String(), Text: method},
	}
	var err error
	if d.Machine, err = lookAtMachine(o.dir); err != nil {
		return d, err
	}
	var errs []error
	for _, m := range o.modes {
		for _, k := range o.kinds {
			if ended(ctx) {
				break
			}
			r, err := runOne(ctx, o, m, k)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s, %s: %w", k.name, m.name, err))
			}
			if r.Rounds > 0 {
				d.Results = append(d.Results, r)
			}
		}
	}
	if ended(ctx) {
		errs = append(errs, errInterrupted)
	}
	d.Complete = len(errs) == 0
	return d, errors.Join(errs...)
}

// runOne runs one workload in one mode. Rounds that were completed before ctx ended count, and
// what they did is verified. The result is not to be believed when there is an error.
func runOne(ctx context.Context, o options, m mode, k kind) (r report.Result, err error) {
	o.told("%s, %s: starting", k.name, m.name)
	s, err := newStage(ctx, m, o.dir, max(k.members, 1), actors.Config{MaxActive: maxActive})
	if err != nil {
		if ended(ctx) {
			return r, nil // which is told at the end
		}
		return r, err
	}
	defer func() {
		if err = errors.Join(err, s.close()); err != nil {
			r = report.Result{}
		}
		debug.FreeOSMemory() // so that the next one does not find what this one had
	}()
	w := k.make(o)
	what, err := w.prepare(ctx, s)
	if err != nil {
		if ended(ctx) {
			return r, nil
		}
		return r, fmt.Errorf("prepare: %w", err)
	}
	rounds, err := runRounds(ctx, o, m, k, what)
	if err != nil || len(rounds) == 0 {
		return r, err
	}
	r = report.Summarise(rounds, k.judged...)
	r.Workload, r.Mode, r.Unit = k.name, m.name, k.unit
	if o.zipf && k.zipf {
		r.Workload += " (zipf)"
	}
	r.Heap, r.Memory = memory()
	o.told("%s, %s: verifying", k.name, m.name)
	if r.Verified, err = w.verify(context.WithoutCancel(ctx)); err != nil {
		return r, fmt.Errorf("what was answered and what is in the store differ: %w", err)
	}
	return r, nil
}

// runRounds has all sides take turns, each round in another order. The first round warms up and
// does not count.
func runRounds(ctx context.Context, o options, m mode, k kind, what sides) ([]report.Round, error) {
	turns := append(slices.Clone(what.raw), what.ours) // ours is the last one
	samples := make([]report.Sample, len(turns))
	var rounds []report.Round
	for round := range 1 + o.rounds {
		per := o.each(k)
		if round == 0 {
			o.told("%s, %s: warming up", k.name, m.name)
			per = min(per, warmUp)
		} else {
			o.told("%s, %s: round %d of %d", k.name, m.name, round, o.rounds)
		}
		for i := range turns {
			at := (i + round) % len(turns)
			var err error
			if samples[at], err = measured(ctx, turns[at], per); err != nil {
				return nil, err
			}
		}
		if ended(ctx) {
			return rounds, nil
		}
		if round > 0 {
			ours, raw := samples[len(turns)-1], samples[:len(turns)-1]
			rounds = append(rounds, report.NewRound(ours, raw...))
		}
	}
	return rounds, nil
}

// warmUp is at most how long.
const warmUp = 500 * time.Millisecond

// ended reports whether nothing more is to be begun.
func ended(ctx context.Context) bool { return ctx.Err() != nil }
