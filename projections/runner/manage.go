package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// A running is a projection that this node takes part in.
type running struct {
	runner *Runner
	p      *projections.Projection
	logger *slog.Logger
	sink   projections.Sink // since open is closed
	open   chan struct{}

	mu      sync.Mutex
	reason  string // why there is no sink
	wanted  map[uint64]bool
	changed chan struct{} // closed when other generations are wanted
	units   map[projections.Unit]*unit
	dropped map[uint64]bool
	served  uint64
}

func newRunning(r *Runner, p *projections.Projection) *running {
	return &running{
		runner: r, p: p, logger: r.config.Logger.With("projection", p.Name()), open: make(chan struct{}),
		wanted: map[uint64]bool{}, changed: make(chan struct{}), units: map[projections.Unit]*unit{}, dropped: map[uint64]bool{},
	}
}

func (x *running) record() (Record, <-chan struct{}) {
	return x.runner.config.Register.record(x.p.Name())
}

// run takes part until ctx ends.
func (x *running) run(ctx context.Context) {
	if !x.prepare(ctx) {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, partition := range x.runner.partitions {
		for shard := range x.p.Shards() {
			all.Go(func() { x.hold(ctx, partition, shard) })
		}
	}
	for failures := 0; ctx.Err() == nil; {
		rec, changed := x.record()
		err := x.arrange(ctx, rec)
		wait := time.Hour
		if failures++; err == nil {
			failures = 0
		} else if wait = brokenWait(failures); ctx.Err() == nil {
			x.logger.Warn("a generation cannot be kept; trying again", "error", err)
		}
		_ = pauseOr(ctx, wait, changed)
	}
}

// prepare finds where the projection is kept, and has the others know of this build.
func (x *running) prepare(ctx context.Context) bool {
	var sink projections.Sink
	for failures := 1; ; failures++ {
		err := x.declare(ctx)
		if err == nil && sink == nil {
			sink, err = x.runner.config.Sink(x.p)
		}
		if err == nil && !sink.Takes(x.p.Form()) {
			err = fmt.Errorf("its sink does not keep %s: choose another one", x.p.Form())
		}
		if err == nil && sink.Local() && x.p.Effects() && !x.runner.config.Alone {
			err = errors.New("it has an Effect, and each node keeps it for itself, so that all of them would carry that out: keep it in PostgreSQL or in NATS KV")
		}
		if err == nil {
			break
		}
		x.because(err.Error())
		x.logger.Warn("a projection cannot be kept up to date; trying again", "error", err)
		if pause(ctx, brokenWait(failures)) != nil {
			return false
		}
	}
	x.because("")
	x.sink = sink
	close(x.open)
	return true
}

func (x *running) declare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return x.runner.config.Register.declare(ctx, x.p.Name(), Generation{Revision: x.p.Revision(), Shards: x.p.Shards()})
}

func (x *running) because(reason string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reason = reason
}

// arrange has this node work on those generations that its build is for.
func (x *running) arrange(ctx context.Context, rec Record) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var failed error
	wanted := map[uint64]bool{}
	for _, n := range []uint64{rec.Serving, rec.Previous, rec.Building} {
		g, ok := rec.Generations[n]
		if n == 0 || !ok || g.Revision != x.p.Revision() {
			continue
		}
		if err := x.make(ctx, n, g); err != nil {
			failed = errors.Join(failed, err)
			x.tell(ctx, n, err)
			continue
		}
		wanted[n] = true
	}
	x.want(wanted)
	for _, n := range rec.Dropped {
		if err := x.drop(ctx, n); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if x.served != rec.Serving && rec.Serving > 0 {
		err := x.sink.Serve(ctx, x.p, rec.Serving)
		if err != nil && wanted[rec.Serving] {
			return errors.Join(failed, fmt.Errorf("serve generation %d: %w", rec.Serving, err))
		}
		x.served = rec.Serving // one of another build need not be here
	}
	return failed
}

// errShards says that a generation cannot be gone on with.
var errShards = errors.New("raise the Revision, so that another one is built")

