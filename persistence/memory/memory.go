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
	records   []persistence.Record // at sequence-1; one without a subject is lost
	logs      map[holdfast.Ref][]uint64
	snapshots map[holdfast.Ref][]byte
	grown     chan struct{} // closed by what is next put into the log; nil when nobody waits
}

var (
	_ persistence.Store    = (*Store)(nil)
	_ persistence.Scanner  = (*Store)(nil)
	_ persistence.Follower = (*Store)(nil)
)

// New makes an empty store of one context.
func New(context messages.Context) *Store {
	return &Store{context: context, logs: map[holdfast.Ref][]uint64{}, snapshots: map[holdfast.Ref][]byte{}}
}

// Append implements [persistence.Appender].
func (s *Store) Append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change, done func(persistence.Head, error)) {
	done(s.append(ref, after, changes))
}

func (s *Store) append(ref holdfast.Ref, after persistence.Head, changes []*messages.Change) (persistence.Head, error) {
	first, err := persistence.NewHead(s.context, ref)
	if err != nil {
		return after, err
	}
	if after.Position.IsZero() {
		after = first
	}
	if size := persistence.Size(changes); size > Limit {
		return after, holdfast.Errorf(holdfast.CodeTooLarge, "the changes take %d bytes, the limit is %d", size, Limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var end uint64
	if log := s.logs[ref]; len(log) > 0 {
		end = log[len(log)-1]
	}
	if end != after.Position.Sequence() {
		return after, holdfast.Errorf(holdfast.CodeConflict, "%s is at %d, not at %s", ref, end, after.Position)
	}
	c, err := after.Seal(fmt.Sprintf("m-%d", len(s.records)+1), changes)
	if err != nil {
		return after, err
	}
	if c.Position, err = s.put(ref, c.Body); err != nil {
		return after, err
	}
	return c.Head(), nil
}

// Put puts a body into the log as the aggregate's newest commit, whatever it says: for
// tests of what is found damaged. It panics when the ref names nothing.
func (s *Store) Put(ref holdfast.Ref, body []byte) holdfast.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	position, err := s.put(ref, body)
	if err != nil {
		panic(err)
	}
	return position
}

func (s *Store) put(ref holdfast.Ref, body []byte) (holdfast.Position, error) {
	subject, err := persistence.LogSubject(s.context, ref, 1)
	if err != nil {
		return holdfast.Position{}, err
	}
	seq := uint64(len(s.records)) + 1
	position := holdfast.NewPosition(0, seq)
	s.records = append(s.records, persistence.Record{Position: position, Subject: subject.String(), Body: body})
	s.logs[ref] = append(s.logs[ref], seq)
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
	return position, nil
}

// Lose removes what stands at a position: for tests of what is found missing.
func (s *Store) Lose(position holdfast.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := position.Sequence()
	s.records[seq-1] = persistence.Record{}
	for ref, log := range s.logs {
		s.logs[ref] = slices.DeleteFunc(slices.Clone(log), func(n uint64) bool { return n == seq })
	}
}

// Limit implements [persistence.Appender].
func (s *Store) Limit() int { return Limit }

// read gives the aggregate's commits and the head after them.
func (s *Store) read(ctx context.Context, ref holdfast.Ref) ([]persistence.Commit, persistence.Head, error) {
	head, err := persistence.NewHead(s.context, ref)
	if err != nil {
		return nil, head, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, head, holdfast.Errorf(holdfast.CodeUnavailable, "read %s: %w", ref, err)
	}
	s.mu.Lock()
	log := s.logs[ref]
	records := s.records
	s.mu.Unlock()
	commits := make([]persistence.Commit, len(log))
	for i, seq := range log {
		if commits[i], err = persistence.Open(records[seq-1].Position, records[seq-1].Body); err != nil {
			return nil, head, persistence.Corrupt(ref, err)
		}
	}
	if head, err = head.FollowAll(commits); err != nil {
		return nil, head, persistence.Corrupt(ref, err)
	}
	return commits, head, nil
}

// Load implements [persistence.Reader].
func (s *Store) Load(ctx context.Context, ref holdfast.Ref, fingerprint string) (persistence.Loaded, error) {
	commits, head, err := s.read(ctx, ref)
	if err != nil {
		return persistence.Loaded{}, err
	}
	all := persistence.Loaded{Commits: commits, Head: head}
	s.mu.Lock()
	snapshot := s.snapshots[ref]
	s.mu.Unlock()
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
func (s *Store) Backwards(ctx context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		commits, _, err := s.read(ctx, ref)
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

// SaveSnapshot implements [persistence.Snapshotter].
func (s *Store) SaveSnapshot(ctx context.Context, ref holdfast.Ref, snap persistence.Snapshot) error {
	if _, err := persistence.NewHead(s.context, ref); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return holdfast.Errorf(holdfast.CodeUnavailable, "save snapshot of %s: %w", ref, err)
	}
	body, err := persistence.EncodeSnapshot(snap)
	if err != nil {
		return holdfast.Errorf(holdfast.CodeInternal, "%w", err)
	}
	if len(body) > Limit {
		return holdfast.Errorf(holdfast.CodeTooLarge, "the snapshot of %s takes %d bytes, the limit is %d", ref, len(body), Limit)
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

// Describe implements [persistence.Scanner].
func (s *Store) Describe(ctx context.Context) ([]persistence.Partition, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "describe log: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := persistence.Partition{Last: uint64(len(s.records))}
	for _, r := range s.records {
		if r.Subject != "" {
			p.Commits++
			p.Bytes += uint64(len(r.Body))
		}
	}
	return []persistence.Partition{p}, nil
}

// Scan implements [persistence.Scanner]. Records have no time.
func (s *Store) Scan(ctx context.Context, opts persistence.ScanOptions, each func(persistence.Record) error) (uint64, error) {
	if err := opts.Check(); err != nil {
		return 0, err
	}
	if opts.Replica != "" {
		return 0, holdfast.Errorf(holdfast.CodeMalformed, "replica: %q keeps no part of the log: there is one copy of it", opts.Replica)
	}
	s.mu.Lock()
	records := slices.Clone(s.records[min(opts.Start(0)-1, uint64(len(s.records))):])
	s.mu.Unlock()
	for _, r := range records {
		if err := context.Cause(ctx); err != nil {
			return 0, holdfast.Errorf(holdfast.CodeUnavailable, "scan log: %w", err)
		}
		if r.Subject == "" {
			continue
		}
		if sub, err := messages.ParseSubject(r.Subject); err != nil || !opts.Match(holdfast.Ref{Type: sub.Type, ID: sub.ID.Raw()}) {
			continue
		}
		if err := each(r); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
