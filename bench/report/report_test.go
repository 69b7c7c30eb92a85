package report_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/bench/report"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares a text with that in a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		times []time.Duration
		p     float64
		want  time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0, 7},
		{[]time.Duration{7}, 0.999, 7},
		{hundred, 0, 1},
		{hundred, 0.5, 51},
		{hundred, 0.99, 100},
		{hundred, 1, 100},
	} {
		if got := report.Percentile(c.times, c.p); got != c.want {
			t.Errorf("the share %v of %d: got %d, want %d", c.p, len(c.times), got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		x    []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 3}, 2.5},
	} {
		before := append([]float64(nil), c.x...)
		if got := report.Median(c.x); got != c.want {
			t.Errorf("of %v: got %v, want %v", c.x, got, c.want)
		}
		if !reflect.DeepEqual(c.x, before) {
			t.Errorf("%v was sorted: %v", before, c.x)
		}
	}
}

// sample is one in which each of ops took so long, one after the other.
func sample(by string, ops int, each time.Duration) report.Sample {
	s := report.Sample{By: by, Ops: ops, Took: time.Duration(ops) * each, CPU: time.Duration(ops) * each / 2, Allocs: uint64(10 * ops)}
	for range ops {
		s.Times = append(s.Times, each)
	}
	return s
}

func TestFigures(t *testing.T) {
	t.Parallel()
	got := sample("x", 100, 2*time.Millisecond).Figures()
	want := report.Figures{PerSecond: 500, P50: 2000, P99: 2000, P999: 2000, CPU: 1000, Allocs: 10}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (report.Sample{}).Figures(); got != (report.Figures{}) {
		t.Errorf("of nothing: got %+v", got)
	}
}

// TestRatios: what counts is ours to the better of the raw sides of the same round.
func TestRatios(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	r := report.Summarise([]report.Round{
		report.NewRound(sample("us", 100, 2*ms), sample("slow", 100, 5*ms), sample("fast", 100, ms)),
		report.NewRound(sample("us", 100, 4*ms), sample("slow", 100, 5*ms), sample("fast", 100, ms)),
		report.NewRound(sample("us", 100, 3*ms), sample("slow", 100, ms), sample("fast", 100, 4*ms)),
	}, "rate")
	if r.By != "fast" || r.Rounds != 3 {
		t.Errorf("got by %q in %d rounds", r.By, r.Rounds)
	}
	rate, _ := r.Ratio("rate")
	if want := (report.Ratio{Figure: "rate", Higher: true, Judged: true, Spread: report.Spread{Min: 0.25, Median: 1 / 3., Max: 0.5}}); !near(rate.Spread, want.Spread) || rate.Higher != want.Higher || rate.Judged != want.Judged {
		t.Errorf("rate: got %+v, want %+v", rate, want)
	}
	p50, _ := r.Ratio("p50")
	if want := (report.Spread{Min: 2, Median: 3, Max: 4}); !near(p50.Spread, want) || p50.Higher || p50.Judged {
		t.Errorf("p50: got %+v, want %+v", p50, want)
	}
}

func near(a, b report.Spread) bool {
	const little = 1e-9
	off := func(x, y float64) bool { return x-y > little || y-x > little }
	return !off(a.Min, b.Min) && !off(a.Median, b.Median) && !off(a.Max, b.Max)
}

// TestNoCPU: where the system does not tell, there is no ratio of it.
func TestNoCPU(t *testing.T) {
	t.Parallel()
	one := sample("x", 10, time.Millisecond)
	one.CPU = 0
	r := report.Summarise([]report.Round{report.NewRound(one, one)})
	if x, ok := r.Ratio("cpu"); ok {
		t.Errorf("got %+v", x)
	}
}

