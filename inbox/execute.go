package inbox

import (
	"context"
	"errors"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// The steps with a command, for [RunnerConfig].before.
const (
	stepSend    = "send"
	stepVerdict = "verdict"
	stepVoid    = "void"
	stepTell    = "tell"
	stepRemove  = "remove"
	stepClear   = "clear"
	stepPark    = "park"
)

// execute has the first command of a lane executed, and says how the lane goes on: isReady
// when it is done, isParked, or isResting when it is to be tried again, with the reason.
func (r *run) execute(l *lane) (state, error) {
	r.mu.Lock()
	e, m := l.queue[0], l.mark
	r.mu.Unlock()
	c := e.command
	if c == nil {
		var err error
		if c, err = r.fetch(r.ctx, e.sequence); err != nil {
			return isResting, err
		}
		if c == nil { // another run has done it
			return r.finish(l.name, m)
		}
	}
	out, _, err := r.told(r.ctx, c)
	if err != nil {
		return isResting, err
	}
	if !out {
		o, next, err := r.outcomeOf(l, m, c)
		if next != isReady {
			return next, err
		}
		if err := r.insist(stepTell, c, func(ctx context.Context) error { return r.tell(ctx, c, o) }); err != nil {
			return isResting, err
		}
	}
	if err := r.insist(stepRemove, c, func(ctx context.Context) error { return r.remove(ctx, c) }); err != nil {
		return isResting, err
	}
	r.mu.Lock()
	m = l.mark
	r.mu.Unlock()
	if m == nil {
		return isReady, nil
	}
	if err := r.insist(stepClear, c, func(ctx context.Context) error { return r.clearMark(ctx, l.name, m) }); err != nil {
		return isResting, err
	}
	return isReady, nil
}

func (r *run) finish(lane string, m *mark) (state, error) {
	if m != nil {
		if err := r.clearMark(r.ctx, lane, m); err != nil {
			return isResting, err
		}
	}
	return isReady, nil
}

// insist does a step until it succeeds or the run ends.
func (r *run) insist(step string, c *command, do func(context.Context) error) error {
	if err := r.reach(step, c); err != nil {
		return err
	}
	for rest := firstPause; ; rest = min(2*rest, lastPause) {
		err := do(r.ctx)
		if err == nil || r.ctx.Err() != nil {
			return err
		}
		r.config.Logger.Warn("the inbox does not get on; trying again", "step", step, "subject", c.subject.String(), "id", c.meta.ID, "in", rest, "error", err)
		if pause(r.ctx, rest) != nil {
			return err
		}
	}
}

func (r *run) reach(step string, c *command) error {
	if before := r.runner.config.before; before != nil {
		if err := before(step, c.meta.ID); err != nil {
			return err
		}
	}
	return context.Cause(r.ctx)
}

// outcomeOf finds out what becomes of a command. It is not isReady when that is not known yet.
func (r *run) outcomeOf(l *lane, m *mark, c *command) (outcome, state, error) {
	if m != nil && m.Wish != nil && m.Wish.Skip {
		return settled(failed(skipped(m.Wish)))
	}
	cmd, err := r.decode(c)
	if err != nil {
		return r.park(l, m, c, err)
	}
	if m != nil && m.Verdict != nil {
		return r.void(c, cmd, m.Verdict)
	}
	done, err := r.send(stepSend, c, cmd, c.delivery()...)
	if r.ctx.Err() != nil {
		return outcome{}, isResting, err // which may be for this reason: the next one finds out
	}
	switch holdfast.CodeOf(err) {
	case "":
		return settled(succeeded(c, done, r.room()))
	case holdfast.CodeUncertain:
		l.doubt = true
		return outcome{}, isResting, err
	case holdfast.CodeUnavailable, holdfast.CodeOverloaded:
		return outcome{}, isResting, err
	case holdfast.CodeRejected, holdfast.CodeMalformed, holdfast.CodeUnknown, holdfast.CodeConflict, holdfast.CodeTooLarge:
		f, known := serve.Known(err)
		if !known { // a rejection without a proper reason
			return r.fail(l, m, c, err)
		}
		lasting := errors.Is(err, holdfast.ErrMalformed) || errors.Is(err, holdfast.ErrUnknown)
		if !lasting && (l.doubt || c.sequence <= r.former) {
			return r.doom(l, m, c, cmd, verdict(f))
		}
		return settled(failed(f))
	default:
		return r.fail(l, m, c, err)
	}
}

func settled(o outcome, err error) (outcome, state, error) {
	if err != nil {
		return o, isResting, err
	}
	return o, isReady, nil
}

// room is how many bytes the body of an outcome may have.
func (r *run) room() int { return int(r.config.Public.MaxPayload()) - 2<<10 }

// send sends a command. An error that is not classified is uncertain when the time was up.
func (r *run) send(step string, c *command, cmd holdfast.Command, opts ...holdfast.SendOption) (done holdfast.Receipt, err error) {
	if err := r.reach(step, c); err != nil {
		return done, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.runner.config.Timeout)
	defer cancel()
	err = serve.Guarded(func() (err error) {
		done, err = r.runner.config.Sender.Send(ctx, c.ref(), cmd, opts...)
		return err
	})
	if err != nil {
		err = serve.Unsettled(ctx, err, c.meta.ID)
	}
	return done, err
}

// fail puts a command off that has failed by a bug, and parks it when it has too often.
func (r *run) fail(l *lane, m *mark, c *command, err error) (outcome, state, error) {
	if l.failures++; l.failures < maxFailures {
		return outcome{}, isResting, err
	}
	return r.park(l, m, c, err)
}

// park keeps why a command cannot be handled.
func (r *run) park(l *lane, m *mark, c *command, reason error) (outcome, state, error) {
	now := r.config.Now().UTC()
	parked := &mark{Parked: Parked{
		Ref: c.name(), Command: c.subject.Name, CommandID: c.meta.ID, Sequence: c.sequence, Accepted: c.meta.At.UTC(),
		Code: string(holdfast.CodeOf(reason)), Reason: shorten(reason.Error()), Attempts: max(l.failures, 1), Since: now,
	}}
	if m != nil {
		parked.revision = m.revision
		if m.Verdict == nil && m.Sequence == c.sequence {
			parked.Since, parked.Attempts = m.Since, m.Attempts+1
		}
	}
	if wished, err := r.keep(stepPark, l, c, parked); wished || err != nil {
		return outcome{}, isResting, err
	}
	r.config.Logger.Error("a command of the inbox is parked, and all later ones of its aggregate wait", "subject", c.subject.String(), "id", c.meta.ID, "error", reason)
	return outcome{}, isParked, reason
}

// keep writes what is to be kept of a command, unless an operator wishes something for it that
// has not been heard of yet.
func (r *run) keep(step string, l *lane, c *command, m *mark) (wished bool, err error) {
	err = r.insist(step, c, func(ctx context.Context) error {
		err := r.writeMark(ctx, l.name, m)
		if !bucket.Conflict(err) {
			return err
		}
		found, err := r.mark(ctx, l.name)
		if err != nil {
			return err
		}
		if found != nil && found.Sequence == c.sequence && found.Wish != nil && found.revision > m.revision {
			m, wished = found, true
			return nil
		}
		if m.revision = 0; found != nil {
			m.revision = found.revision
		}
		return r.writeMark(ctx, l.name, m)
	})
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.mark == nil || l.mark.revision < m.revision {
		l.mark = m
	}
	return wished, nil
}

// doom keeps the refusal of a command that may have been sent before, and takes care that this
// is its last word.
func (r *run) doom(l *lane, m *mark, c *command, cmd holdfast.Command, v verdict) (outcome, state, error) {
	doomed := &mark{Verdict: &v, Parked: Parked{
		Ref: c.name(), Command: c.subject.Name, CommandID: c.meta.ID, Sequence: c.sequence, Accepted: c.meta.At.UTC(),
		Code: v.Code, Reason: v.Message, Since: r.config.Now().UTC(),
	}}
	if m != nil {
		doomed.revision = m.revision
	}
	if wished, err := r.keep(stepVerdict, l, c, doomed); wished || err != nil {
		return outcome{}, isResting, err
	}
	return r.void(c, cmd, &v)
}

// void has the aggregate never execute a command that it has refused, and which may have been
// sent before, by this run or another: such a one might arrive late, and take effect after
// the refusal has been told. If it has been executed meanwhile, that is its outcome.
func (r *run) void(c *command, cmd holdfast.Command, v *verdict) (outcome, state, error) {
	done, err := r.send(stepVoid, c, &messages.Void{}, c.once()...)
	if err == nil && !done.Duplicate {
		return settled(failed(v.failure()))
	}
	if err == nil { // it has been executed; or it is void already, and then it is malformed
		if done, err = r.send(stepVoid, c, cmd, c.once()...); errors.Is(err, holdfast.ErrMalformed) {
			return settled(failed(v.failure()))
		}
	}
	if err != nil {
		return outcome{}, isResting, err
	}
	return settled(succeeded(c, done, r.room()))
}

// statusSkipped is that of a command that an operator has given up.
const statusSkipped = 410

func skipped(w *Wish) serve.Failure {
	return serve.Failure{Code: "skipped", Message: serve.Sentence("skipped by "+w.By+": "+w.Reason, "skipped"), Status: statusSkipped}
}
