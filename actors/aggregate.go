package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// An aggregate is one activation: the actor that does what its engine says.
type aggregate struct {
	host    *Host
	engine  *Engine
	mailbox mailbox
	pid     *actor.PID
	used    atomic.Int64 // the host's tick when it was last asked
	gone    bool
	// answered hears what the log answers to an append.
	answered func(persistence.Head, error)
}

func newAggregate(h *Host, def holdfast.Definition, ref holdfast.Ref) *aggregate {
	a := &aggregate{host: h, engine: NewEngine(def, ref, &h.settings)}
	a.mailbox.bounce = a.bounced
	a.answered = func(head persistence.Head, err error) {
		m := &appended{head, err}
		if err == nil {
			a.mailbox.lend(m, a.engine.Brief) // often not worth another goroutine's while
		} else {
			a.tell(m)
		}
	}
	return a
}

// What the aggregate hears beside requests.
type (
	loaded struct {
		persistence.Loaded
		err error
	}
	appended struct {
		head persistence.Head
		err  error
	}
	found struct {
		request *Request
		first   *holdfast.Receipt
		err     error
	}
	passivate struct{}
	drain     struct{}
)

// ref is which one it is.
func (a *aggregate) ref() holdfast.Ref { return a.engine.ref }

// Receive implements [actor.Actor].
func (a *aggregate) Receive(ctx actor.Context) {
	if a.gone {
		return
	}
	defer a.recover(ctx)
	switch m := ctx.Message().(type) {
	case *Request:
		a.engine.Ask(m)
	case *appended:
		a.engine.Appended(m.head, m.err)
	case *loaded:
		a.engine.Loaded(m.Loaded, m.err)
	case *found:
		a.engine.Found(m.request, m.first, m.err)
	case passivate:
		a.engine.Passivate()
	case drain:
		a.engine.Drain()
	case *actor.Stopping:
		a.engine.Abandon()
	}
	a.carryOut(ctx)
}

// carryOut does what the engine says. What was posted to an activation that ends goes
// on after what had waited in its engine.
func (a *aggregate) carryOut(ctx actor.Context) {
	a.engine.Each(func(e Effect) { a.perform(ctx, e) })
	if a.gone {
		a.mailbox.close()
		ctx.Stop(ctx.Self())
	}
}

// recover ends the activation when the runtime itself has a bug: nothing of it can be
// trusted, but nobody is left waiting.
func (a *aggregate) recover(ctx actor.Context) {
	v := recover()
	if v == nil {
		return
	}
	a.host.log.Error("the runtime has a bug: an aggregate was stopped", "aggregate", a.ref().String(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	a.engine.Abandon()
	a.carryOut(ctx)
}

func (a *aggregate) perform(ctx actor.Context, effect Effect) {
	h := a.host
	switch f := effect.(type) {
	case Reply:
		h.answer(f.Request)
	case Pass:
		h.pass(f.Request)
	case *Append:
		h.store.Append(a.ref(), f.After, f.Changes, a.answered)
	case Load:
		a.ignored(f.Ignored)
		h.background(func(ctx context.Context) any { return a.load(ctx, f) }, a.hear)
	case Find:
		h.background(func(ctx context.Context) any {
			first, err := find(ctx, h.store, f, Window)
			return &found{f.Request, first, err}
		}, a.hear)
	case *Save:
		h.save(a.ref(), a.engine.def.Fingerprint(), f)
	case Stop:
		if f.Bug != nil {
			h.log.Error("an aggregate was stopped by a bug", "aggregate", a.ref().String(), "error", f.Bug)
		}
		a.gone = true
		h.remove(a)
	}
}

// tell posts a message, from any goroutine. It goes to the mailbox itself: sent to the PID
// of an actor that has just stopped, it would end among the dead letters.
func (a *aggregate) tell(message any) { a.mailbox.PostUserMessage(message) }

// ask posts a request. Whoever brings it puts it into the engine's queue if nothing is to be done
// with it but that.
func (a *aggregate) ask(r *Request) {
	a.mailbox.lend(r, func() bool { return a.engine.Queues(r) })
}

// hear has a message handled by the goroutine that brings it, if nothing else is to be handled:
// one of the host's own, which has nothing else to do.
func (a *aggregate) hear(message any) { a.mailbox.lend(message, always) }

func always() bool { return true }

// bounced takes what was posted to a stopped activation.
func (a *aggregate) bounced(message any) {
	switch m := message.(type) {
	case *Request:
		a.host.pass(m)
	case *found:
		a.host.pass(m.request)
	}
}

func (a *aggregate) load(ctx context.Context, f Load) *loaded {
	l, err := f.read(ctx, a.host.store)
	a.ignored(l.Ignored)
	if ctx.Err() != nil && err != nil && !errors.Is(err, holdfast.ErrCorrupt) {
		err = holdfast.Errorf(holdfast.CodeUnavailable, "the log was not read in time: %w", err)
	}
	return &loaded{l, err}
}

// ignored takes note of a snapshot that is of no use, if there is a reason.
func (a *aggregate) ignored(reason error) {
	if reason != nil {
		a.host.stats.snapshotsIgnored.Add(1)
		a.host.log.Warn("a snapshot was not used, the events were", "aggregate", a.ref().String(), "reason", reason)
	}
}

// find looks a request's command id up among the window of the last commands in the log, or
// all those since it may have been sent first. The receipt is nil when it is not there, and a
// duplicate when another command was recorded with it.
//
// Who led the log until a moment ago may answer with an older end than it has. That the id is
// not there is believed of a log that reaches the head on which the next append depends: of
// what came since, that append hears as a conflict.
func find(ctx context.Context, log persistence.Reader, f Find, window int) (*holdfast.Receipt, error) {
	r, reached, seen := f.Request, f.From.Position.IsZero(), 0
	for c, err := range log.Backwards(ctx, r.Ref, 0) {
		if err != nil {
			return nil, err
		}
		if !reached && c.Position.Before(f.From.Position) {
			break
		}
		reached = true
		version := holdfast.Version(c.FirstVersion) - 1
		var first *holdfast.Receipt
		for _, ch := range c.Changes {
			version += holdfast.Version(len(ch.Events))
			if ch.CommandId != r.Meta.ID {
				continue
			}
			if err := sameCommand(r, ch.Command); err != nil {
				return nil, err
			}
			first = &holdfast.Receipt{Version: version, Position: c.Position, Events: make([]string, len(ch.Events)), Duplicate: !r.is(ch.Command)}
			for i, e := range ch.Events {
				first.Events[i] = e.Type
			}
		}
		if first != nil {
			return first, nil
		}
		if seen += len(c.Changes); seen >= window && (r.Once.IsZero() || c.Time < r.Once.UnixNano()) {
			break
		}
	}
	if !reached {
		return nil, behind(r.Ref, f.From)
	}
	return nil, nil
}

// behind says that what was read of a log ends before the head that it is known to have.
func behind(ref holdfast.Ref, head persistence.Head) error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "%s was read from a server that lags behind the commit at %s: send it again", ref, head.Position)
}