func document(workload string, ours, raw time.Duration, more ...report.Result) report.Document {
	r := report.Summarise([]report.Round{
		report.NewRound(sample("us", 1000, ours), sample("nats.go", 1000, raw)),
		report.NewRound(sample("us", 1000, ours*11/10), sample("nats.go", 1000, raw)),
	}, "rate", "p50")
	r.Workload, r.Mode, r.Unit = workload, "always", "commands"
	r.Verified, r.Heaps, r.Memory = "2000 deposits were answered, all are in the log once", []uint64{20 << 20, 21 << 20}, 64<<20
	return report.Document{
		Format:   report.Format,
		Machine:  report.Machine{System: "linux/amd64", CPU: "Some CPU", Cores: 2, Fsync: 93.4},
		Versions: report.Versions{Holdfast: "v1.2.3", Go: "go1.26", NATSServer: "v2.15.2"},
		Method:   report.Method{Rounds: 2, For: "1s", Text: "in turns; side by side"},
		Complete: true, Results: append([]report.Result{r}, more...),
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	d := document("hot", 150*time.Microsecond, 12*time.Millisecond, document("one-caller", 2*time.Second, 9*time.Microsecond).Results...)
	d.Results[1].Ours.CPU, d.Results[1].Mode = 0, "relaxed"
	var b strings.Builder
	d.Head(&b)
	report.Table(&b, d.Results, func(mode string) string { return "One server, " + mode })
	golden(t, "table.txt", b.String())
}

// steady makes a result of rounds with such times and so many MiB on the heap, beside which the
// servers have one more in each round.
func steady(heaps []uint64, times ...time.Duration) report.Result {
	var rounds []report.Round
	for i, each := range times {
		one := report.NewRound(sample("us", 100, each), sample("raw", 100, time.Millisecond))
		one.Servers = uint64(i+1) << 20
		one.Heap = heaps[i%len(heaps)]<<20 + one.Servers
		rounds = append(rounds, one)
	}
	r := report.Summarise(rounds, "rate").Steady(rounds)
	r.Workload, r.Mode, r.Verified, r.Memory = "soak", "always", "all is there", 64<<20
	return r
}

// TestFlat: the last third of the rounds is held against the first, so that one odd round is of
// no account, and one that creeps is.
func TestFlat(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		r    report.Result
		want report.Flat
	}{
		{"one round", steady([]uint64{20}, ms), report.Flat{Heap: 1, P99: 1, Is: true}},
		{"two", steady([]uint64{20, 30}, ms, ms), report.Flat{Heap: 1.5, P99: 1}},
		{"an odd round", steady([]uint64{20}, ms, ms, ms, ms, ms, ms, 9*ms, ms, ms), report.Flat{Heap: 1, P99: 1, Is: true}},
		{"a heap that creeps", steady([]uint64{20, 21, 22, 23, 24, 25}, ms, ms, ms, ms, ms, ms), report.Flat{Heap: 1.2, P99: 1}},
		{"caches that come and go", steady([]uint64{20, 30}, ms, ms, ms, ms, ms, ms, ms, ms, ms, ms), report.Flat{Heap: 1, P99: 1, Is: true}},
		{"a heap that shrinks", steady([]uint64{20, 20, 10}, ms, ms, ms), report.Flat{Heap: 0.5, P99: 1, Is: true}},
		{"times that grow a little", steady([]uint64{20}, 10*ms, 12*ms, 15*ms), report.Flat{Heap: 1, P99: 1.5, Is: true}},
		{"times that grow", steady([]uint64{20}, 10*ms, 12*ms, 16*ms), report.Flat{Heap: 1, P99: 1.6}},
	} {
		n := len(c.r.P99s)
		if c.want.Servers = float64(n - max(1, n/3) + 1); *c.r.Flat != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, *c.r.Flat, c.want)
		}
	}
}

func TestSteadyTable(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for i := range 20 {
		times = append(times, time.Duration(i+10)*time.Millisecond)
	}
	var b strings.Builder
	report.Table(&b, []report.Result{steady([]uint64{20}, times...), steady([]uint64{20}, times[:3]...)}, func(mode string) string { return mode })
	golden(t, "steady.txt", b.String())
}

