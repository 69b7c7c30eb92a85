package jetstream

import (
	"context"
	"errors"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// settlers is how many appends are settled at a time.
const settlers = 64

// maxRaces is how often an append is sent again because another write on its subject was
// under way: at once, and then at a tick each. A replicated stream says so for a moment even
// after it has acknowledged that write, and a lone writer would hear of a conflict with
// itself; a new leader says so until it has stored what the last one had proposed.
const (
	maxRaces     = 3
	patientRaces = 4
)

// An unmovedError is that the log is where it was before the append.
type unmovedError struct{ error }

func (e *unmovedError) Unwrap() error { return e.error }

func isUnmoved(err error) bool {
	_, ok := errors.AsType[*unmovedError](err)
	return ok
}

// refusedAsRacing reports whether the server refused an append, for certain, because
// another write on its subject was under way.
func refusedAsRacing(cause error) bool {
	api, ok := errors.AsType[*apiError](cause)
	return ok && api.ErrCode == codeRacing
}

// settle finds out what became of an append and tells its caller. When the log is as it
// was before, the answer is unmoved: ErrConflict when the server refused the append
// because of another write, ErrUncertain when the append may still be on its way.
func (p *pending) settle(cause error, unmoved holdfast.Code) {
	s := p.store
	s.stats.settle()
	s.settling.Go(func() {
		seq, err := p.findOut(s.ctx, cause, unmoved)
		switch {
		case err == nil:
			p.succeed(seq)
		case isUnmoved(err) && refusedAsRacing(cause) && p.races < maxRaces+patientRaces:
			if p.races++; p.races > maxRaces {
				_ = s.clock.pass(s.ctx) // or the store is closed, which the next line finds
			}
			if err := s.publishCommit(p); err != nil {
				p.done(p.after, err)
			}
		default:
			p.done(p.after, err)
		}
	})
}

// findOut reads the log, again and again while it cannot be read, for as long as an
// append may take.
func (p *pending) findOut(ctx context.Context, cause error, unmoved holdfast.Code) (uint64, error) {
	started, _ := p.store.clock.tick()
	for {
		next, moved, err := p.look(ctx)
		switch {
		case err == nil && !moved:
			return 0, holdfast.Errorf(unmoved, "append to %s after %s: %w", p.a.ref, p.after.Position, &unmovedError{cause})
		case err == nil && next.Id == p.commit.Id:
			return next.Position.Sequence(), nil
		case err == nil:
			return 0, holdfast.Errorf(holdfast.CodeConflict, "append to %s: the commit at %s came first", p.a.ref, next.Position)
		}
		now, _ := p.store.clock.tick()
		if !errors.Is(err, holdfast.ErrUnavailable) || now-started > p.store.publish.timeout {
			return 0, holdfast.Errorf(holdfast.CodeUncertain, "append to %s: %v; look it up: %w", p.a.ref, cause, err)
		}
		if err := p.store.clock.wait(ctx); err != nil {
			return 0, holdfast.Errorf(holdfast.CodeUncertain, "append to %s: %v; look it up: %w", p.a.ref, cause, err)
		}
	}
}

// look is next, with no more of them at a time than there are settlers.
func (p *pending) look(ctx context.Context) (c persistence.Commit, moved bool, err error) {
	select {
	case p.store.settlers <- struct{}{}:
		defer func() { <-p.store.settlers }()
	case <-ctx.Done():
	}
	return p.next(ctx)
}

// next reads the commit that follows the head of the append: only that one can be the
// append's, since every commit names the one before it.
func (p *pending) next(ctx context.Context) (c persistence.Commit, moved bool, err error) {
	after := p.after.Position.Sequence()
	c, found, err := p.store.last(ctx, p.a)
	if err != nil {
		return c, false, err
	}
	if !found || c.Position.Sequence() <= after {
		return c, false, nil // or the one who answers lags behind
	}
	for c.Previous > after {
		before := c.Before()
		oldest := before[0]
		for _, seq := range before {
			if seq <= after {
				break
			}
			oldest = seq
		}
		if c, err = p.store.at(ctx, p.a, oldest, c); err != nil {
			return c, false, err
		}
	}
	return c, true, nil
}
