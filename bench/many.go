package bench

// many has 64 callers of 1,000 accounts, picked evenly, or few of them often.
type many struct{ deposits }

func newMany(o options) workload {
	ids := idsOf(o.atMost(1000))
	pick := evenly(ids)
	if o.zipf {
		pick = unevenly(ids)
	}
	return &many{deposits{ids: ids, callers: []int{o.atMost(64)}, pick: pick, earlier: fullTrail}}
}