// TestPage: what stands between the two lines gives way to the document that the first names, and
// all else stays.
func TestPage(t *testing.T) {
	t.Parallel()
	d := document("hot", 150*time.Microsecond, 12*time.Millisecond, document("one-caller", 2*time.Second, 9*time.Microsecond).Results[0], steady([]uint64{20}, time.Millisecond))
	d.Results[1].Mode, d.Results[2].Mode = "relaxed", "relaxed"
	d.Began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	interrupted := document("create", time.Millisecond, time.Millisecond)
	interrupted.Complete = false
	documents := map[string]report.Document{"a.json": d, "b/c.json": interrupted}
	page := func(text string) (string, error) {
		return report.Page(text, func(file string) (report.Document, error) {
			d, ok := documents[file]
			if !ok {
				return d, fmt.Errorf("no %s", file)
			}
			return d, nil
		}, func(mode string) string { return "One server, " + mode })
	}
	got, err := page("# Speed\n\n<!-- bench: a.json -->\nold\n<!-- end of bench -->\n\nMore:\n<!-- bench: b/c.json -->\n<!-- end of bench -->\nThe end.")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "page.md", got)
	if again, err := page(got); err != nil || again != got {
		t.Errorf("a second time: got %v and\n%s", err, again)
	}
	for _, c := range []struct{ text, want string }{
		{"", "no document has a place in it"},
		{"<!-- bench: a.json -->\n", `the place of a.json has no end: add a line "<!-- end of bench -->"`},
		{"<!-- bench: a.json -->\n<!-- bench: b/c.json -->\n<!-- end of bench -->\n", "the place of a.json has no end"},
		{"<!-- bench: d.json -->\n<!-- end of bench -->\n", "no d.json"},
	} {
		if got, err := page(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %q and %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	d := document("hot", time.Millisecond, 2*time.Millisecond)
	text, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "document.json", string(text))
	got, err := report.Read(filepath.Join("testdata", "document.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, d) {
		t.Errorf("read again: got %+v, want %+v", got, d)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	old := document("hot", ms, 2*ms, document("gone", ms, ms).Results[0], document("same", ms, ms).Results[0])
	now := document("hot", 3*ms/2, 2*ms, document("same", 11*ms, 10*ms).Results[0], document("new", ms, ms).Results[0])
	c := report.Compare(old, now, 0.2)
	var b strings.Builder
	c.Write(&b)
	golden(t, "compare.txt", b.String())
	if got := c.Worse(); len(got) != 2 || got[0].Workload != "hot" || got[1].Figure != "p50" {
		t.Errorf("worse: got %+v, want two of hot", got)
	}
	if got := report.Compare(now, old, 0.2).Worse(); len(got) != 0 {
		t.Errorf("the other way round: got %+v worse", got)
	}
	if got := report.Compare(old, now, 0.6).Worse(); len(got) != 0 {
		t.Errorf("when more is tolerated: got %+v worse", got)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"{", "is not a document of benchmarks"},
		{`{"format":9}`, "has format 9, this release reads 1: measure again with --out"},
		{`{"format":1}`, "has no results: measure again with --out"},
	} {
		path := filepath.Join(t.TempDir(), "x.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := report.Read(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.text, err, c.want)
		}
	}
	if _, err := report.Read("testdata/nothing.json"); err == nil {
		t.Error("a file that is not there is read")
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		us   float64
		want string
	}{{0, "0.0 µs"}, {9.94, "9.9 µs"}, {10, "10 µs"}, {999, "999 µs"}, {1500, "1.50 ms"}, {25e3, "25.0 ms"}, {2.5e6, "2.50 s"}} {
		if got := report.Micros(c.us); got != c.want {
			t.Errorf("%v µs: got %q, want %q", c.us, got, c.want)
		}
	}
	for _, c := range []struct {
		x    float64
		want string
	}{{0.0123, "0.012"}, {0.123, "0.12"}, {9.999, "10.00"}, {12.34, "12.3"}, {123.4, "123"}} {
		if got := report.Times(c.x); got != c.want {
			t.Errorf("%v times: got %q, want %q", c.x, got, c.want)
		}
	}
}
