package bench

// oneCaller has one caller of one account: what Holdfast adds to the time of one publish.
type oneCaller struct{ deposits }

func newOneCaller(options) workload {
	ids := idsOf(1)
	return &oneCaller{deposits{ids: ids, callers: []int{1}, pick: evenly(ids), earlier: fullTrail}}
}
