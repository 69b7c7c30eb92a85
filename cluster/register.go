package cluster

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A register is the bucket as one node knows it. It reads no clock.
type register struct {
	entries  map[string]*entry
	revision uint64            // all changes up to here have been applied
	before   map[string]*entry // of the last one, which had them when they were heard of
}

type entry struct {
	record
	revision uint64
	seen     time.Time // when this node heard of the revision
	expired  bool      // the bucket says so
}

// newRegister makes one that knows nothing but when this node has heard of what stood in the
// last one that it had, if any: what is not renewed is not heard of anew.
func newRegister(last *register) *register {
	r := &register{entries: map[string]*entry{}}
	if last != nil {
		if r.before = last.entries; len(r.before) == 0 { // it has not come to read anything
			r.before = last.before
		}
	}
	return r
}

// replace takes everything that is there. What is not among it has gone; but if it is
// older than what is known, as a replica tells it that lags behind, it is left.
func (r *register) replace(all []change, now time.Time) {
	var revision uint64
	there := map[string]bool{}
	for _, c := range all {
		revision, there[c.id] = max(revision, c.revision), c.record != nil || c.expired
	}
	if revision < r.revision {
		return
	}
	maps.DeleteFunc(r.entries, func(id string, _ *entry) bool { return !there[id] })
	for _, c := range all {
		if e := r.entries[c.id]; e == nil || c.revision > e.revision {
			r.take(c, now)
		}
	}
	r.revision = revision
}

// apply takes one change. A replica that lags behind tells some that are known already.
func (r *register) apply(c change, now time.Time) {
	if c.revision > r.revision {
		r.revision = c.revision
		r.take(c, now)
	}
}

func (r *register) take(c change, now time.Time) {
	e := r.entries[c.id]
	switch {
	case c.record != nil:
		if b := r.before[c.id]; b != nil && b.revision == c.revision {
			now = b.seen
		}
		r.entries[c.id] = &entry{record: *c.record, revision: c.revision, seen: now}
	case e == nil:
	case c.expired:
		e.expired = true
	default:
		delete(r.entries, c.id)
	}
}

// members gives those who are there, in the order of their ids, and when that changes by
// itself: a member that has expired in the bucket is there until its lease is over by
// this node's clock, too, for the bucket's may have jumped. The time is zero if never.
func (r *register) members(now time.Time) (members []member, changes time.Time) {
	for id, e := range r.entries {
		if over := e.seen.Add(e.Lease); e.expired {
			if !over.After(now) {
				delete(r.entries, id)
				continue
			}
			if changes.IsZero() || over.Before(changes) {
				changes = over
			}
		}
		members = append(members, member{record: e.record, revision: e.revision})
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.ID, b.ID) })
	return members, changes
}

// silent gives those who have not renewed their record for twice their lease, though the
// bucket keeps it: its clock has been set.
func (r *register) silent(now time.Time) (silent []member) {
	for _, e := range r.entries {
		if !e.expired && !e.seen.Add(2*e.Lease).After(now) {
			silent = append(silent, member{record: e.record, revision: e.revision})
		}
	}
	return silent
}
