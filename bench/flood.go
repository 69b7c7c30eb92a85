package bench

// flood has 4,000 commands on their way to 10,000 accounts: what can be had at the most.
type flood struct{ deposits }

func newFlood(o options) workload {
	n := o.atMost(10_000)
	return &flood{deposits{accounts: n, callers: o.atMost(4000), pick: among(n), earlier: 4}}
}
