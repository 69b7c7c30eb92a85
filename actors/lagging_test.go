package actors_test

import (
	"context"
	"iter"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// lagging is a log as one reads it from a server that does not have its last commits yet.
type lagging struct {
	*memory.Store
	by int
}

func (s *stage) log() persistence.Reader { return lagging{s.store, s.lag} }

func (l lagging) Load(ctx context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	if l.by == 0 {
		return l.Store.Load(ctx, ref, fingerprint)
	}
	got, err := l.Store.Load(ctx, ref, "")
	if err != nil {
		return got, err
	}
	got.Commits = got.Commits[:max(0, len(got.Commits)-l.by)]
	if got.Head, err = persistence.NewHead("test", ref); err == nil {
		got.Head, err = got.Head.FollowAll(got.Commits)
	}
	return got, err
}

func (l lagging) Backwards(ctx context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		skip := l.by
		for c, err := range l.Store.Backwards(ctx, ref, at) {
			if skip--; skip < 0 && !yield(c, err) {
				return
			}
		}
	}
}
