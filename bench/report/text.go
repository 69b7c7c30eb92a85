package report

import (
	"fmt"
	"io"
	"strings"
)

// Head writes where and how it was measured.
func (d Document) Head(w io.Writer) {
	fmt.Fprintf(w, "Machine   %s\n", d.machine())
	fmt.Fprintf(w, "Versions  %s\n", d.versions())
	fmt.Fprintf(w, "Method    %s of %s a side\n", plural(d.Method.Rounds, "round"), d.Method.For)
	for clause := range strings.SplitSeq(d.Method.Text, "; ") {
		fmt.Fprintf(w, "          %s\n", clause)
	}
}

func (d Document) machine() string {
	parts := []string{d.Machine.System}
	if d.Machine.CPU != "" {
		parts = append(parts, d.Machine.CPU)
	}
	return strings.Join(append(parts, plural(d.Machine.Cores, "core"), "fsync "+Micros(d.Machine.Fsync)), ", ")
}

func (d Document) versions() string {
	var versions []string
	for _, v := range []struct{ name, version string }{
		{"holdfast", d.Versions.Holdfast}, {"nats-server", d.Versions.NATSServer}, {"nats.go", d.Versions.NATSGo}, {"", d.Versions.Go},
	} {
		if v.version != "" {
			versions = append(versions, strings.TrimSpace(v.name+" "+v.version))
		}
	}
	return strings.Join(versions, ", ")
}

// Table writes results, those of each mode under its title.
func Table(w io.Writer, results []Result, title func(mode string) string) {
	mode := ""
	for i, r := range results {
		if r.Mode != mode {
			mode = r.Mode
			fmt.Fprintf(w, "\n%s\n\n", title(mode))
			row(w, "", "per second", "p50", "p99", "p99.9", "CPU", "allocs")
		}
		r.rows(w)
		r.overTime(w)
		// What is said of all parts of a workload is said after the last one.
		if i+1 == len(results) || results[i+1].Verified != r.Verified {
			fmt.Fprintf(w, "  %s. Memory: %s%s.\n", r.Verified, bytes(r.Memory), r.heaps())
		}
		fmt.Fprintln(w)
	}
}

// row writes cells, the first one to the left and the others to the right.
func row(w io.Writer, cells ...string) {
	var line strings.Builder
	fmt.Fprintf(&line, "%-20s", cells[0])
	for _, c := range cells[1:] {
		fmt.Fprintf(&line, " %12s", c)
	}
	fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
}

func (r Result) rows(w io.Writer) {
	line := func(name string, f Figures) {
		cpu := "?"
		if f.CPU > 0 {
			cpu = Micros(f.CPU)
		}
		row(w, name, count(f.PerSecond), Micros(f.P50), Micros(f.P99), Micros(f.P999), cpu, fmt.Sprintf("%.1f", f.Allocs))
	}
	line(r.Workload, r.Ours)
	line("  raw: "+r.By, r.Raw)
	middle, ends := map[string]string{}, map[string]string{}
	for _, x := range r.Ratios {
		middle[x.Figure] = Times(x.Median) + " ×"
		ends[x.Figure] = Times(x.Min) + "–" + Times(x.Max)
	}
	for _, l := range []struct {
		name string
		of   map[string]string
	}{{"  ratio, median", middle}, {"  of " + plural(r.Rounds, "round"), ends}} {
		row(w, l.name, l.of["rate"], l.of["p50"], l.of["p99"], "", l.of["cpu"])
	}
}

// heaps says what was on the heap after the rounds, the first and the last.
func (r Result) heaps() string {
	if len(r.Heaps) == 0 {
		return ""
	}
	return fmt.Sprintf("; on the heap %s after the first round, %s after the last", bytes(r.Heaps[0]), bytes(r.Heaps[len(r.Heaps)-1]))
}

// Times writes a ratio with as many digits as it is worth.
func Times(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 0.1:
		return fmt.Sprintf("%.2f", x)
	default:
		return fmt.Sprintf("%.3f", x)
	}
}

// Micros writes microseconds in the unit that fits.
func Micros(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.2f s", us/1e6)
	case us >= 10e3:
		return fmt.Sprintf("%.1f ms", us/1e3)
	case us >= 1e3:
		return fmt.Sprintf("%.2f ms", us/1e3)
	case us >= 10:
		return fmt.Sprintf("%.0f µs", us)
	default:
		return fmt.Sprintf("%.1f µs", us)
	}
}

// count writes a rate, with commas between thousands.
func count(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.1f", x)
	}
	digits := fmt.Sprintf("%.0f", x)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

func bytes(n uint64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
