// Package persistence is the contract of a log of aggregates: what a store promises to
// the runtime above it, and the chain that both sides check. persistence/jetstream is
// the store, persistence/memory the shortest correct one, and
// persistence/persistencetest what both must pass.
//
// A log is kept in commits: the events of one append, recorded all or none. The
// commits of an aggregate form a chain: versions without gaps, each digest over the one
// before. The expected [Head] of an append is the fence: of two writers that believe in
// the same head, one commits and the other hears holdfast.ErrConflict.
package persistence

import (
	"context"
	"iter"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A Store keeps the log and the snapshots of one context. Its methods are safe for
// concurrent use.
type Store interface {
	Appender
	Reader
	Snapshotter
}

// An Appender adds to the log.
type Appender interface {
	// Append records the changes as the aggregate's next commit, if the aggregate still
	// is where after says, and does not wait: done is called exactly once, from a
	// goroutine of the store or before Append returns, and must not block. Append takes
	// ownership of changes.
	//
	// done hears the new head, or: ErrConflict (another commit came first, this one
	// will never be), ErrUncertain (it may be recorded, or yet become so),
	// ErrUnavailable, ErrTooLarge and ErrMalformed (the ref names nothing that a log
	// can hold): it is not recorded and will not be.
	// after comes from Load or from the append before. It is never made up: a log whose
	// last commit of the aggregate is damaged may take the aggregate for a new one.
	//
	// An uncertain append is settled by the aggregate's next successful one: when that
	// follows the same head, the uncertain one can no longer be recorded.
	//
	// One append an aggregate may be under way; a second one is a conflict.
	Append(ref holdfast.Ref, after Head, changes []*messages.Change, done func(Head, error))

	// Limit is how many bytes the changes of one commit may take, as [Size] counts them.
	Limit() int
}

// A Reader reads the log.
type Reader interface {
	// Load reads what is needed to rebuild the aggregate as it is now: the newest
	// snapshot, when it has that fingerprint and can be read, and the commits since; or
	// all commits. What it costs depends on the number of those commits, not on the
	// length of the log. It never returns less than what was durable when it was called.
	//
	// Without a fingerprint it reads all commits.
	//
	// It returns ErrCorrupt when the chain does not hold, with the place; ErrMalformed
	// when the ref names nothing that a log can hold; else ErrUnavailable, also when ctx
	// ends. An aggregate to which nothing has happened is no error.
	Load(ctx context.Context, ref holdfast.Ref, fingerprint string) (Loaded, error)

	// Backwards yields the aggregate's commits, newest first, from the one that holds
	// the event of version at, or from the last one when at is 0 or beyond it. Each has
	// been checked against the one before it. An error, as of Load, is the last thing
	// that it yields.
	Backwards(ctx context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[Commit, error]
}

// A Snapshotter caches states.
type Snapshotter interface {
	// SaveSnapshot keeps a snapshot. It may be lost at any time, and an older one may
	// come back. It returns ErrTooLarge, ErrMalformed or ErrUnavailable.
	SaveSnapshot(ctx context.Context, ref holdfast.Ref, s Snapshot) error
}

// A Head is where an aggregate's log ends, for somebody who has read it up to there.
// The zero Head is that of an aggregate to which nothing has happened; [NewHead] gives
// it its place in the chain.
type Head struct {
	Version  holdfast.Version
	Position holdfast.Position // of the last commit
	// Before are the stream sequences of up to 33 commits before the last, newest first.
	// Heads share it: never write to it.
	Before []uint64
	Digest messages.Digest
	Time   time.Time // of the last commit
}

// A Commit is one read from the log.
type Commit struct {
	*messages.Commit
	Position holdfast.Position
	// Body is the commit as it stands in the log.
	Body []byte

	before []uint64 // what Before gives, when it is known
}

// A Snapshot is a cached state.
type Snapshot struct {
	Head        Head // of the log, when the state was this
	Fingerprint string
	// Recent are the fingerprints of the last command ids, oldest first.
	Recent []uint32
	// State is in the form of the type's snapshot message.
	State []byte
}

// Loaded is what an aggregate is rebuilt from.
type Loaded struct {
	// Snapshot to start from; nil to start from nothing.
	Snapshot *Snapshot
	// Commits since the snapshot, oldest first. The chain has been checked.
	Commits []Commit
	// Head after all of them.
	Head Head
	// Ignored says why a snapshot that was there was not used; nil when it was used or
	// there was none.
	Ignored error
}
