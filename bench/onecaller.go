package bench

// oneCaller has one caller of one account: what Holdfast adds to the time of one publish.
type oneCaller struct{ deposits }

func newOneCaller(options) workload {
	return &oneCaller{deposits{accounts: 1, callers: 1, pick: among(1), earlier: fullTrail}}
}
