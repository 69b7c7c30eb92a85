package bench

// flood has 4,000 commands on their way to 10,000 accounts: what can be had at the most.
type flood struct{ deposits }

func newFlood(o options) workload {
	ids := idsOf(o.atMost(10_000))
	return &flood{deposits{ids: ids, callers: []int{o.atMost(4000)}, pick: evenly(ids), earlier: 4}}
}
