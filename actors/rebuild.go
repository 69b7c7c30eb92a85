package actors

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Rebuild makes the durable state of an aggregate of what is read of its log, while it is
// read: a [persistence.Rebuilder]. It is of one load, and shares nothing with the engine, to
// which it comes back with Loaded.
type Rebuild struct {
	def holdfast.Definition
	ref holdfast.Ref

	state  any
	recent recent
	ids    []recordedID // since the snapshot; of many the last ones
	lost   time.Time    // of the ids before those
	events int          // since the snapshot
}

// A recordedID is a command's id, and when it was recorded.
type recordedID struct {
	id string
	at time.Time
}

func (e *Engine) newRebuild() *Rebuild {
	total := e.recent.total // what comes from now on counts as new
	return &Rebuild{def: e.def, ref: e.ref, recent: recent{size: e.settings.Window, base: total, total: total}}
}

// Begin implements [persistence.Rebuilder]. That a snapshot is of no use is a *snapshotError:
// the events are there.
func (r *Rebuild) Begin(s *persistence.Snapshot) (err error) {
	defer func() {
		if s != nil && err != nil {
			err = &snapshotError{err}
		}
	}()
	defer recoverInto(&err, "loading the snapshot of", r.ref)
	r.start(s)
	r.state, err = (persistence.Loaded{Snapshot: s}).Start(r.def)
	return err
}

// start forgets all but what a snapshot remembers.
func (r *Rebuild) start(s *persistence.Snapshot) {
	r.ids, r.lost, r.events = nil, time.Time{}, 0
	r.recent.reset()
	if s != nil {
		r.recent.restore(s.Recent, s.Head.Time)
	}
}

// Add implements [persistence.Rebuilder].
func (r *Rebuild) Add(c persistence.Commit) (err error) {
	defer recoverInto(&err, "rebuilding", r.ref)
	for _, ch := range c.Changes {
		if r.state, err = persistence.Fold(r.def, r.state, ch.Events); err != nil {
			return holdfast.Errorf(holdfast.CodeOf(err), "%s, commit at %s: %w", r.ref, c.Position, err)
		}
		r.remember(recordedID{ch.CommandId, time.Unix(0, ch.Time)})
		r.events += len(ch.Events)
	}
	return nil
}

// remember notes an id. Of a long history only the last ones are worth their fingerprints.
func (r *Rebuild) remember(id recordedID) {
	if window := r.recent.window(); len(r.ids) == 2*window {
		r.lost = r.ids[window-1].at
		r.ids = append(r.ids[:0], r.ids[window:]...)
	}
	r.ids = append(r.ids, id)
}

// remembered gives the ids that are remembered in the end.
func (r *Rebuild) remembered() recent {
	if more := len(r.ids) - r.recent.window(); more > 0 {
		r.lost = r.ids[more-1].at
		r.ids = r.ids[more:]
	}
	for _, id := range r.ids {
		r.recent.add(messages.IDFingerprint(id.id), id.at)
	}
	if r.lost.After(r.recent.lost) {
		r.recent.lost = r.lost
	}
	return r.recent
}

// read does what the effect says, but for the call.
func (f Load) read(ctx context.Context, log persistence.Reader) (persistence.Loaded, error) {
	fingerprint := ""
	if f.Snapshot {
		fingerprint = f.To.def.Fingerprint()
	}
	return persistence.Replay(ctx, log, f.To.ref, fingerprint, f.To)
}
