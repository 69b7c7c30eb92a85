package runner

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

// Sink gives where a projection of this build is kept, with its definition: for those who
// read parked events or compare generations. The error is ErrUnknown, or ErrUnavailable with
// the reason why it cannot be reached.
func (r *Runner) Sink(name string) (*projections.Projection, projections.Sink, error) {
	x := r.running[name]
	if x == nil {
		return nil, nil, r.unknown(name)
	}
	select {
	case <-x.open:
		return x.p, x.sink, nil
	default:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.reason == "" {
		return nil, nil, holdfast.Errorf(holdfast.CodeUnavailable, "the projection %s has not begun yet: ask again", name)
	}
	return nil, nil, holdfast.Errorf(holdfast.CodeUnavailable, "the projection %s is blocked: %s", name, x.reason)
}

// unknown tells one that this build does not have from one that there never was.
func (r *Runner) unknown(name string) error {
	if rec, _ := r.config.Register.record(name); rec.Last > 0 {
		return holdfast.Errorf(holdfast.CodeUnknown, "this build has no projection %q: another one had", name)
	}
	return unknown(name)
}

// Await waits until what serves has done everything up to a position: its effects are then to
// be seen. The error is ErrUnknown when there is no such projection, ErrMalformed when there is
// no such partition, and ErrUnavailable, which says how far it is, when ctx ends.
func (r *Runner) Await(ctx context.Context, name string, after holdfast.Position) error {
	if r.running[name] == nil {
		return r.unknown(name)
	}
	if !slices.Contains(r.partitions, after.Partition()) {
		return holdfast.Errorf(holdfast.CodeMalformed, "the position %s is in no partition of this log: it has %d", after, len(r.partitions))
	}
	var done uint64
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		rec, _ := r.running[name].record()
		now, moved, err := r.how(ctx, rec, name, after.Partition())
		if err == nil {
			done = now
		}
		if err == nil && done >= after.Sequence() {
			return nil
		}
		if pauseOr(ctx, wait, moved) != nil {
			return r.late(ctx, name, after, done, err)
		}
	}
}

// how tells how far the generation that serves by that record is in a partition, and what is
// closed when that changes, if it changes here.
func (r *Runner) how(ctx context.Context, rec Record, name string, partition uint32) (uint64, <-chan struct{}, error) {
	_, sink, err := r.Sink(name)
	if err != nil {
		return 0, nil, err
	}
	x := r.running[name]
	least, moved := ^uint64(0), (<-chan struct{})(nil)
	for shard := range max(rec.Generations[rec.Serving].Shards, 1) {
		id := projections.Unit{Projection: name, Generation: rec.Serving, Partition: partition, Shard: shard}
		done, its, err := r.howUnit(ctx, x, sink, id)
		if err != nil {
			return 0, nil, err
		}
		if done < least {
			least, moved = done, its
		}
	}
	return least, moved, nil
}

func (r *Runner) howUnit(ctx context.Context, x *running, sink projections.Sink, id projections.Unit) (uint64, <-chan struct{}, error) {
	if u := x.unit(id); u != nil {
		done, moved := u.progress.at()
		return done, moved, nil
	}
	node := ""
	if sink.Local() {
		node = r.config.Node
	}
	at, err := sink.Checkpoint(ctx, id)
	told, _ := r.config.Register.unit(unitKey(id, node))
	return max(at.Done, sequenceOf(told.Position)), nil, err
}

func sequenceOf(position string) uint64 {
	at, err := holdfast.ParsePosition(position)
	if err != nil {
		return 0
	}
	return at.Sequence()
}

func (r *Runner) late(ctx context.Context, name string, after holdfast.Position, done uint64, err error) error {
	if err != nil && !errors.Is(err, context.Cause(ctx)) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "it is not known how far the projection %s is: %w", name, err)
	}
	why := ""
	for _, s := range r.generations(name) {
		if s.Role == serving && s.State != Live {
			why = ", and is " + string(s.State)
			if s.Reason != "" {
				why += ": " + s.Reason
			}
		}
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "the projection %s is at %s, not at %s yet%s", name, holdfast.NewPosition(after.Partition(), done), after, why)
}

// Answer answers a query for a key from the generation that serves: JSON, nil when there is
// nothing, and the positions, one a partition, up to which all has been done at least. The error
// is ErrBehind when it has not done everything up to the positions after, be they awaited: another
// generation may serve since then.
func (r *Runner) Answer(ctx context.Context, name, key string, after ...holdfast.Position) ([]byte, []holdfast.Position, error) {
	p, sink, err := r.Sink(name)
	if err != nil {
		return nil, nil, err
	}
	rec, _ := r.config.Register.record(name)
	for _, a := range after {
		done, _, err := r.how(ctx, rec, name, a.Partition())
		if err != nil {
			return nil, nil, err
		}
		if done < a.Sequence() {
			return nil, nil, holdfast.Errorf(holdfast.CodeBehind, "generation %d of the projection %s is at %s, not at %s",
				rec.Serving, name, holdfast.NewPosition(a.Partition(), done), a)
		}
	}
	positions := r.positions(r.running[name], sink, rec)
	body, err := p.Answer(ctx, sink, rec.Serving, key)
	return body, positions, err
}

// Query calls do with a batch that only reads the generation that serves. The error is that of
// do, or of [Runner.Sink].
func (r *Runner) Query(ctx context.Context, name string, do func(projections.Batch) error) error {
	_, sink, err := r.Sink(name)
	if err != nil {
		return err
	}
	rec, _ := r.config.Register.record(name)
	return sink.Query(ctx, name, rec.Serving, do)
}

// positions are those that the generation that serves has come to, as far as is known here.
func (r *Runner) positions(x *running, sink projections.Sink, rec Record) (all []holdfast.Position) {
	node := ""
	if sink.Local() {
		node = r.config.Node
	}
	for _, partition := range r.partitions {
		least := ^uint64(0)
		for shard := range max(rec.Generations[rec.Serving].Shards, 1) {
			id := projections.Unit{Projection: x.p.Name(), Generation: rec.Serving, Partition: partition, Shard: shard}
			if u := x.unit(id); u != nil {
				least = min(least, u.progress.get())
				continue
			}
			told, _ := r.config.Register.unit(unitKey(id, node))
			least = min(least, sequenceOf(told.Position))
		}
		all = append(all, holdfast.NewPosition(partition, least))
	}
	return all
}
