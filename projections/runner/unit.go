package runner

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// A unit is this node's work on one of a projection's.
type unit struct {
	*running
	id       projections.Unit
	log      *slog.Logger
	progress progress
	kick     chan struct{} // has room for one: something may be in the outbox
	at       projections.Checkpoint
	parked   map[string]int
	orders   uint64 // the last order that has been carried out
	lately   int    // how many events have been parked one after the other
	failures int    // how often in a row the sink has failed
	tried    map[string]tried
	until    uint64 // where the next try ends; 0: at the end of what is left
	draining queue  // the keys that are tried again, one after the other
	whole    batch  // that which the gatherer gave last, and what is left of it
	left     batch

	target atomic.Uint64 // where the log ended when it began
	ready  atomic.Bool   // it has begun
	item   atomic.Int64  // the item that is handled; -1 when it is the sink's turn
	steps  atomic.Uint64 // counts the transactions
	told   told
}

// What ends a following, so that another one begins at the checkpoint.
var errReset = errors.New("an operator has reset it")

// run works on the unit until ctx ends.
func (u *unit) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { u.report(ctx) })
	all.Go(func() { u.ask(ctx) })
	if u.p.Effects() {
		all.Go(func() { u.carry(ctx) })
	}
	for failures := 1; ctx.Err() == nil; failures++ {
		_, changed := u.record()
		err := u.follow(ctx)
		wait := brokenWait(failures)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errReset), errors.Is(err, projections.ErrFenced):
			u.log.Info("the projection begins again at its checkpoint", "reason", err)
			wait = again
		case errors.Is(err, projections.ErrForeign), errors.Is(err, holdfast.ErrCorrupt), errors.Is(err, holdfast.ErrMalformed):
			u.log.Error("the projection is stopped", "reason", err)
			u.tell(Stopped, u.explain(ctx, err), "")
			u.progress.set(0) // nobody shall believe that checkpoint
			wait = 30 * time.Second
		default:
			u.log.Warn("the projection is blocked; trying again", "reason", err)
			u.tell(Blocked, err.Error(), "")
		}
		if u.begun() {
			failures = 0
		}
		_ = pauseOr(ctx, wait, changed)
	}
}

// begun reports whether the last following came to something.
func (u *unit) begun() bool {
	began := u.parked != nil
	u.parked = nil
	return began
}

// explain says what became of the log.
func (u *unit) explain(ctx context.Context, err error) string {
	last, lost := u.runner.lastOf(ctx, u.id.Partition)
	if lost == nil && u.at.Done > last {
		return fmt.Sprintf("the checkpoint %s is ahead of the log, which ends at %s: the log has lost what stood there, or it is another one. "+
			"Nothing is touched: restore the log, or rebuild the projection", u.position(u.at.Done), u.position(last))
	}
	return err.Error()
}

func (u *unit) position(seq uint64) holdfast.Position {
	return holdfast.NewPosition(u.id.Partition, seq)
}

// follow works from the checkpoint on, until it cannot.
func (u *unit) follow(ctx context.Context) error {
	if err := u.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := newGather(&u.progress, u.runner.config.Now, u.reads())
	var lost error
	after := u.position(u.at.Done)
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		lost = u.runner.config.Log.Follow(ctx, after, func(rec persistence.Record) error { return g.take(ctx, rec) })
	}()
	err := u.work(ctx, g, failed)
	cancel()
	<-failed
	if err == nil {
		err = lost
	}
	return err
}

// begin reads how things stand, and sets right what does not stand as it should.
func (u *unit) begin(ctx context.Context) (err error) {
	u.whole, u.left, u.tried, u.failures, u.until, u.draining = batch{}, batch{}, map[string]tried{}, 0, 0, queue{}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if u.at, err = u.sink.Checkpoint(short, u.id); err != nil {
		return err
	}
	if err := u.reset(ctx); err != nil { // which may take as long as the log takes to read
		return err
	}
	return u.survey(ctx)
}

