package report

import (
	"fmt"
	"io"
	"slices"
)

// What is flat: the last third of the rounds has no more than so many times what the first third
// had. Times vary from round to round, so that medians are compared. On the heap there are
// caches that come and go, of the servers above all, so that the least is.
const (
	flatHeap = 1.1
	flatP99  = 1.5
)

// A Flat says whether what ran for long stayed as it was.
type Flat struct {
	// Heap and P99 are those of the last third of the rounds over those of the first: of the one
	// the least, of the other the median.
	Heap float64 `json:"heap"`
	P99  float64 `json:"p99"`
	// Is: neither has grown by more than what counts as flat.
	Is bool `json:"is"`
}

// flatness compares the last third of the rounds with the first. There is at least one round.
func flatness(rounds []Round) *Flat {
	third := max(1, len(rounds)/3)
	var heaps, p99s []float64
	for _, r := range rounds {
		heaps, p99s = append(heaps, float64(r.Heap)), append(p99s, r.Ours.P99)
	}
	f := &Flat{
		Heap: over(slices.Min(heaps[len(heaps)-third:]), slices.Min(heaps[:third])),
		P99:  over(Median(p99s[len(p99s)-third:]), Median(p99s[:third])),
	}
	f.Is = f.Heap <= flatHeap && f.P99 <= flatP99
	return f
}

// Steady adds how the rounds, of which r was made, differ over time.
func (r Result) Steady(rounds []Round) Result {
	r.Flat = flatness(rounds)
	for _, one := range rounds {
		r.P99s = append(r.P99s, one.Ours.P99)
	}
	return r
}

// Tenth reports whether a round, counted from 1, ends another tenth of all of them.
func Tenth(round, rounds int) bool { return round*10/rounds > (round-1)*10/rounds }

// Course is what is told of one round, counted from 1.
func (r Round) Course(round, rounds int) string {
	return course(round, rounds, r.Ours.P99, r.Heap)
}

func course(round, rounds int, p99 float64, heap uint64) string {
	return fmt.Sprintf("round %d of %d: p99 %s, heap %s", round, rounds, Micros(p99), bytes(heap))
}

// overTime writes a line for each tenth of the rounds, and whether they were flat.
func (r Result) overTime(w io.Writer) {
	if r.Flat == nil {
		return
	}
	for i, p99 := range r.P99s {
		if Tenth(i+1, len(r.P99s)) && i < len(r.Heaps) {
			fmt.Fprintf(w, "  %s\n", course(i+1, len(r.P99s), p99, r.Heaps[i]))
		}
	}
	verdict := "Not flat"
	if r.Flat.Is {
		verdict = "Flat"
	}
	fmt.Fprintf(w, "  %s: in the last third of the rounds p99 was %s × that of the first third, and the heap %s ×; flat is at most %s × and %s ×.\n",
		verdict, Times(r.Flat.P99), Times(r.Flat.Heap), Times(flatP99), Times(flatHeap))
}
