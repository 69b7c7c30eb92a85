package report

import (
	"fmt"
	"io"
	"slices"
)

// What is flat: the last third of the rounds has no more than so many times what the first third
// had. Times vary from round to round, so that medians are compared; of the heap the least, since
// some of it comes and goes. What the servers have of it grows with the log, for the raw engine
// as well, and does not count.
const (
	flatHeap = 1.1
	flatP99  = 1.5
)

// A Flat says whether what ran for long stayed as it was.
type Flat struct {
	// Heap, but for what the servers have, Servers, what these have, and P99 are those of the last
	// third of the rounds over those of the first: of the last the median, of the others the least.
	Heap    float64 `json:"heap"`
	Servers float64 `json:"servers"`
	P99     float64 `json:"p99"`
	// Is: neither Heap nor P99 has grown by more than what counts as flat.
	Is bool `json:"is"`
}

// flatness compares the last third of the rounds with the first. There is at least one round.
func flatness(rounds []Round) *Flat {
	third := max(1, len(rounds)/3)
	least := func(x []float64) float64 { return slices.Min(x) }
	grown := func(of func(Round) float64, take func([]float64) float64) float64 {
		var all []float64
		for _, r := range rounds {
			all = append(all, of(r))
		}
		return over(take(all[len(all)-third:]), take(all[:third]))
	}
	f := &Flat{
		Heap:    grown(func(r Round) float64 { return float64(r.Heap - r.Servers) }, least),
		Servers: grown(func(r Round) float64 { return float64(r.Servers) }, least),
		P99:     grown(func(r Round) float64 { return r.Ours.P99 }, Median),
	}
	f.Is = f.Heap <= flatHeap && f.P99 <= flatP99
	return f
}

// Steady adds how the rounds, of which r was made, differ over time.
func (r Result) Steady(rounds []Round) Result {
	r.Flat = flatness(rounds)
	for _, one := range rounds {
		r.P99s, r.Servers = append(r.P99s, one.Ours.P99), append(r.Servers, one.Servers)
	}
	return r
}

// Tenth reports whether a round, counted from 1, ends another tenth of all of them.
func Tenth(round, rounds int) bool { return round*10/rounds > (round-1)*10/rounds }

// Course is what is told of one round, counted from 1.
func (r Round) Course(round, rounds int) string {
	return course(round, rounds, r.Ours.P99, r.Heap, r.Servers)
}

func course(round, rounds int, p99 float64, heap, servers uint64) string {
	return fmt.Sprintf("round %d of %d: p99 %s, heap %s and %s of the servers", round, rounds, Micros(p99), bytes(heap-servers), bytes(servers))
}

// overTime writes a line for each tenth of the rounds, and whether they were flat.
func (r Result) overTime(w io.Writer) {
	if r.Flat == nil {
		return
	}
	for i, p99 := range r.P99s {
		if Tenth(i+1, len(r.P99s)) && i < len(r.Heaps) && i < len(r.Servers) {
			fmt.Fprintf(w, "  %s\n", course(i+1, len(r.P99s), p99, r.Heaps[i], r.Servers[i]))
		}
	}
	fmt.Fprintf(w, "  %s\n", r.Flat)
}

// String is a sentence.
func (f Flat) String() string {
	verdict := "Not flat"
	if f.Is {
		verdict = "Flat"
	}
	return fmt.Sprintf("%s: in the last third of the rounds p99 was %s × that of the first third, and the heap %s ×; flat is at most %s × and %s ×. The servers had %s ×.",
		verdict, Times(f.P99), Times(f.Heap), Times(flatP99), Times(flatHeap), Times(f.Servers))
}
