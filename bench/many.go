package bench

// many has 64 callers of 1,000 accounts, picked evenly, or few of them often.
type many struct{ deposits }

func newMany(o options) workload {
	n := o.atMost(1000)
	pick := among(n)
	if o.zipf {
		pick = unevenly(n)
	}
	return &many{deposits{accounts: n, callers: o.atMost(64), pick: pick, earlier: fullTrail}}
}
