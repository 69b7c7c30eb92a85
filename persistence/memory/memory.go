// Package memory is the reference store: the shortest one that keeps the contract of
// package persistence. It is for unit tests and simulation, and forgets everything with
// the process.
package memory

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// Limit is how many bytes the changes of one commit may take.
const Limit = 1 << 20

// A Store keeps one context in memory, in one partition. Appends are durable for as
// long as the process lives, and answered before Append returns.
type Store struct {
	context messages.Context

	mu        sync.Mutex
	last      uint64 // sequence
	logs      map[holdfast.Ref][]stored
	snapshots map[holdfast.Ref][]byte
}

type stored struct {
	position holdfast.Position
	body     []byte
}

var _ persistence.Store = (*Store)(nil)

// New makes an empty store of one context.
func New(context messages.Context) *Store {
	return &Store{context: context, logs: map[holdfast.Ref][]stored{}, snapshots: map[holdfast.Ref][]byte{}}
}

// Append implements [persistence.Appender].
func (s *Store) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	done(s.append(ref, after, changes))
}

func (s *Store) append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change) (persistence.Head, error) {
	size := 0
	for _, ch := range changes {
		size += proto.Size(ch)
	}
	if size > Limit {
		return after, holdfast.Errorf(holdfast.CodeTooLarge, "the changes take %d bytes, the limit is %d", size, Limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var end uint64
	if log := s.logs[ref]; len(log) > 0 {
		end = log[len(log)-1].position.Sequence()
	}
	if end != after.Position.Sequence() {
		return after, holdfast.Errorf(holdfast.CodeConflict, "%s is at %d, not at %s", ref, end, after.Position)
	}
	c, err := after.Seal(fmt.Sprintf("m-%d", s.last+1), changes)
	if err != nil {
		return after, err
	}
	c.Position = s.put(ref, c.Body)
	return c.Head(), nil
}

// Put puts a body into the log as the aggregate's newest commit, whatever it says: for
// tests of what is found damaged.
func (s *Store) Put(ref holdfast.Ref, body []byte) holdfast.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(ref, body)
}

func (s *Store) put(ref holdfast.Ref, body []byte) holdfast.Position {
	s.last++
	position := holdfast.NewPosition(0, s.last)
	s.logs[ref] = append(s.logs[ref], stored{position, body})
	return position
}

// Limit implements [persistence.Appender].
func (s *Store) Limit() int { return Limit }

// Load implements [persistence.Reader].
func (s *Store) Load(_ context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	head, err := persistence.NewHead(s.context, ref)
	if err != nil {
		return persistence.Loaded{}, err
	}
	s.mu.Lock()
	log, snapshot := s.logs[ref], s.snapshots[ref]
	s.mu.Unlock()
	commits, err := open(log)
	if err != nil {
		return persistence.Loaded{}, err
	}
	all := persistence.Loaded{Commits: commits}
	if all.Head, err = head.FollowAll(commits); err != nil {
		return persistence.Loaded{}, err
	}
	if fingerprint == "" || snapshot == nil {
		return all, nil
	}
	snap, err := persistence.DecodeSnapshot(snapshot, 0, fingerprint)
	if err != nil {
		all.Ignored = err
		return all, nil
	}
	at := slices.IndexFunc(commits, func(c persistence.Commit) bool { return c.Head().Equal(snap.Head) })
	if at < 0 {
		all.Ignored = fmt.Errorf("snapshot: version %d at %s is not in the log", snap.Head.Version, snap.Head.Position)
		return all, nil
	}
	all.Snapshot, all.Commits = snap, commits[at+1:]
	return all, nil
}

// Backwards implements [persistence.Reader].
func (s *Store) Backwards(_ context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		s.mu.Lock()
		log := s.logs[ref]
		s.mu.Unlock()
		commits, err := open(log)
		if err == nil {
			var head persistence.Head
			if head, err = persistence.NewHead(s.context, ref); err == nil {
				_, err = head.FollowAll(commits)
			}
		}
		if err != nil {
			yield(persistence.Commit{}, err)
			return
		}
		for _, c := range slices.Backward(commits) {
			if at != 0 && c.FirstVersion > uint64(at) {
				continue
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func open(log []stored) ([]persistence.Commit, error) {
	commits := make([]persistence.Commit, len(log))
	for i, s := range log {
		var err error
		if commits[i], err = persistence.Open(s.position, s.body); err != nil {
			return nil, err
		}
	}
	return commits, nil
}

// SaveSnapshot implements [persistence.Snapshotter].
func (s *Store) SaveSnapshot(_ context.Context, ref holdfast.Ref, snap persistence.Snapshot) error {
	body, err := persistence.EncodeSnapshot(snap)
	if err != nil {
		return holdfast.Errorf(holdfast.CodeInternal, "%w", err)
	}
	s.PutSnapshot(ref, body)
	return nil
}

// PutSnapshot keeps a body as the aggregate's snapshot, whatever it says: for tests of
// what is found damaged.
func (s *Store) PutSnapshot(ref holdfast.Ref, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[ref] = body
}
