package persistence

import "testing"

// TestRangesAreASet takes numbers from every set of 1 to 10, in several orders.
func TestRangesAreASet(t *testing.T) {
	const most = 10
	for set := range 1 << most {
		for _, step := range []uint64{1, 5, 12} { // 13 is prime: every number comes once
			var r ranges
			want := map[uint64]bool{}
			for n := uint64(1); n <= most; n++ {
				if set>>(n-1)&1 == 0 {
					continue
				}
				first := n
				for ; n <= most && set>>(n-1)&1 == 1; n++ {
					want[n] = true
				}
				r.add(first, n-1)
			}
			for i := range uint64(13) {
				n := i * step % 13
				if got := r.take(n); got != want[n] {
					t.Fatalf("set %b: take(%d) is %t, want %t", set, n, got, want[n])
				}
				if delete(want, n); size(r) != len(want) {
					t.Fatalf("set %b: %d are left after take(%d), want %d", set, size(r), n, len(want))
				}
			}
		}
	}
}

func size(r ranges) int {
	n := 0
	for _, x := range r {
		n += int(x.last - x.first + 1)
	}
	return n
}
