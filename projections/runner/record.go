package runner

import (
	"maps"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast"
)

// A Record is what the nodes agree on about a projection.
type Record struct {
	Name string `json:"name"`
	// Serving answers queries, Building is made beside it, and Previous served before it: each
	// the number of a generation, or 0.
	Serving  uint64 `json:"serving"`
	Building uint64 `json:"building,omitempty"`
	Previous uint64 `json:"previous,omitempty"`
	// Last is the last generation that was ever begun, and Newest that of the newest build
	// that has run.
	Last   uint64     `json:"last"`
	Newest Generation `json:"newest"`
	// Generations are those that are kept, and Dropped the last ones that are not any more.
	Generations map[uint64]Generation `json:"generations"`
	Dropped     []uint64              `json:"dropped,omitempty"`
	Paused      *Pause                `json:"paused,omitempty"`
	// Resets and Orders are what operators have asked for: the last of them, in order. Count
	// numbers them.
	Resets []Reset `json:"resets,omitempty"`
	Orders []Order `json:"orders,omitempty"`
	Count  uint64  `json:"count,omitempty"`
}

// A Generation is bound to the definition with which it was begun.
type Generation struct {
	Revision int       `json:"revision"`
	Shards   int       `json:"shards"`
	Begun    time.Time `json:"begun,omitzero"`
	// By is who asked for it; empty when it was a new revision.
	By string `json:"by,omitempty"`
}

// A Pause says since when and why a projection does not go on.
type Pause struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Since  time.Time `json:"since"`
	// At are the positions, one a partition, up to which each generation still goes on and no
	// further, so that they can be compared; a partition without one stops where it is.
	At []string `json:"at,omitempty"`
}

// A Reset sets how far the serving generation has come. It happens once in each unit.
type Reset struct {
	Number     uint64 `json:"number"`
	Generation uint64 `json:"generation"`
	// To is the position after which it goes on, in its partition; or, when it is empty, Time:
	// it goes on with what the log has had since then, in all partitions.
	To   string    `json:"to,omitempty"`
	Time time.Time `json:"time,omitzero"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

// An Act is what an [Order] is for.
type Act string

// The acts.
const (
	// Retry: what is parked under the key is tried again; without a key, all that is.
	Retry Act = "retry"
	// Skip: the event is left out, whether it is parked or not handled yet.
	Skip Act = "skip"
)

// An Order is what an operator wants done by whoever works on a unit. It may be done twice.
type Order struct {
	Number uint64 `json:"number"` // given by the register
	// Generation that is meant; that which serves when it is 0.
	Generation uint64 `json:"generation"`
	Act        Act    `json:"act"`
	Key        string `json:"key,omitempty"`
	// Event is the id of the one to skip.
	Event  string    `json:"event,omitempty"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by"`
	At     time.Time `json:"at"` // given by the register
}

// kept is how many resets, orders and dropped generations a record remembers.
const kept = 100

// clone copies what the changes below write to.
func (r Record) clone() Record {
	generations := make(map[uint64]Generation, len(r.Generations)+1)
	maps.Copy(generations, r.Generations)
	r.Generations = generations
	r.Dropped, r.Resets, r.Orders = slices.Clone(r.Dropped), slices.Clone(r.Resets), slices.Clone(r.Orders)
	return r
}

// declare has a record know of a build. It reports whether that changes it: a build of a newer
// revision begins a generation of its own.
func (r *Record) declare(g Generation, now time.Time) bool {
	g.Begun = now
	switch {
	case r.Last == 0:
		r.Serving, r.Last, r.Newest = 1, 1, g
		r.Generations = map[uint64]Generation{1: g}
		return true
	case g.Revision <= r.Newest.Revision:
		return false
	}
	r.Newest = g
	if r.Building != 0 {
		r.forget(r.Building)
	}
	r.build(g)
	return true
}

func (r *Record) build(g Generation) {
	r.Last++
	r.Building = r.Last
	r.Generations[r.Last] = g
}

// rebuild begins a generation of the newest build.
func (r *Record) rebuild(by string, now time.Time) error {
	if r.Building != 0 {
		return holdfast.Errorf(holdfast.CodeConflict, "generation %d of %s is being built already: switch to it, or drop it first", r.Building, r.Name)
	}
	g := r.Newest
	g.Begun, g.By = now, by
	r.build(g)
	return nil
}

