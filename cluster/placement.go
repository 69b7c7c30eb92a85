package cluster

import (
	"hash/fnv"
	"sync/atomic"

	"github.com/holdfast-run/holdfast"
)

// A view is the members as one node sees them. It never changes: a new one takes its
// place.
type view struct {
	self    string
	members []string // ids
}

// placement says who owns an aggregate, without a lock.
type placement struct{ current atomic.Pointer[view] }

func (p *placement) update(v *view) { p.current.Store(v) }

// owner is the id of the member that owns the aggregate; empty when there is none.
func (p *placement) owner(ref holdfast.Ref) string {
	v := p.current.Load()
	if v == nil || len(v.members) == 0 {
		return ""
	}
	if len(v.members) == 1 {
		return v.members[0]
	}
	key := hash(ref.Type + "/" + ref.ID)
	best, score := "", uint64(0)
	for _, m := range v.members {
		if s := mix(key ^ hash(m)); best == "" || s > score {
			best, score = m, s
		}
	}
	return best
}

// mine reports whether this node owns the aggregate.
func (p *placement) mine(ref holdfast.Ref) bool {
	v := p.current.Load()
	return v != nil && v.self != "" && p.owner(ref) == v.self
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// mix spreads a hash over all its bits, without which members get uneven shares.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
