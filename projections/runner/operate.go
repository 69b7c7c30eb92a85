package runner

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast"
)

// The methods below are what operators may do. Each returns ErrUnknown when there is no such
// projection or generation, ErrConflict when it does not fit how things are, and
// ErrUnavailable when it is not known whether it was done: asking again does no harm, except
// that an order or a reset is then carried out twice.

// Pause has a projection stand still, in all generations. With positions, one a partition, it
// goes on up to these, and no further: for generations that are to be compared. One that is
// beyond its position, or has none, stops where it is.
func (r *Register) Pause(ctx context.Context, name, reason, by string, at ...holdfast.Position) error {
	if reason == "" {
		return holdfast.Errorf(holdfast.CodeMalformed, "reason: say why %s is paused", name)
	}
	var texts []string
	for _, p := range at {
		texts = append(texts, p.String())
	}
	return r.change(ctx, name, func(rec *Record, now time.Time) error {
		rec.Paused = &Pause{Reason: reason, By: by, Since: now, At: texts}
		return nil
	})
}

// Resume ends a pause. That there is none is no error.
func (r *Register) Resume(ctx context.Context, name string) error {
	return r.change(ctx, name, func(rec *Record, _ time.Time) error {
		if rec.Paused == nil {
			return errUnchanged
		}
		rec.Paused = nil
		return nil
	})
}

// Reset has the serving generation go on after a position, in its partition. What it has
// done stays done; what is handled again has its effect again, except in documents that know
// it.
func (r *Register) Reset(ctx context.Context, name string, to holdfast.Position, by string) error {
	return r.change(ctx, name, func(rec *Record, now time.Time) error {
		return rec.reset(Reset{To: to.String(), By: by}, now)
	})
}

// ResetToTime has the serving generation go on with what the log has had since a time.
func (r *Register) ResetToTime(ctx context.Context, name string, to time.Time, by string) error {
	return r.change(ctx, name, func(rec *Record, now time.Time) error {
		return rec.reset(Reset{Time: to.UTC(), By: by}, now)
	})
}

// Rebuild begins a new generation beside the one that serves, and gives its number.
func (r *Register) Rebuild(ctx context.Context, name, by string) (generation uint64, err error) {
	err = r.change(ctx, name, func(rec *Record, now time.Time) error {
		err := rec.rebuild(by, now)
		generation = rec.Building
		return err
	})
	return generation, err
}

// Switch has the generation serve that is being built, however far it is: that one, when a
// number is given, and not another that was begun meanwhile. That which served is kept as the previous one, and the one that was so is dropped. While a switch is under way
// side effects may be left out, or repeated, unless the projection is paused at a position
// that both generations have come to.
func (r *Register) Switch(ctx context.Context, name string, generation uint64) error {
	return r.change(ctx, name, func(rec *Record, _ time.Time) error { return rec.switchOver(generation) })
}

// SwitchBack has the previous generation serve again, and keeps that which served as the
// previous one.
func (r *Register) SwitchBack(ctx context.Context, name string) error {
	return r.change(ctx, name, func(rec *Record, _ time.Time) error { return rec.switchBack() })
}

// Drop takes a generation away that does not serve.
func (r *Register) Drop(ctx context.Context, name string, generation uint64) error {
	return r.change(ctx, name, func(rec *Record, _ time.Time) error { return rec.drop(generation) })
}

// Order has something done by those who work on the projection, and gives the number of the
// order: it is carried out when the statuses of all units show that number or a later one.
func (r *Register) Order(ctx context.Context, name string, o Order) (number uint64, err error) {
	err = r.change(ctx, name, func(rec *Record, now time.Time) error {
		err := rec.order(o, now)
		number = rec.Count
		return err
	})
	return number, err
}

// declare says which build of a projection runs here.
func (r *Register) declare(ctx context.Context, name string, g Generation) error {
	_, err := r.update(ctx, name, func(rec *Record) error {
		if !rec.declare(g, r.config.Now().UTC()) {
			return errUnchanged
		}
		return nil
	})
	return err
}
