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
	"github.com/holdfast-run/holdfast/cluster"
)

// options say what is run, and how.
type options struct {
	kinds  []kind
	modes  []mode
	rounds int
	per    time.Duration // that each side runs in a round
	zipf   bool
	events int // that are in the log before
	// aggregates of the soak, and how many of them may be active; 0 for the usual numbers.
	aggregates, live int
	dir              string
	// most bounds the aggregates and callers of a workload, for tests; 0 does not.
	most int
	// self begins the command line of a process that is a part of a benchmark.
	self []string
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
const method = "Holdfast and the raw engine take turns in one process, which the servers are in as well, without a network; " +
	"of the raw sides the better of each round counts; CPU and allocations are of the whole process, servers included"

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
			results, err := runOne(ctx, o, m, k)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s, %s: %w", k.name, m.name, err))
			}
			d.Results = append(d.Results, results...)
		}
	}
	if ended(ctx) {
		errs = append(errs, errInterrupted)
	}
	d.Complete = len(errs) == 0
	return d, errors.Join(errs...)
}

// runOne runs one workload in one mode. Rounds that were completed before ctx ended count, and
// what they did is verified. There are no results when there is an error.
func runOne(ctx context.Context, o options, m mode, k kind) (results []report.Result, err error) {
	name := fmt.Sprintf("%s, %s", k.name, m.name)
	o.told("%s: starting", name)
	s, err := newStage(ctx, m, o.dir, o.settingOf(k))
	if err != nil {
		return nil, unlessEnded(ctx, err)
	}
	defer func() {
		if err = errors.Join(err, s.close()); err != nil {
			results = nil
		}
		debug.FreeOSMemory() // so that the next one does not find what this one had
	}()
	if k.ages && o.events > 0 {
		tell := func(format string, args ...any) { o.told(name+": "+format, args...) }
		if err := s.age(ctx, o.events, tell); err != nil {
			return nil, unlessEnded(ctx, fmt.Errorf("age the log: %w", err))
		}
	}
	w := k.make(o)
	parts, err := w.prepare(ctx, s)
	if err != nil {
		return nil, unlessEnded(ctx, fmt.Errorf("prepare: %w", err))
	}
	for _, p := range parts {
		rounds, err := runRounds(ctx, o, fmt.Sprintf("%s, %s", p.of(k), m.name), o.each(k), p)
		if err != nil {
			return nil, err
		}
		if len(rounds) == 0 {
			continue
		}
		judged := k.judged
		if p.judged != nil {
			judged = p.judged
		}
		r := report.Summarise(rounds, judged...)
		if p.steady {
			r = r.Steady(rounds)
		}
		r.Workload, r.Mode, r.Unit = p.of(k), m.name, k.unit
		if o.zipf && k.zipf {
			r.Workload += " zipf"
		}
		if s.aged > 0 {
			r.Workload += " +" + short(s.aged)
		}
		_, r.Memory = memory()
		results = append(results, r)
	}
	if len(results) == 0 {
		return nil, nil
	}
	o.told("%s: verifying", name)
	verified, err := w.verify(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("what was answered and what is in the store differ: %w", err)
	}
	for i := range results {
		results[i].Verified = verified
	}
	return results, nil
}

// smallLease is the lease of the members of a small suite.
const smallLease = 30 * time.Second

// settingOf is what a workload needs.
func (o options) settingOf(k kind) setting {
	set := setting{members: max(k.members, 1), host: actors.Config{MaxActive: maxActive, Idle: k.idle, Types: k.types}}
	if k.soaks && o.live > 0 {
		set.host.MaxActive = o.live
	}
	if o.most > 0 { // which is not to measure: a machine that stands still does no harm
		set.lease = smallLease
	}
	if k.victim {
		set.self = o.self
		if o.most > 0 {
			set.lease = cluster.LeastLease
		}
	}
	return set
}

// unlessEnded is nil when ctx has ended, which is told elsewhere.
func unlessEnded(ctx context.Context, err error) error {
	if ended(ctx) {
		return nil
	}
	return err
}

// runRounds has all sides take turns, each round in another order. The first round warms up and
// does not count, unless the sides share what they measure.
func runRounds(ctx context.Context, o options, name string, per time.Duration, p part) ([]report.Round, error) {
	turns := append(slices.Clone(p.raw), p.ours) // ours is the last one
	samples := make([]report.Sample, len(turns))
	var rounds []report.Round
	for round := range 1 + o.rounds {
		if round == 0 && p.shared {
			continue
		}
		d := per
		if round == 0 {
			o.told("%s: warming up", name)
			d = min(per, warmUp)
		} else {
			o.told("%s: round %d of %d", name, round, o.rounds)
		}
		for i := range turns {
			at := (i + round) % len(turns)
			var err error
			if samples[at], err = measured(ctx, turns[at], d); err != nil {
				return nil, err
			}
			if p.shared {
				samples[at].CPU, samples[at].Allocs = 0, 0
			}
		}
		if ended(ctx) {
			return rounds, nil
		}
		if round > 0 {
			ours, raw := samples[len(turns)-1], samples[:len(turns)-1]
			r := report.NewRound(ours, raw...)
			if r.Heap, _ = memory(); p.steady {
				r.Servers = min(held(), r.Heap)
			}
			rounds = append(rounds, r)
			if p.steady && report.Tenth(round, o.rounds) {
				o.told("%s: %s", name, r.Course(round, o.rounds))
			}
		}
	}
	return rounds, nil
}

// warmUp is at most how long.
const warmUp = 500 * time.Millisecond

// ended reports whether nothing more is to be begun.
func ended(ctx context.Context) bool { return ctx.Err() != nil }
