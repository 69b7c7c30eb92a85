package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Format is that of the documents that this package writes.
const Format = 1

// A Document is one run of the benchmarks.
type Document struct {
	Format   int      `json:"format"`
	Machine  Machine  `json:"machine"`
	Versions Versions `json:"versions"`
	Method   Method   `json:"method"`
	// Began is when.
	Began time.Time `json:"began"`
	// Complete: nothing failed or was interrupted.
	Complete bool     `json:"complete"`
	Results  []Result `json:"results"`
}

// A Machine is where it was measured.
type Machine struct {
	System string `json:"system"`
	CPU    string `json:"cpu,omitempty"`
	Cores  int    `json:"cores"`
	// Fsync is how long one of 4 KiB took in the folder of the servers: the median, in
	// microseconds.
	Fsync float64 `json:"fsync_us"`
}

// Versions are those of what was measured.
type Versions struct {
	Holdfast   string `json:"holdfast,omitempty"`
	Go         string `json:"go"`
	NATSServer string `json:"nats_server,omitempty"`
	NATSGo     string `json:"nats_go,omitempty"`
}

// A Method is how it was measured.
type Method struct {
	Rounds int `json:"rounds"`
	// For is how long each side ran in a round.
	For string `json:"for"`
	// Text says the rest, for people.
	Text string `json:"text"`
}

// A Result is what came of one workload in one mode.
type Result struct {
	Workload string `json:"workload"`
	Mode     string `json:"mode"`
	// Unit is what is counted, in the plural.
	Unit string `json:"unit"`
	// Rounds that were completed.
	Rounds int `json:"rounds"`
	// Ours and Raw are the medians of all rounds, and Raw is of the better of the raw sides in
	// each; By says which that was most often.
	Ours Figures `json:"ours"`
	Raw  Figures `json:"raw"`
	By   string  `json:"raw_by"`
	// Ratios are of ours to raw, round by round.
	Ratios []Ratio `json:"ratios"`
	// Heaps is what was alive on the heap of the process after each round, and Memory what it
	// had of the system after the last, servers included, in bytes.
	Heaps  []uint64 `json:"heap_bytes"`
	Memory uint64   `json:"memory_bytes"`
	// Servers is what of the heap the servers have allocated, about, of what is run to see that.
	Servers []uint64 `json:"servers_bytes,omitempty"`
	// P99s are those of ours, round by round, and Flat says whether they stayed as they were,
	// of what is run to see that.
	P99s []float64 `json:"p99s_us,omitempty"`
	Flat *Flat     `json:"flat,omitempty"`
	// Verified says what was found in the store.
	Verified string `json:"verified"`
}

// A Ratio is of one figure of ours to that of the raw side.
type Ratio struct {
	// Figure is rate, p50, p99 or cpu.
	Figure string `json:"figure"`
	// Higher: it is better when it is higher.
	Higher bool `json:"higher_is_better"`
	// Judged: [Compare] looks at it. The others vary too much from run to run.
	Judged bool `json:"judged"`
	Spread
}

// figures are those of which ratios are made.
var figures = []struct {
	name   string
	higher bool
	of     func(Figures) float64
}{
	{"rate", true, func(f Figures) float64 { return f.PerSecond }},
	{"p50", false, func(f Figures) float64 { return f.P50 }},
	{"p99", false, func(f Figures) float64 { return f.P99 }},
	{"cpu", false, func(f Figures) float64 { return f.CPU }},
}

// A Round is what one round gave: ours, and the best of those beside it.
type Round struct {
	Ours, Raw Figures
	By        string
	// Heap is what is alive on the heap afterwards, in bytes.
	Heap uint64
	// Servers is what of it the servers have allocated, where that is asked for.
	Servers uint64
}

// NewRound takes of the raw samples, of which there is at least one, the one with the highest
// rate.
func NewRound(ours Sample, raw ...Sample) Round {
	r := Round{Ours: ours.Figures()}
	for _, s := range raw {
		if f := s.Figures(); r.By == "" || f.PerSecond > r.Raw.PerSecond {
			r.Raw, r.By = f, s.By
		}
	}
	return r
}

// Summarise makes a result of rounds, of which there is at least one. Judged are the names of
// the ratios that count.
func Summarise(rounds []Round, judged ...string) Result {
	res := Result{Rounds: len(rounds)}
	var ours, raw []Figures
	won := map[string]int{}
	for _, r := range rounds {
		ours, raw, res.Heaps = append(ours, r.Ours), append(raw, r.Raw), append(res.Heaps, r.Heap)
		if won[r.By]++; won[r.By] > won[res.By] {
			res.By = r.By
		}
	}
	res.Ours, res.Raw = medians(ours), medians(raw)
	for _, f := range figures {
		var ratios []float64
		for _, r := range rounds {
			if b := f.of(r.Raw); b > 0 && f.of(r.Ours) > 0 {
				ratios = append(ratios, f.of(r.Ours)/b)
			}
		}
		if len(ratios) > 0 {
			res.Ratios = append(res.Ratios, Ratio{Figure: f.name, Higher: f.higher, Judged: slices.Contains(judged, f.name), Spread: SpreadOf(ratios)})
		}
	}
	return res
}

// Ratio gives the one of a figure.
func (r Result) Ratio(figure string) (Ratio, bool) {
	i := slices.IndexFunc(r.Ratios, func(x Ratio) bool { return x.Figure == figure })
	if i < 0 {
		return Ratio{}, false
	}
	return r.Ratios[i], true
}

// Encode gives the document as JSON, for a file or a program.
func (d Document) Encode() ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the results: %w", err)
	}
	return append(text, '\n'), nil
}

// Read reads a document from a file. The error says what is wrong with it.
func Read(path string) (Document, error) {
	var d Document
	text, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s is not a document of benchmarks: %w", path, err)
	}
	if d.Format != Format {
		return d, fmt.Errorf("%s has format %d, this release reads %d: measure again with --out", path, d.Format, Format)
	}
	if len(d.Results) == 0 {
		return d, errors.New(path + " has no results: measure again with --out")
	}
	return d, nil
}
