package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// patience is how long a sink may take.
const patience = 30 * time.Second

// try has a batch handled once, which is the front of what is left. It tells how long to wait
// when it did not succeed, and fails when the unit cannot go on.
func (u *unit) try(ctx context.Context, rec Record, b batch) (time.Duration, error) {
	a := u.attempt(rec)
	err := u.transaction(ctx, b.items, b.after(u.at), func(sb projections.Batch) error { return a.run(sb, b) })
	no, refused := errors.AsType[*refusal](err)
	switch {
	case err == nil:
		u.did(a, b)
		return 0, nil
	case refused:
		return u.refused(b, no), nil
	}
	return u.failed(ctx, b, err)
}

func (u *unit) attempt(rec Record) *attempt {
	return &attempt{
		projection: u.p, parked: u.parked, skips: rec.skips(u.id.Generation), tried: u.tried, now: u.runner.config.Now().UTC(),
		quiet: rec.Serving != u.id.Generation, at: &u.item,
	}
}

// skips are the events that operators want left out, with the reasons.
func (r Record) skips(generation uint64) map[string]string {
	var skips map[string]string
	for _, o := range r.Orders {
		if o.Act == Skip && o.Generation == generation {
			if skips == nil {
				skips = map[string]string{}
			}
			skips[o.Event] = o.Reason
		}
	}
	return skips
}

// transaction has something done in the sink, and moves the checkpoint. Others can see what is
// under way.
func (u *unit) transaction(ctx context.Context, items []projections.Item, to projections.Checkpoint, do func(projections.Batch) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u.item.Store(-1)
	u.steps.Add(1)
	u.told.work(items, true)
	defer u.told.work(nil, false)
	err := u.sink.Commit(ctx, u.id, u.at, to, do)
	if err == nil {
		u.at = to
	}
	return err
}

// did notes that a batch is done, which is the front of what is left.
func (u *unit) did(a *attempt, b batch) {
	for key, n := range a.added {
		u.parked[key] += n
	}
	u.draining.add(a.skipped...)
	u.lately += len(a.added)
	if len(a.added) == 0 {
		u.lately = 0
	}
	if b.done == u.left.done {
		u.left = batch{}
	} else {
		_, u.left = u.left.cutAfter(b.done)
	}
	for _, i := range b.items[:len(b.items)*min(len(u.tried), 1)] {
		delete(u.tried, i.ID)
	}
	u.failures, u.until = 0, 0
	u.progress.set(b.done)
	u.keep()
	if len(b.items) > 0 {
		signal(u.kick)
	}
}

// refused tells how long to wait before an event is tried again that its handler has refused.
// What comes before its record does not wait for it, nor is it done again.
func (u *unit) refused(b batch, no *refusal) time.Duration {
	id := b.items[no.item].ID
	t := tried{u.tried[id].count + 1, no.Error()}
	u.tried[id] = t
	if n := b.recordOf(no.item); n > 0 {
		u.until = b.records[n].Position.Sequence() - 1
		return 0
	}
	u.log.Debug("an event is refused", "event", id, "tries", t.count, "reason", t.reason)
	return refusedWait(t.count, u.lately)
}

// failed tells how long to wait after the sink has failed. The next try is with half of the
// batch: it may have taken too long, or be one event that the sink fails at, which then shows.
func (u *unit) failed(ctx context.Context, b batch, err error) (time.Duration, error) {
	if ctx.Err() != nil || errors.Is(err, projections.ErrFenced) || errors.Is(err, projections.ErrForeign) {
		return 0, err
	}
	event := ""
	if n := len(b.records); n > 1 {
		u.until = b.records[n/2].Position.Sequence() - 1
	} else if n == 1 {
		event = b.items[0].ID
	}
	if at, ok := errors.AsType[*breakage](err); ok {
		event = at.event
	}
	if u.failures++; u.failures > 1 {
		u.tell(Blocked, err.Error(), event)
	}
	return brokenWait(u.failures), nil
}

// reset moves the checkpoint when an operator wants that, once.
func (u *unit) reset(ctx context.Context) error {
	rec, _ := u.record()
	order := rec.resetOf(u.id.Generation, u.id.Partition)
	if order.Number <= u.at.Resets {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last, err := u.runner.lastOf(short, u.id.Partition)
	if err != nil {
		return err
	}
	to := projections.Checkpoint{Done: last, Time: u.at.Time, Resets: order.Number}
	if order.To != "" {
		position, err := holdfast.ParsePosition(order.To)
		if err != nil {
			return err
		}
		to.Done = min(position.Sequence(), last)
	} else if to.Done, err = u.before(ctx, order.Time, last); err != nil {
		return err
	}
	u.log.Info("an operator has reset the projection", "by", order.By, "from", u.at.Done, "to", to.Done)
	u.progress.set(min(u.progress.get(), to.Done)) // who sees the reset waits for what is handled again
	return u.transaction(ctx, nil, to, func(projections.Batch) error { return nil })
}

// errFound ends a scan.
var errFound = errors.New("found")

// before gives the sequence after which come the records since a time.
func (u *unit) before(ctx context.Context, t time.Time, last uint64) (uint64, error) {
	_, err := u.runner.config.Log.Scan(ctx, persistence.ScanOptions{After: u.runner.others(u.id.Partition)}, func(rec persistence.Record) error {
		if rec.Position.Partition() == u.id.Partition && !timeOf(rec).Before(t) {
			last = rec.Position.Sequence() - 1
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return 0, fmt.Errorf("find %s in the log: %w", t.Format(time.RFC3339), err)
	}
	return last, nil
}

// timeOf is when the log took a record, or, of a log that does not know, when it was made.
func timeOf(rec persistence.Record) time.Time {
	if !rec.Time.IsZero() {
		return rec.Time
	}
	c, err := persistence.Open(rec.Position, rec.Body)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, c.Time)
}
