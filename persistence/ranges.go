package persistence

import "slices"

// ranges is a set of sequences, as ascending runs that do not touch.
type ranges []run

type run struct{ first, last uint64 }

// add adds a run that lies after all others.
func (r *ranges) add(first, last uint64) {
	*r = append(*r, run{first, last})
}

// take removes n and reports whether it was there.
func (r *ranges) take(n uint64) bool {
	i, found := slices.BinarySearchFunc(*r, n, func(x run, n uint64) int {
		switch {
		case x.last < n:
			return -1
		case x.first > n:
			return 1
		}
		return 0
	})
	if !found {
		return false
	}
	x := (*r)[i]
	var rest []run
	if x.first < n {
		rest = append(rest, run{x.first, n - 1})
	}
	if n < x.last {
		rest = append(rest, run{n + 1, x.last})
	}
	*r = slices.Replace(*r, i, i+1, rest...)
	return true
}
