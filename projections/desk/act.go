package desk

import (
	"cmp"
	"context"
	"math"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// longestReason is how long an operator's may be.
const longestReason = 1 << 10

func checkReason(reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return malformed("body: reason: it is missing: say why")
	case len(reason) > longestReason:
		return malformed("body: reason: it has %d bytes, the limit is %d", len(reason), longestReason)
	}
	return nil
}

func (d *Desk) pause(ctx context.Context, r *request) (any, error) {
	var reason string
	if err := serve.ReadBody(r.Body, serve.Text("reason", &reason)); err != nil {
		return nil, err
	}
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	if err := d.cfg.Register.Pause(ctx, r.projection, reason, r.by); err != nil {
		return nil, err
	}
	return d.outcome(ctx, r.projection), nil
}

func (d *Desk) resume(ctx context.Context, r *request) (any, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return nil, err
	}
	if err := d.cfg.Register.Resume(ctx, r.projection); err != nil {
		return nil, err
	}
	return d.outcome(ctx, r.projection), nil
}

// reset has a projection go on elsewhere: after a position of the log, or with what it has had
// since a time.
func (d *Desk) reset(ctx context.Context, r *request) (any, error) {
	var to string
	if err := serve.ReadBody(r.Body, serve.Text("to", &to)); err != nil {
		return nil, err
	}
	if to == "" {
		return nil, malformed("body: to: it is missing: give a position such as 0-42, or a time such as 2026-03-14T09:26:53Z")
	}
	if since, err := time.Parse(time.RFC3339Nano, to); err == nil {
		if err := messages.CheckTime(since); err != nil {
			return nil, malformed("body: to: %w", err)
		}
		if now := d.cfg.Now(); since.After(now) {
			return nil, malformed("body: to: %s is in the future, it is %s now", serve.ShowTime(since), serve.ShowTime(now))
		}
		if err := d.cfg.Register.ResetToTime(ctx, r.projection, since, r.by); err != nil {
			return nil, err
		}
		return d.outcome(ctx, r.projection), nil
	}
	position, err := holdfast.ParsePosition(to)
	if err != nil {
		return nil, malformed("body: to: %q: want a position such as 0-42, or a time such as 2026-03-14T09:26:53Z", to)
	}
	if err := d.checkPosition(ctx, position); err != nil {
		return nil, err
	}
	if err := d.cfg.Register.Reset(ctx, r.projection, position, r.by); err != nil {
		return nil, err
	}
	return d.outcome(ctx, r.projection), nil
}

// checkPosition says what is wrong with a position that the log does not have.
func (d *Desk) checkPosition(ctx context.Context, at holdfast.Position) error {
	partitions, err := d.cfg.Describe(ctx)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if p.Number != at.Partition() {
			continue
		}
		if end := holdfast.NewPosition(p.Number, p.Last); end.Before(at) {
			return malformed("body: to: %s is beyond the end of the log, %s", at, end)
		}
		return nil
	}
	return malformed("body: to: %s is of a partition that the log does not have: it has %d", at, len(partitions))
}

func (d *Desk) rebuild(ctx context.Context, r *request) (any, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return nil, err
	}
	generation, err := d.cfg.Register.Rebuild(ctx, r.projection, r.by)
	if err != nil {
		return nil, err
	}
	out := d.outcome(ctx, r.projection)
	out.Generation = generation
	return out, nil
}

func (d *Desk) back(ctx context.Context, r *request) (any, error) {
	if err := serve.ReadBody(r.Body); err != nil {
		return nil, err
	}
	if err := d.cfg.Register.SwitchBack(ctx, r.projection); err != nil {
		return nil, err
	}
	return d.outcome(ctx, r.projection), nil
}

// drop takes a generation away: without a number the one that is being built, or else the one
// that served before.
func (d *Desk) drop(ctx context.Context, r *request) (any, error) {
	var generation uint64
	if err := serve.ReadBody(r.Body, serve.AtMost("generation", math.MaxUint64, &generation)); err != nil {
		return nil, err
	}
	if generation == 0 {
		rec, err := d.cfg.Register.Record(ctx, r.projection)
		if err != nil {
			return nil, err
		}
		if generation = cmp.Or(rec.Building, rec.Previous); generation == 0 {
			return nil, conflict("of %s there is only generation %d, which serves: there is none to drop", r.projection, rec.Serving)
		}
	}
	if err := d.cfg.Register.Drop(ctx, r.projection, generation); err != nil {
		return nil, err
	}
	out := d.outcome(ctx, r.projection)
	out.Generation = generation
	return out, nil
}
