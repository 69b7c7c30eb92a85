package holdfasttest

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// A ledger is the log of a run. It keeps commits as they are given to it, where a store would
// keep bytes and chain them: thousands of runs in a second have no time for that.
type ledger struct {
	entries []entry // in order
	of      map[holdfast.Ref]*account
	begun   []holdfast.Ref // all that have something here, in the order in which they began
	place   func(holdfast.Ref) uint32
}

// An entry is a commit in the ledger.
type entry struct {
	ref       holdfast.Ref
	partition uint32
	commit    *messages.Commit
}

// An account is what the ledger has of one aggregate.
type account struct {
	commits   []persistence.Commit
	head      persistence.Head
	snapshot  *persistence.Snapshot
	partition uint32
}

var _ persistence.Store = (*ledger)(nil)

// Append implements [persistence.Appender].
func (l *ledger) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	a := l.of[ref]
	if a == nil {
		a = &account{partition: l.place(ref)}
	}
	if a.head.Position != after.Position {
		done(after, holdfast.Errorf(holdfast.CodeConflict, "%s is at %s, not at %s", ref, a.head.Position, after.Position))
		return
	}
	c := &messages.Commit{FirstVersion: uint64(a.head.Version) + 1, LastVersion: uint64(a.head.Version), Changes: changes}
	at := a.head.Time
	for _, ch := range changes {
		c.LastVersion += uint64(len(ch.Events))
		if t := time.Unix(0, ch.Time).UTC(); t.After(at) {
			at = t
		}
	}
	c.Time = at.UnixNano()
	if len(a.commits) == 0 {
		l.of[ref] = a
		l.begun = append(l.begun, ref)
	}
	l.entries = append(l.entries, entry{ref, a.partition, c})
	a.head = persistence.Head{
		Version: holdfast.Version(c.LastVersion), Position: holdfast.NewPosition(a.partition, uint64(len(l.entries))), Time: at,
	}
	a.commits = append(a.commits, persistence.Commit{Commit: c, Position: a.head.Position})
	done(a.head, nil)
}

// Limit implements [persistence.Appender].
func (l *ledger) Limit() int { return memory.Limit }

// Load implements [persistence.Reader].
func (l *ledger) Load(_ context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	a := l.of[ref]
	if a == nil {
		return persistence.Loaded{}, nil
	}
	all := persistence.Loaded{Commits: slices.Clip(a.commits), Head: a.head}
	if a.snapshot == nil || a.snapshot.Fingerprint != fingerprint {
		return all, nil
	}
	all.Snapshot = a.snapshot
	at := slices.IndexFunc(a.commits, func(c persistence.Commit) bool { return c.Position == a.snapshot.Head.Position })
	all.Commits = all.Commits[at+1:]
	return all, nil
}

// Backwards implements [persistence.Reader].
func (l *ledger) Backwards(_ context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		if l.of[ref] == nil {
			return
		}
		for _, c := range slices.Backward(l.of[ref].commits) {
			if (at == 0 || c.FirstVersion <= uint64(at)) && !yield(c, nil) {
				return
			}
		}
	}
}

// SaveSnapshot implements [persistence.Snapshotter].
func (l *ledger) SaveSnapshot(_ context.Context, ref holdfast.Ref, snap persistence.Snapshot) error {
	if a := l.of[ref]; a != nil {
		a.snapshot = &snap
	}
	return nil
}

// version is that of an aggregate; 0 when nothing has happened to it.
func (l *ledger) version(ref holdfast.Ref) holdfast.Version {
	if a := l.of[ref]; a != nil {
		return a.head.Version
	}
	return 0
}
