package cluster

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast"
)

// A member as the register shows it at one revision.
type member struct {
	record
	revision uint64 // of its entry
	hash     uint64 // of its id
}

// since is the revision from which the member is what it says it is: up or draining, and
// a host of these types.
func (m *member) since() uint64 { return cmp.Or(m.Since, m.revision) }

// eligible reports whether the member may own aggregates of the type.
func (m *member) eligible(typ string) bool {
	return m.State == stateUp && (len(m.Types) == 0 || slices.Contains(m.Types, typ))
}

// A view is the register as one node sees it. It never changes: a new one takes its
// place, so it is read without a lock.
type view struct {
	self     string // the id of this node; empty when it is no member
	revision uint64 // of the register
	members  []member
	// moving: some member may still hold what is another's by now.
	moving bool
}

func newView(self string, revision uint64, members []member) *view {
	v := &view{self: self, revision: revision, members: members}
	for i := range v.members {
		v.members[i].hash = hash(v.members[i].ID)
	}
	for _, p := range v.members {
		v.moving = v.moving || len(p.Holding) > 0 || slices.ContainsFunc(v.members, func(q member) bool { return q.since() > p.Settled })
	}
	return v
}

// placesLike reports whether every aggregate has the same owner as in w, and all are what
// they are since the same revision: an owner waits until the others have settled that one.
func (v *view) placesLike(w *view) bool {
	return w != nil && slices.EqualFunc(v.members, w.members, func(a, b member) bool {
		return a.ID == b.ID && a.State == b.State && a.since() == b.since() && slices.Equal(a.Types, b.Types)
	})
}

// replaceable reports whether every type that this node hosts has another host.
func (v *view) replaceable() bool {
	self := v.member(v.self)
	return self != nil && !slices.ContainsFunc(self.Types, func(typ string) bool {
		return !slices.ContainsFunc(v.members, func(m member) bool { return m.ID != v.self && m.eligible(typ) })
	})
}

// drained reports whether this node holds nothing any more, and all who are there have
// seen that it owns nothing.
func (v *view) drained() bool {
	self := v.member(v.self)
	if self == nil {
		return true
	}
	return self.State == stateDraining && len(self.Holding) == 0 &&
		!slices.ContainsFunc(v.members, func(m member) bool { return m.Settled < self.since() })
}

// undrained says what a node that is draining still waits for.
func (v *view) undrained() string {
	var late []string
	self := v.member(v.self)
	for _, m := range v.members {
		if self.State != stateDraining || m.Settled < self.since() {
			late = append(late, m.ID)
		}
	}
	return fmt.Sprintf("it holds %d parts, and these have not seen that it leaves: %s", len(self.Holding), strings.Join(late, ", "))
}

// member gives the member of that id, nil if there is none.
func (v *view) member(id string) *member {
	if i := slices.IndexFunc(v.members, func(m member) bool { return m.ID == id }); i >= 0 {
		return &v.members[i]
	}
	return nil
}

// owner is the member that owns the aggregate, nil when there is none. All who see the
// same members agree on it: it is the one with the highest score, so a member that comes
// or goes moves only what becomes or was its own.
func (v *view) owner(ref holdfast.Ref) *member {
	return v.best(ref, keyOf(ref), func(m *member) bool { return m.eligible(ref.Type) })
}

// best is the member with the highest score among those that count.
func (v *view) best(ref holdfast.Ref, key uint64, counts func(*member) bool) *member {
	var best *member
	var most uint64
	for i := range v.members {
		m := &v.members[i]
		if !counts(m) {
			continue
		}
		if s := mix(key ^ m.hash); best == nil || s > most || s == most && m.ID > best.ID {
			best, most = m, s
		}
	}
	return best
}

// mine reports whether this node owns the aggregate.
func (v *view) mine(ref holdfast.Ref) bool {
	if v.self == "" {
		return false
	}
	o := v.owner(ref)
	return o != nil && o.ID == v.self
}

// holder is a member other than this node that may still hold the aggregate, which this
// node owns; nil when there is none.
//
// A member has released, at the revision that it has settled, what it did not own then.
// So it can only hold what it has owned since, and that it cannot have owned if somebody
// who has been there all that time and still is has a higher score.
func (v *view) holder(ref holdfast.Ref) *member {
	if !v.moving {
		return nil
	}
	key := keyOf(ref)
	for i := range v.members {
		p := &v.members[i]
		if p.ID == v.self {
			continue
		}
		// JSON has made of the bytes that are no UTF-8 what the conversion makes of them.
		if len(p.Holding) > 0 && slices.Contains(p.Holding, string([]rune(ref.String()))) {
			return p
		}
		if p.State != stateUp && p.Settled >= p.since() {
			continue
		}
		best := v.best(ref, key, func(q *member) bool {
			return q == p || q.eligible(ref.Type) && q.since() <= p.Settled
		})
		if best == p {
			return p
		}
	}
	return nil
}

func keyOf(ref holdfast.Ref) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(ref.Type))
	_, _ = h.Write([]byte{'/'})
	_, _ = h.Write([]byte(ref.ID))
	return h.Sum64()
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
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
