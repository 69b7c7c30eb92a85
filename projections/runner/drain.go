package runner

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// drainAtOnce is how many parked events of a key are tried before others have their turn.
const drainAtOnce = 64

// A queue has each key once.
type queue struct {
	keys   []string
	queued map[string]bool
}

func (q *queue) add(keys ...string) {
	if q.queued == nil {
		q.queued = map[string]bool{}
	}
	for _, key := range keys {
		if !q.queued[key] {
			q.queued[key] = true
			q.keys = append(q.keys, key)
		}
	}
}

func (q *queue) remove() {
	delete(q.queued, q.keys[0])
	q.keys = q.keys[1:]
}

func (q *queue) empty() bool { return len(q.keys) == 0 }

// carryOut does what operators have ordered since.
func (u *unit) carryOut(ctx context.Context, rec Record) error {
	for _, o := range rec.Orders {
		if o.Number <= u.orders || o.Generation != u.id.Generation {
			continue
		}
		switch {
		case o.Act == Skip:
			if err := u.skip(ctx, o); err != nil {
				return err
			}
		case o.Key != "" && u.parked[o.Key] > 0:
			u.draining.add(o.Key)
		case o.Key == "":
			u.draining.add(slices.Sorted(maps.Keys(u.parked))...)
		}
		u.orders = o.Number
	}
	if u.orders = max(u.orders, rec.Count); u.draining.empty() {
		u.told.ordered(u.orders)
	}
	return nil
}

// skip takes an event away that is parked. One that is not is left out when its turn comes.
func (u *unit) skip(ctx context.Context, o Order) error {
	keys := slices.Sorted(maps.Keys(u.parked))
	if o.Key != "" {
		keys = []string{o.Key}
	}
	for _, key := range keys {
		list, err := u.sink.Parked(ctx, u.id, key, math.MaxInt32)
		if err != nil {
			return err
		}
		for _, p := range list {
			if p.Event.ID != o.Event {
				continue
			}
			u.log.Info("a parked event is skipped", "event", o.Event, "key", key, "by", o.By, "reason", o.Reason)
			u.draining.add(key)
			return u.unpark(ctx, p, nil, o.Reason, false)
		}
	}
	return nil
}

// drainSome tries some events again of the first key that drains.
func (u *unit) drainSome(ctx context.Context, rec Record) error {
	if u.draining.empty() {
		return nil
	}
	key := u.draining.keys[0]
	list, err := u.sink.Parked(ctx, u.id, key, drainAtOnce)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.Record.Body == nil {
			if p.Record, err = u.read(ctx, p.Event.Position); err != nil {
				return err
			}
		}
		err := u.unpark(ctx, p, parts(u.p, p), rec.skips(u.id.Generation)[p.Event.ID], rec.Serving != u.id.Generation)
		no, refused := errors.AsType[*refusal](err)
		if refused {
			u.drained(rec)
			return u.parkAgain(ctx, p, no)
		}
		if err != nil {
			return err
		}
	}
	if len(list) < drainAtOnce {
		delete(u.parked, key)
		u.drained(rec)
	}
	return nil
}

// read reads a record that the sink has no room for.
func (u *unit) read(ctx context.Context, at holdfast.Position) (found persistence.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = u.runner.config.Log.Follow(ctx, u.position(at.Sequence()-1), func(rec persistence.Record) error {
		found = rec
		return errFound
	})
	if errors.Is(err, errFound) {
		return found, nil
	}
	return found, err
}

// drained ends the draining of the first key.
func (u *unit) drained(rec Record) {
	u.draining.remove()
	u.told.park(len(u.parked))
	if u.draining.empty() {
		u.told.ordered(min(u.orders, rec.Count))
	}
	signal(u.kick)
}

// unpark handles a parked event, of which items are to be handled now, unless it is skipped.
func (u *unit) unpark(ctx context.Context, p projections.Parked, items []projections.Item, skipped string, silent bool) error {
	err := u.transaction(ctx, items, u.at, func(sb projections.Batch) error {
		to := sb
		if silent {
			to = quiet{sb}
		}
		for n, i := range items {
			if skipped != "" {
				break
			}
			u.item.Store(int64(n))
			if err := handle(u.p, to, i, n); err != nil {
				return err
			}
		}
		u.item.Store(-1)
		return sb.Unpark(p, skipped)
	})
	if err == nil {
		if u.parked[p.Key]--; u.parked[p.Key] <= 0 {
			delete(u.parked, p.Key)
		}
		u.told.park(len(u.parked))
	}
	return err
}

// parkAgain keeps an event parked, with the new reason.
func (u *unit) parkAgain(ctx context.Context, p projections.Parked, no *refusal) error {
	p.Reason, p.Attempts = no.Error(), p.Attempts+1
	return u.transaction(ctx, nil, u.at, func(sb projections.Batch) error { return sb.Park(p) })
}
