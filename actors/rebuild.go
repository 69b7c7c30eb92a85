package actors

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Rebuild makes the durable state of an aggregate of what is read of its log, while it is
// read: a [persistence.Rebuilder]. It is of one load, and shares nothing with the engine, to which it comes
// back with Loaded.
type Rebuild struct {
	def holdfast.Definition
	ref holdfast.Ref

	state  any
	recent recent
	events int // since the snapshot
}

func (e *Engine) newRebuild() *Rebuild {
	total := e.recent.total // what comes from now on counts as new
	return &Rebuild{def: e.def, ref: e.ref, recent: recent{size: e.settings.Window, base: total, total: total}}
}

// Begin implements [persistence.Rebuilder]. That a snapshot is of no use is a *snapshotError: the events are
// there.
func (r *Rebuild) Begin(s *persistence.Snapshot) (err error) {
	defer func() {
		if s != nil && err != nil {
			err = &snapshotError{err}
		}
	}()
	defer recoverInto(&err, "loading the snapshot of", r.ref)
	r.recent.reset()
	r.events = 0
	if r.state, err = (persistence.Loaded{Snapshot: s}).Start(r.def); err == nil && s != nil {
		r.recent.restore(s.Recent, s.Head.Time)
	}
	return err
}

// Add implements [persistence.Rebuilder].
func (r *Rebuild) Add(c persistence.Commit) (err error) {
	defer recoverInto(&err, "rebuilding", r.ref)
	for _, ch := range c.Changes {
		if r.state, err = persistence.Fold(r.def, r.state, ch.Events); err != nil {
			return holdfast.Errorf(holdfast.CodeOf(err), "%s, commit at %s: %w", r.ref, c.Position, err)
		}
		r.recent.add(messages.IDFingerprint(ch.CommandId), time.Unix(0, ch.Time))
		r.events += len(ch.Events)
	}
	return nil
}

// read does what the effect says, but for the call.
func (f Load) read(ctx context.Context, log persistence.Reader) (persistence.Loaded, error) {
	fingerprint := ""
	if f.Snapshot {
		fingerprint = f.To.def.Fingerprint()
	}
	return persistence.Replay(ctx, log, f.To.ref, fingerprint, f.To)
}
