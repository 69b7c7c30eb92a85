package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// Load implements [persistence.Reader].
func (s *Store) Load(ctx context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	var all collected
	l, err := s.load(ctx, ref, fingerprint, loading{to: &all, by: s.reads.lane()})
	l.Commits = all.commits
	if err != nil {
		return persistence.Loaded{}, err
	}
	return l, nil
}

// Replay implements [persistence.Replayer].
func (s *Store) Replay(ctx context.Context, ref holdfast.Ref, fingerprint string, to persistence.Rebuilder) (persistence.Loaded, error) {
	return s.load(ctx, ref, fingerprint, loading{to: to, by: s.reads.lane(), again: new(messages.Decoder)})
}

// A loading is to whom a load goes, and how it is read.
type loading struct {
	to persistence.Rebuilder
	by *lane
	// again, when set, reads one commit after the other: none is kept.
	again *messages.Decoder
}

// collected keeps what is read.
type collected struct{ commits []persistence.Commit }

func (c *collected) Begin(*persistence.Snapshot) error {
	c.commits = nil
	return nil
}

func (c *collected) Add(next persistence.Commit) error {
	c.commits = append(c.commits, next)
	return nil
}

func (s *Store) load(ctx context.Context, ref holdfast.Ref, fingerprint string, to loading) (persistence.Loaded, error) {
	a, err := s.aggregate(ref)
	if err != nil {
		return persistence.Loaded{}, err
	}
	if a.partition.newcomers.has(ctx, a, fingerprint) {
		return persistence.Loaded{Head: a.first()}, to.to.Begin(nil)
	}
	e, err := s.ends(ctx, a, fingerprint, to.by)
	if err != nil {
		return persistence.Loaded{}, err
	}
	a.partition.newcomers.likely.Store(!e.found)
	if !e.found {
		l := persistence.Loaded{Head: a.first(), Ignored: e.ignored}
		if e.snapshot != nil {
			l.Ignored = fmt.Errorf("snapshot: it is of version %d, but the log has nothing", e.snapshot.Head.Version)
		}
		return l, to.to.Begin(nil)
	}
	return s.connect(ctx, a, e, to, false)
}

// ends are the newest snapshot and the last commit of an aggregate.
type ends struct {
	last     persistence.Commit
	found    bool // last
	snapshot *persistence.Snapshot
	ignored  error // why there is no snapshot
}

// ends reads both at once.
func (s *Store) ends(ctx context.Context, a aggregate, fingerprint string, by *lane) (ends, error) {
	const tagLast, tagSnapshot = 0, 1
	out := make(chan answer, 2)
	q := a.partition.directLast(a.subject)
	if a.partition.replicated {
		q = a.partition.leaderLast(a.subject)
	}
	if err := by.ask(ctx, q, tagLast, out); err != nil {
		return ends{}, a.unavailable("load", err)
	}
	pending := 1
	if fingerprint != "" {
		if err := by.ask(ctx, s.snapshots.quickLast(s.snapshotSubject(a)), tagSnapshot, out); err != nil {
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
func (s *Store) connect(ctx context.Context, a aggregate, e ends, to loading, careful bool) (persistence.Loaded, error) {
	l := persistence.Loaded{Ignored: e.ignored}
	if snap := e.snapshot; snap != nil {
		since, err := s.before(ctx, a, e.last, snap.Head.Position.Sequence(), to.by, careful)
		if err != nil {
			return persistence.Loaded{}, err
		}
		if snap.Head.Equal(e.last.Head()) {
			l.Head = e.last.Head()
		} else {
			l.Commits = oldestFirst(e.last, since.commits)
			l.Head, err = snap.Head.FollowAll(l.Commits)
		}
		if err == nil {
			l.Snapshot = snap
			return to.give(l)
		}
		e.snapshot, e.ignored = nil, fmt.Errorf("snapshot: version %d at %s is not in the log: %w", snap.Head.Version, snap.Head.Position, err)
		return s.connect(ctx, a, e, to, careful)
	}
	all, err := s.before(ctx, a, e.last, 0, to.by, careful)
	if err != nil {
		return persistence.Loaded{}, err
	}
	if all.dense(e.last) {
		return s.through(ctx, a, e, to, all.first)
	}
	l.Commits = oldestFirst(e.last, all.commits)
	l.Head, err = a.first().FollowAll(l.Commits)
	if all.quick && (err != nil || all.count != uint64(len(l.Commits))) {
		return s.connect(ctx, a, e, to, true)
	}
	if err != nil {
		return persistence.Loaded{}, a.corrupt(err)
	}
	return to.give(l)
}

// give gives what was loaded to whom it is for.
func (to loading) give(l persistence.Loaded) (persistence.Loaded, error) {
	err := l.Replay(to.to)
	l.Commits = nil
	return l, err
}

// through reads a history that lies in the log without a gap, from its first commit on: each is
// handed over as soon as it is there and the chain holds up to it.
func (s *Store) through(ctx context.Context, a aggregate, e ends, to loading, first uint64) (persistence.Loaded, error) {
	if err := to.to.Begin(nil); err != nil {
		return persistence.Loaded{}, err
	}
	h := a.first()
	fits, err := to.by.run(ctx, a, first, e.last.Position.Sequence(), func(seq uint64, body []byte) (bool, error) {
		d := to.again
		if d == nil {
			d = new(messages.Decoder)
		}
		c, err := persistence.OpenWith(d, holdfast.NewPosition(a.partition.number, seq), body)
		if err == nil {
			h, err = h.Next(c)
		}
		if err != nil {
			return false, nil // which is told by whoever reads carefully
		}
		return true, to.to.Add(c)
	})
	if err != nil {
		return persistence.Loaded{}, err
	}
	l := persistence.Loaded{Ignored: e.ignored}
	if fits {
		l.Head, err = h.Follow(e.last)
	}
	if !fits || err != nil {
		return s.connect(ctx, a, e, to, true)
	}
	return l, to.to.Add(e.last)
}

func oldestFirst(last persistence.Commit, rest []persistence.Commit) []persistence.Commit {
	all := make([]persistence.Commit, 0, 1+len(rest))
	all = append(append(all, last), rest...)
	slices.Reverse(all)
	return all
}