// survey reads what else there is, once it is known where to begin.
func (u *unit) survey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	target, err := u.runner.lastOf(ctx, u.id.Partition)
	if err != nil {
		return err
	}
	u.target.Store(target)
	u.progress.set(u.at.Done)
	keys, err := u.sink.ParkedKeys(ctx, u.id.Projection, u.id.Generation, math.MaxInt32)
	if err != nil {
		return err
	}
	u.parked = map[string]int{}
	for _, k := range keys {
		if k.Unit == u.id {
			u.parked[k.Key] = k.Events
		}
	}
	u.keep()
	u.ready.Store(true) // not before it is known what is parked
	u.orders = max(u.orders, u.runner.config.Register.orders(u.key()))
	return nil
}

// reads gives how a record is read: without the items of other shards.
func (u *unit) reads() func(persistence.Record, []projections.Item) []projections.Item {
	var mine func(key string) bool
	if shards := u.p.Shards(); shards > 1 {
		mine = func(key string) bool { return shardOf(key, shards) == u.id.Shard }
	}
	return func(rec persistence.Record, items []projections.Item) []projections.Item {
		return u.p.Append(items, rec, mine)
	}
}

func shardOf(key string, shards int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum64() % uint64(shards))
}

// work has what is gathered handled, and does what operators want, until ctx ends or it cannot
// go on. It returns nil when the log cannot be followed.
func (u *unit) work(ctx context.Context, g *gather, failed <-chan struct{}) error {
	u.draining.add(slices.Sorted(maps.Keys(u.parked))...) // this may be a build that handles them
	for ctx.Err() == nil {
		rec, changed := u.record()
		if to := rec.resetOf(u.id.Generation, u.id.Partition); to.Number > u.at.Resets {
			return errReset
		}
		if err := u.carryOut(ctx, rec); err != nil {
			return err
		}
		if u.stands(rec.Paused, g) {
			_ = pauseOr(ctx, time.Hour, changed)
			continue
		}
		if err := u.drainSome(ctx, rec); err != nil {
			return err
		}
		begun := u.runner.config.Now()
		full := false
		if u.left.done == 0 {
			if u.whole, full = u.next(ctx, g, failed, changed); u.whole.done == 0 {
				select {
				case <-failed:
					return nil
				default:
					continue
				}
			}
			u.left = u.whole
		}
		if err := u.finish(ctx, g, rec, full, begun, changed); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// next gives the next batch. It does not wait while keys drain.
func (u *unit) next(ctx context.Context, g *gather, failed, changed <-chan struct{}) (batch, bool) {
	if u.draining.empty() {
		return g.next(ctx, failed, changed)
	}
	if some, full, _ := g.has(); some {
		return g.swap(), full
	}
	return batch{}, false
}

// stands reports whether the unit stands still, as an operator wants.
func (u *unit) stands(p *Pause, g *gather) bool {
	if p == nil {
		g.stopAt(0)
		u.told.resume()
		return false
	}
	stop := max(p.stopsAt(u.id.Partition), u.progress.get())
	g.stopAt(stop)
	if u.progress.get() < stop {
		return false
	}
	u.told.set(Paused, p.Reason+" (by "+p.By+")", "", p.Since)
	return true
}

// finish has what is left of a batch handled, as far as possible.
func (u *unit) finish(ctx context.Context, g *gather, rec Record, full bool, begun time.Time, changed <-chan struct{}) error {
	paced := rec.Serving != u.id.Generation
	g.pace(paced && full)
	defer g.pace(false)
	now := u.left
	if u.until > 0 {
		now, _ = now.cutAfter(u.until)
	}
	if rec.Paused != nil {
		now, _ = now.cutAfter(max(rec.Paused.stopsAt(u.id.Partition), u.progress.get()))
	}
	wait, err := u.try(ctx, rec, now)
	if err != nil {
		return err
	}
	if wait > 0 {
		_ = pauseOr(ctx, wait, changed)
		return nil
	}
	if u.left.done > 0 {
		return nil
	}
	took := u.runner.config.Now().Sub(begun)
	size := g.limit
	if full && !paced {
		size = nextSize(size, took)
	} else if full {
		size = pacedSize
	}
	g.finished(u.whole, size)
	u.whole = batch{}
	if paced && full {
		_ = pause(ctx, rest(took, u.runner.config.Rest))
	}
	return nil
}
