package runner

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast/projections"
)

// carry does what is in the outbox of the unit, in order, until ctx ends.
func (u *unit) carry(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		rec, changed := u.record()
		if rec.Paused != nil {
			_ = pauseOr(ctx, time.Hour, changed)
			continue
		}
		some, err := u.carrySome(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			u.told.carry(err.Error())
			u.log.Debug("what is in the outbox cannot be done; trying again", "error", err)
			_ = pause(ctx, min(brokenWait(failures), 30*time.Second))
		case some:
			failures = 0
			u.told.carry("")
		default:
			failures = 0
			u.told.carry("")
			_ = pauseOr(ctx, time.Hour, u.kick)
		}
	}
}

func (u *unit) carrySome(ctx context.Context) (some bool, err error) {
	list, err := u.sink.Outbox(ctx, u.id, 64)
	if err != nil {
		return false, err
	}
	for _, e := range list {
		if err := u.carryOne(ctx, e); err != nil {
			return false, err
		}
	}
	return len(list) > 0, nil
}

func (u *unit) carryOne(ctx context.Context, e projections.Effected) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := u.p.Carry(ctx, e); err != nil {
		return err
	}
	return u.sink.Carried(ctx, u.id, e.ID)
}
