package bench

// hot has 64 callers of one account. The raw engine takes one publish at a time on a subject
// that is guarded; Holdfast records together what waits together.
type hot struct{ deposits }

func newHot(o options) workload {
	ids := idsOf(1)
	return &hot{deposits{ids: ids, callers: []int{o.atMost(64)}, pick: evenly(ids), earlier: fullTrail}}
}
