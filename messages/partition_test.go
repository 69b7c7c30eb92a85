package messages_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

// TestPartitionOf holds values that must never move: an aggregate whose partition
// changes has lost its log. They were computed by another program from docs/wire.md.
func TestPartitionOf(t *testing.T) {
	for _, tt := range []struct {
		typ, id   string // the id encoded
		of4, of16 uint32
	}{
		{"account", "a-1", 2, 2},
		{"account", "a-2", 2, 6},
		{"account", "A-1", 0, 12},
		{"account2", "a-1", 2, 14},
		{"order", "o-1", 3, 3},
		{"order", "o=2E1", 2, 6},
		{"order_line", "1", 0, 12},
		{"family", "f-0001", 0, 4},
		{"family", "=C3=BC", 2, 6},
		{"t", "=00", 3, 11},
		{"t", "=2A", 2, 6},
		{"t", "=3E", 0, 8},
		{"t", "=7F", 3, 15},
		{"t", "t", 2, 10},
		{"transfer", "7f3c1c9e-2b1d-4f0e-9a55-0d5f0f7a1b2c", 2, 2},
		{"counter", "0", 2, 2},
		{"counter", "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000", 2, 6},
	} {
		id, err := messages.ParseID(tt.id)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []struct{ n, want uint32 }{{0, 0}, {1, 0}, {4, tt.of4}, {16, tt.of16}} {
			if got := messages.PartitionOf(tt.typ, id, w.n); got != w.want {
				t.Errorf("PartitionOf(%s, %s, %d) = %d, want %d: it must never move", tt.typ, tt.id, w.n, got, w.want)
			}
		}
	}
}

// TestPartitionsAreEven: ids that people give, which differ in a digit or two, spread
// over any number of partitions as by chance.
func TestPartitionsAreEven(t *testing.T) {
	const ids = 20_000
	for _, form := range []string{"%d", "o-%d", "2026-%06d", "%08x"} {
		for _, n := range []uint32{2, 3, 4, 7, 16, 64} {
			counts := make([]int, n)
			for i := range ids {
				p := messages.PartitionOf("order", mustID(t, fmt.Sprintf(form, i)), n)
				if p >= n {
					t.Fatalf("PartitionOf(…, %d) = %d", n, p)
				}
				counts[p]++
			}
			mean := float64(ids) / float64(n)
			for p, c := range counts {
				if off := math.Abs(float64(c) - mean); off > 5*math.Sqrt(mean) {
					t.Errorf("ids %q over %d partitions: %d in partition %d, the mean is %.0f", form, n, c, p, mean)
				}
			}
		}
	}
}
