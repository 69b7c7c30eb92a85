package actors

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast"
)

const shards = 64

// A registry knows the active aggregates of a host.
type registry struct {
	seed   maphash.Seed
	shards [shards]shard
	count  atomic.Int64
	// watchers are those who wait for aggregates to go.
	watchers sync.Map      // of chan struct{}
	empty    chan struct{} // hears when the last one went
}

type shard struct {
	mu     sync.RWMutex
	active map[holdfast.Ref]*aggregate
}

func (r *registry) init() {
	r.seed = maphash.MakeSeed()
	r.empty = make(chan struct{}, 1)
	for i := range r.shards {
		r.shards[i].active = map[holdfast.Ref]*aggregate{}
	}
}

func (r *registry) shard(ref holdfast.Ref) *shard {
	return &r.shards[r.hash(ref)%shards]
}

func (r *registry) hash(ref holdfast.Ref) uint64 { return maphash.Comparable(r.seed, ref) }

func (r *registry) find(ref holdfast.Ref) *aggregate {
	s := r.shard(ref)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.active[ref]
}

// add gives the activation that is there, or the one that spawn makes.
func (r *registry) add(ref holdfast.Ref, spawn func() (*aggregate, error)) (*aggregate, error) {
	s := r.shard(ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.active[ref]; a != nil {
		return a, nil
	}
	a, err := spawn()
	if err != nil {
		return nil, err
	}
	s.active[ref] = a
	r.count.Add(1)
	return a, nil
}

func (r *registry) remove(a *aggregate) {
	s := r.shard(a.ref())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[a.ref()] != a {
		return
	}
	delete(s.active, a.ref())
	r.watchers.Range(func(gone, _ any) bool {
		signal(gone.(chan struct{}))
		return true
	})
	if r.count.Add(-1) == 0 {
		r.signalEmpty()
	}
}

func (r *registry) signalEmpty() { signal(r.empty) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitGone waits until none of the activations is there any more, and gives those that
// are when ctx ends.
func (r *registry) waitGone(ctx context.Context, going []*aggregate) ([]*aggregate, error) {
	gone := make(chan struct{}, 1)
	r.watchers.Store(gone, nil)
	defer r.watchers.Delete(gone)
	has := func(a *aggregate) bool { return r.find(a.ref()) == a }
	for {
		for len(going) > 0 && !has(going[len(going)-1]) {
			going = going[:len(going)-1]
		}
		if len(going) == 0 {
			return nil, nil
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return slices.DeleteFunc(going, func(a *aggregate) bool { return !has(a) }), context.Cause(ctx)
		}
	}
}

func (r *registry) len() int { return int(r.count.Load()) }

func (r *registry) all() []*aggregate {
	out := make([]*aggregate, 0, r.len())
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		for _, a := range s.active {
			out = append(out, a)
		}
		s.mu.RUnlock()
	}
	return out
}

// waitEmpty waits until no aggregate is active, or ctx ends; if both is so, it returns nil.
func (r *registry) waitEmpty(ctx context.Context) error {
	for r.len() > 0 {
		select {
		case <-r.empty:
		case <-ctx.Done():
			if r.len() > 0 {
				return context.Cause(ctx)
			}
		}
	}
	r.signalEmpty() // to whoever else waits
	return nil
}
