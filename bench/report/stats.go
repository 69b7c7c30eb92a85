package report

import (
	"slices"
	"time"
)

// Percentile gives the duration that the share p of all, between 0 and 1, does not exceed. The
// durations are sorted. It is 0 when there are none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// Median gives the middle one, or the mean of the two in the middle; 0 when there is none.
func Median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(x))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// A Spread is what several rounds gave.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// SpreadOf gives that of x, which is not empty.
func SpreadOf(x []float64) Spread {
	return Spread{Min: slices.Min(x), Median: Median(x), Max: slices.Max(x)}
}

// A Sample is what one side did in one round.
type Sample struct {
	// By is who did it, in a word or two.
	By string
	// Ops is how often, and Took for how long.
	Ops  int
	Took time.Duration
	// Times is how long each took. Figures sorts it.
	Times []time.Duration
	// CPU is what the process used meanwhile, the server in it included; 0 when that is not
	// known. Allocs is how many allocations it made.
	CPU    time.Duration
	Allocs uint64
}

// Figures are what a sample comes to. Times are in microseconds.
type Figures struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	// CPU is the processor time that one operation takes, the server's share included; 0 when
	// the system does not tell.
	CPU    float64 `json:"cpu_us"`
	Allocs float64 `json:"allocs"`
}

// Figures gives what s comes to.
func (s Sample) Figures() Figures {
	slices.Sort(s.Times)
	return Figures{
		PerSecond: over(float64(s.Ops), s.Took.Seconds()),
		P50:       micros(Percentile(s.Times, 0.5)),
		P99:       micros(Percentile(s.Times, 0.99)),
		P999:      micros(Percentile(s.Times, 0.999)),
		CPU:       over(micros(s.CPU), float64(s.Ops)),
		Allocs:    over(float64(s.Allocs), float64(s.Ops)),
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// over divides, and gives 0 when there is nothing to divide by.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// medians gives the median of each figure.
func medians(all []Figures) Figures {
	of := func(figure func(Figures) float64) float64 {
		x := make([]float64, len(all))
		for i, f := range all {
			x[i] = figure(f)
		}
		return Median(x)
	}
	return Figures{
		PerSecond: of(func(f Figures) float64 { return f.PerSecond }),
		P50:       of(func(f Figures) float64 { return f.P50 }),
		P99:       of(func(f Figures) float64 { return f.P99 }),
		P999:      of(func(f Figures) float64 { return f.P999 }),
		CPU:       of(func(f Figures) float64 { return f.CPU }),
		Allocs:    of(func(f Figures) float64 { return f.Allocs }),
	}
}
