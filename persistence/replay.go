package persistence

import (
	"context"

	"github.com/holdfast-run/holdfast"
)

// A Replayer hands over what it reads while it reads on, so that a long history is neither in
// memory as a whole nor waited for. A [Store] that can do so is one too.
type Replayer interface {
	// Replay reads what Load reads, and returns what Load returns, but for the commits: these go
	// to to, oldest first, each as soon as the chain is known to hold up to it. That it holds to
	// its end is known when Replay returns without an error: what to has made of it by then counts
	// for nothing otherwise.
	//
	// An error of to's ends the replay, and is what it returns.
	Replay(ctx context.Context, ref holdfast.Ref, fingerprint string, to Rebuilder) (Loaded, error)
}

// A Rebuilder takes what an aggregate is rebuilt from. It is called from the goroutine of
// Replay.
type Rebuilder interface {
	// Begin takes the snapshot to start from, or nil. It is called first. When it is called
	// again, nothing counts that came before.
	Begin(s *Snapshot) error
	// Add takes the next commit. The commit and its bytes are the store's again when Add returns.
	Add(c Commit) error
}

// Replay is [Replayer.Replay] of any reader: one that is no replayer has it all loaded first.
func Replay(ctx context.Context, r Reader, ref holdfast.Ref, fingerprint string, to Rebuilder) (Loaded, error) {
	if p, ok := r.(Replayer); ok {
		return p.Replay(ctx, ref, fingerprint, to)
	}
	l, err := r.Load(ctx, ref, fingerprint)
	if err == nil {
		err = l.Replay(to)
	}
	l.Commits = nil
	return l, err
}

// Replay gives to what was loaded.
func (l Loaded) Replay(to Rebuilder) error {
	if err := to.Begin(l.Snapshot); err != nil {
		return err
	}
	for _, c := range l.Commits {
		if err := to.Add(c); err != nil {
			return err
		}
	}
	return nil
}

// Rebuilt is a state as it is rebuilt: a [Rebuilder] that does no more than that.
type Rebuilt struct {
	Def   holdfast.Definition
	State any
}

// Begin implements [Rebuilder].
func (r *Rebuilt) Begin(s *Snapshot) (err error) {
	r.State, err = Loaded{Snapshot: s}.Start(r.Def)
	return err
}

// Add implements [Rebuilder]. It panics when a function of the domain does.
func (r *Rebuilt) Add(c Commit) (err error) {
	for _, ch := range c.Changes {
		if r.State, err = Fold(r.Def, r.State, ch.Events); err != nil {
			return err
		}
	}
	return nil
}
