package report

import (
	"fmt"
	"io"
	"strings"
)

// Markdown writes the document for a page: where and how it was measured, then a table of the
// results of each mode under its title, a row for each.
func (d Document) Markdown(w io.Writer, title func(mode string) string) {
	fmt.Fprintf(w, "%s: %s. %s. Medians of %s of %s a side, and of the ratios in brackets the least and the greatest.\n",
		d.Began.Format("2006-01-02"), d.machine(), d.versions(), plural(d.Method.Rounds, "round"), d.Method.For)
	if !d.Complete {
		fmt.Fprint(w, "\nThis is not all: something failed or was interrupted.\n")
	}
	mode := ""
	for i, r := range d.Results {
		if i == 0 || r.Mode != mode {
			mode = r.Mode
			fmt.Fprintf(w, "\n**%s**\n\n", title(mode))
			fmt.Fprint(w, "| workload | ours | raw | rate | p50 | p99 | CPU | allocations |\n|---|---|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(w, "| `%s` | %s | %s (%s) | %s | %s | %s | %s | %s |\n", r.Workload, r.Ours.brief(), r.Raw.brief(), r.By,
			r.ratio("rate"), r.ratio("p50"), r.ratio("p99"), r.ratio("cpu"), r.allocations())
	}
	for _, r := range d.Results {
		if r.Flat != nil {
			fmt.Fprintf(w, "\n`%s`, `%s`: %s\n", r.Workload, r.Mode, r.Flat)
		}
	}
}

// brief says how many a second, and how long half of them take at the most.
func (f Figures) brief() string { return count(f.PerSecond) + "/s, " + Micros(f.P50) }

// ratio is that of a figure, for a cell.
func (r Result) ratio(figure string) string {
	x, ok := r.Ratio(figure)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s (%s–%s)", Times(x.Median), Times(x.Min), Times(x.Max))
}

// allocations are those of one, ours and raw, where they were counted.
func (r Result) allocations() string {
	if r.Ours.Allocs == 0 && r.Raw.Allocs == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f, %.1f", r.Ours.Allocs, r.Raw.Allocs)
}

// What encloses the place of a document in a page. The first names its file.
const (
	placeBegins, placeNamed = "<!-- bench: ", " -->"
	placeEnds               = "<!-- end of bench -->"
)

// Page gives the text of a page anew: between a line "<!-- bench: FILE -->" and the next
// "<!-- end of bench -->" stands what the document FILE gives, which read reads. The error says
// which of these lines is missing, or what read says.
func Page(text string, read func(file string) (Document, error), title func(mode string) string) (string, error) {
	var b strings.Builder
	places, open := 0, ""
	endless := func() (string, error) {
		return "", fmt.Errorf("the place of %s has no end: add a line %q", open, placeEnds)
	}
	for line := range strings.Lines(text) {
		file, begins := strings.CutPrefix(strings.TrimSpace(line), placeBegins)
		switch {
		case begins && open != "":
			return endless()
		case begins:
			places, open = places+1, strings.TrimSuffix(file, placeNamed)
			d, err := read(open)
			if err != nil {
				return "", err
			}
			b.WriteString(line + "\n")
			d.Markdown(&b, title)
			b.WriteString("\n")
		case strings.TrimSpace(line) == placeEnds:
			open = ""
			b.WriteString(line)
		case open == "":
			b.WriteString(line)
		}
	}
	switch {
	case open != "":
		return endless()
	case places == 0:
		return "", fmt.Errorf("no document has a place in it: add a line %q and a line %q", placeBegins+"FILE.json"+placeNamed, placeEnds)
	}
	return b.String(), nil
}
