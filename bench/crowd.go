package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
)

// A picker gives what picks that which a caller's next operation is about: an aggregate, by its
// id, or what stands for it elsewhere.
type picker[T any] func(dice *rand.Rand) func() T

// A crowd are callers, of whom each begins its next operation when the one before has been
// answered.
type crowd[T any] struct {
	callers int
	pick    picker[T]
}

// run has the crowd call op until d is over.
func (c crowd[T]) run(ctx context.Context, d time.Duration, by string, op func(caller int, about T) error) (report.Sample, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	times := make([][]time.Duration, c.callers)
	begin := time.Now()
	end := begin.Add(d)
	var all sync.WaitGroup
	for i := range c.callers {
		next := c.pick(dice(i))
		all.Go(func() {
			for before := time.Now(); before.Before(end) && ctx.Err() == nil; {
				if err := op(i, next()); err != nil {
					fail(&failure{err})
					return
				}
				now := time.Now()
				times[i] = append(times[i], now.Sub(before))
				before = now
			}
		})
	}
	all.Wait()
	s := report.Sample{By: by, Took: time.Since(begin)}
	for _, t := range times {
		s.Ops += len(t)
		s.Times = append(s.Times, t...)
	}
	return s, failed(ctx)
}

// dice of one caller, which rolls the same in every turn, so that all sides are asked the same.
func dice(caller int) *rand.Rand { return rand.New(rand.NewPCG(1, uint64(caller))) }

// A failure is an operation's error, which ends a turn for all callers.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// failed gives the failure that ended ctx, if that is what ended it.
func failed(ctx context.Context) error {
	if f, ok := errors.AsType[*failure](context.Cause(ctx)); ok {
		return f.error
	}
	return nil
}

// evenly picks each aggregate as often as the others.
func evenly(ids []string) picker[string] {
	return func(dice *rand.Rand) func() string {
		return func() string { return ids[dice.IntN(len(ids))] }
	}
}

// unevenly picks few of the aggregates often, and many seldom.
func unevenly(ids []string) picker[string] {
	const exponent = 1.1
	return func(dice *rand.Rand) func() string {
		z := rand.NewZipf(dice, exponent, 1, uint64(len(ids)-1))
		return func() string { return ids[z.Uint64()] }
	}
}

// idsOf gives those of n aggregates.
func idsOf(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = "a-" + strconv.Itoa(i)
	}
	return ids
}