func (r *Record) forget(n uint64) {
	delete(r.Generations, n)
	r.Dropped = last(append(r.Dropped, n))
	switch n {
	case r.Building:
		r.Building = 0
	case r.Previous:
		r.Previous = 0
	}
}

func (r *Record) switchOver(n uint64) error {
	switch {
	case r.Building == 0:
		return holdfast.Errorf(holdfast.CodeConflict, "no generation of %s is being built: rebuild it first", r.Name)
	case n != 0 && n != r.Building:
		return holdfast.Errorf(holdfast.CodeConflict, "generation %d of %s is not being built any more, but %d: look at that one first", n, r.Name, r.Building)
	}
	if r.Previous != 0 {
		r.forget(r.Previous)
	}
	r.Previous, r.Serving, r.Building = r.Serving, r.Building, 0
	return nil
}

func (r *Record) switchBack() error {
	if r.Previous == 0 {
		return holdfast.Errorf(holdfast.CodeConflict, "no generation of %s has served before: there is nothing to switch back to", r.Name)
	}
	r.Previous, r.Serving = r.Serving, r.Previous
	return nil
}

func (r *Record) drop(n uint64) error {
	switch {
	case n == 0 || n != r.Building && n != r.Previous && n != r.Serving:
		return holdfast.Errorf(holdfast.CodeUnknown, "there is no generation %d of %s to drop", n, r.Name)
	case n == r.Serving:
		return holdfast.Errorf(holdfast.CodeConflict, "generation %d of %s serves: switch to another one first", n, r.Name)
	}
	r.forget(n)
	return nil
}

func (r *Record) order(o Order, now time.Time) error {
	switch {
	case o.Act != Retry && o.Act != Skip:
		return holdfast.Errorf(holdfast.CodeMalformed, "act %q: choose %s or %s", o.Act, Retry, Skip)
	case o.Act == Skip && o.Event == "":
		return holdfast.Errorf(holdfast.CodeMalformed, "event: name the one to skip, by its id")
	case o.Act == Skip && o.Reason == "":
		return holdfast.Errorf(holdfast.CodeMalformed, "reason: say why the event %s is skipped", o.Event)
	case o.Generation == 0:
		o.Generation = r.Serving
	}
	if _, ok := r.Generations[o.Generation]; !ok {
		return holdfast.Errorf(holdfast.CodeUnknown, "there is no generation %d of %s", o.Generation, r.Name)
	}
	r.Count++
	o.Number, o.At = r.Count, now
	r.Orders = last(append(r.Orders, o))
	return nil
}

func (r *Record) reset(to Reset, now time.Time) error {
	position, err := holdfast.ParsePosition(to.To)
	switch {
	case (to.To == "") == to.Time.IsZero():
		return holdfast.Errorf(holdfast.CodeMalformed, "reset of %s: give a position, or a time", r.Name)
	case to.To != "" && err != nil:
		return holdfast.Errorf(holdfast.CodeMalformed, "reset of %s: %w", r.Name, err)
	}
	r.Resets = slices.DeleteFunc(r.Resets, func(old Reset) bool {
		at, err := holdfast.ParsePosition(old.To)
		return to.To == "" || err == nil && at.Partition() == position.Partition()
	})
	r.Count++
	to.Number, to.Generation, to.At = r.Count, r.Serving, now
	r.Resets = last(append(r.Resets, to))
	return nil
}

func last[E any](all []E) []E { return all[max(0, len(all)-kept):] }

// resetOf gives the last reset that concerns a partition of a generation; its Number is 0 when
// there is none.
func (r Record) resetOf(generation uint64, partition uint32) (found Reset) {
	for _, to := range r.Resets {
		at, err := holdfast.ParsePosition(to.To)
		if to.Generation == generation && (to.To == "" || err == nil && at.Partition() == partition) {
			found = to
		}
	}
	return found
}

// stopsAt gives the sequence of a partition at which a paused projection stops: all that it
// has done is enough when none is named.
func (p *Pause) stopsAt(partition uint32) uint64 {
	for _, text := range p.At {
		if at, err := holdfast.ParsePosition(text); err == nil && at.Partition() == partition {
			return at.Sequence()
		}
	}
	return 0
}