func (x *running) make(ctx context.Context, n uint64, g Generation) error {
	if g.Shards != x.p.Shards() {
		return fmt.Errorf("generation %d was begun with %d shards, and this build has %d: %w", n, g.Shards, x.p.Shards(), errShards)
	}
	if x.wants(n) {
		return nil
	}
	if err := x.sink.Prepare(ctx, x.p, n); err != nil {
		return fmt.Errorf("prepare generation %d: %w", n, err)
	}
	return nil
}

// tell says why a generation is not worked on.
func (x *running) tell(ctx context.Context, n uint64, reason error) {
	state := Blocked
	if errors.Is(reason, projections.ErrForeign) || errors.Is(reason, errShards) {
		state = Stopped
	}
	u := &unit{running: x, id: projections.Unit{Projection: x.p.Name(), Generation: n}}
	s := UnitStatus{
		Generation: n, Node: x.runner.config.Node, State: state, Reason: reason.Error(), Since: x.runner.config.Now().UTC(), Position: u.position(0).String(),
	}
	if err := x.runner.config.Register.tell(ctx, u.key(), x.p.Name(), s); err != nil {
		x.logger.Warn("the status of a generation cannot be told", "error", err)
	}
}

func (x *running) wants(n uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.wanted[n]
}

func (x *running) want(wanted map[uint64]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !maps.Equal(x.wanted, wanted) {
		x.wanted = wanted
		close(x.changed)
		x.changed = make(chan struct{})
	}
}

// drop takes a generation away, once nobody here works on it any more.
func (x *running) drop(ctx context.Context, n uint64) error {
	if x.dropped[n] {
		return nil
	}
	if x.works(n) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "generation %d is dropped when the work on it has ended", n)
	}
	if err := x.sink.Drop(ctx, x.p.Name(), n); err != nil {
		return fmt.Errorf("drop generation %d: %w", n, err)
	}
	if err := x.runner.config.Register.forget(ctx, x.p.Name(), n); err != nil {
		return err
	}
	x.dropped[n] = true
	return nil
}

func (x *running) works(n uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Keys(x.units)), func(u projections.Unit) bool { return u.Generation == n })
}

// hold works on a shard of a partition: of a shared sink while this node has its seat.
func (x *running) hold(ctx context.Context, partition uint32, shard int) {
	if x.sink.Local() {
		_ = x.work(ctx, partition, shard)
		return
	}
	seat := fmt.Sprintf("view.%s.%d.%d.%d", x.p.Name(), x.p.Revision(), partition, shard)
	first := func(context.Context) (uint64, error) { return 0, nil }
	x.runner.config.Seats.Hold(ctx, seat, first, func(ctx context.Context, _ uint64, _ func(uint64)) error { return x.work(ctx, partition, shard) })
}

// work works on a shard of a partition, in all generations that are wanted, until ctx ends.
func (x *running) work(ctx context.Context, partition uint32, shard int) error {
	var all sync.WaitGroup
	defer all.Wait()
	under := map[uint64]context.CancelFunc{}
	for ctx.Err() == nil {
		x.mu.Lock()
		wanted, changed := x.wanted, x.changed
		x.mu.Unlock()
		for n, cancel := range under {
			if !wanted[n] {
				cancel()
				delete(under, n)
			}
		}
		for n := range wanted {
			if under[n] != nil {
				continue
			}
			unitCtx, cancel := context.WithCancel(ctx)
			under[n] = cancel
			u := x.enter(projections.Unit{Projection: x.p.Name(), Generation: n, Partition: partition, Shard: shard})
			all.Go(func() {
				defer cancel()
				defer x.leave(u)
				u.run(unitCtx)
			})
		}
		_ = pauseOr(ctx, time.Hour, changed)
	}
	for _, cancel := range under {
		cancel()
	}
	return context.Cause(ctx)
}

func (x *running) enter(id projections.Unit) *unit {
	u := &unit{running: x, id: id, log: x.logger.With("unit", id.String()), kick: make(chan struct{}, 1)}
	u.told.news = make(chan struct{}, 1)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.units[id] = u
	return u
}

func (x *running) leave(u *unit) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.units[u.id] == u {
		delete(x.units, u.id)
	}
}

// unit gives this node's work on one.
func (x *running) unit(id projections.Unit) *unit {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.units[id]
}
