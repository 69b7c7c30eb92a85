package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// Load implements [persistence.Reader].
func (s *Store) Load(ctx context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	a, err := s.aggregate(ref)
	if err != nil {
		return persistence.Loaded{}, err
	}
	if a.partition.newcomers.has(ctx, a, fingerprint) {
		return persistence.Loaded{Head: a.first()}, nil
	}
	e, err := s.ends(ctx, a, fingerprint)
	if err != nil {
		return persistence.Loaded{}, err
	}
	a.partition.newcomers.likely.Store(!e.found)
	if !e.found {
		l := persistence.Loaded{Head: a.first(), Ignored: e.ignored}
		if e.snapshot != nil {
			l.Ignored = fmt.Errorf("snapshot: it is of version %d, but the log has nothing", e.snapshot.Head.Version)
		}
		return l, nil
	}
	return s.connect(ctx, a, e, false)
}

// ends are the newest snapshot and the last commit of an aggregate.
type ends struct {
	last     persistence.Commit
	found    bool // last
	snapshot *persistence.Snapshot
	ignored  error // why there is no snapshot
}

// ends reads both at once.
func (s *Store) ends(ctx context.Context, a aggregate, fingerprint string) (ends, error) {
	const tagLast, tagSnapshot = 0, 1
	out := make(chan answer, 2)
	q := a.partition.directLast(a.subject)
	if a.partition.replicated {
		q = a.partition.leaderLast(a.subject)
	}
	if err := s.reads.ask(ctx, q, tagLast, out); err != nil {
		return ends{}, a.unavailable("load", err)
	}
	pending := 1
	if fingerprint != "" {
		if err := s.reads.ask(ctx, s.snapshots.quickLast(s.snapshotSubject(a)), tagSnapshot, out); err != nil {
			return ends{}, a.unavailable("load", err)
		}
		pending++
	}
	var e ends
	for ; pending > 0; pending-- {
		select {
		case <-ctx.Done():
			return ends{}, a.unavailable("load", context.Cause(ctx))
		case got := <-out:
			if got.tag == tagSnapshot {
				e.snapshot, e.ignored = openSnapshot(a, fingerprint, got)
				continue
			}
			var err error
			if e.last, e.found, err = s.openLast(ctx, a, got.msg, got.err); err != nil {
				return ends{}, err
			}
		}
	}
	return e, nil
}

// openSnapshot reads the answer to the question for the newest snapshot. That it cannot
// be had is no error, since the log has everything.
func openSnapshot(a aggregate, fingerprint string, got answer) (*persistence.Snapshot, error) {
	if got.err != nil {
		return nil, fmt.Errorf("snapshot: %w", got.err)
	}
	if got.msg.Header != nil { // that is how a server says that it has none
		if _, err := parseDirect(got.msg); errors.Is(err, errNone) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	return persistence.DecodeSnapshot(got.msg.Data, a.partition.number, fingerprint)
}

// connect reads what lies between the snapshot and the last commit. A snapshot that the
// chain does not lead to is ignored. What was read quickly and does not fit is read once more,
// carefully, which tells what is wrong.
func (s *Store) connect(ctx context.Context, a aggregate, e ends, careful bool) (persistence.Loaded, error) {
	l := persistence.Loaded{Ignored: e.ignored}
	newest := []persistence.Commit{e.last}
	if snap := e.snapshot; snap != nil {
		since, err := s.before(ctx, a, e.last, snap.Head.Position.Sequence(), careful)
		if err != nil {
			return persistence.Loaded{}, err
		}
		l.Commits = oldestFirst(newest, since.commits)
		if snap.Head.Equal(e.last.Head()) {
			l.Snapshot, l.Commits, l.Head = snap, nil, e.last.Head()
			return l, nil
		}
		if l.Head, err = snap.Head.FollowAll(l.Commits); err == nil {
			l.Snapshot = snap
			return l, nil
		}
		l.Ignored = fmt.Errorf("snapshot: version %d at %s is not in the log: %w", snap.Head.Version, snap.Head.Position, err)
		newest = append(newest, since.commits...)
	}
	rest, err := s.before(ctx, a, newest[len(newest)-1], 0, careful)
	if err != nil {
		return persistence.Loaded{}, err
	}
	l.Commits = oldestFirst(newest, rest.commits)
	l.Head, err = a.first().FollowAll(l.Commits)
	if rest.quick && (err != nil || rest.count != uint64(len(l.Commits))) {
		return s.connect(ctx, a, e, true)
	}
	if err != nil {
		return persistence.Loaded{}, a.corrupt(err)
	}
	return l, nil
}

func oldestFirst(newest, rest []persistence.Commit) []persistence.Commit {
	all := make([]persistence.Commit, 0, len(newest)+len(rest))
	all = append(append(all, newest...), rest...)
	slices.Reverse(all)
	return all
}
