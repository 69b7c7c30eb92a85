package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// A Change is what became of one ratio from one document to another.
type Change struct {
	Workload, Mode, Figure string
	Higher                 bool // is better
	Old, New               Spread
	// Worse: the new median is worse than the old one by more than what is tolerated.
	Worse bool
}

// Compared is what two documents have to say about each other.
type Compared struct {
	// Changes are of the judged ratios that both have, in the order of the new one.
	Changes []Change
	// Missing and Added are results, as workload and mode, that only the old one has and only
	// the new one.
	Missing, Added []string
}

// Compare compares the ratios of two documents, and never their times, which are another
// machine's. A ratio is worse when its median is by more than the share tolerance.
func Compare(old, now Document, tolerance float64) Compared {
	before := map[string]Result{}
	for _, r := range old.Results {
		before[r.name()] = r
	}
	var c Compared
	for _, r := range now.Results {
		was, ok := before[r.name()]
		if !ok {
			c.Added = append(c.Added, r.name())
			continue
		}
		delete(before, r.name())
		c.Changes = append(c.Changes, changes(was, r, tolerance)...)
	}
	for _, r := range old.Results {
		if _, ok := before[r.name()]; ok {
			c.Missing = append(c.Missing, r.name())
		}
	}
	return c
}

func (r Result) name() string { return r.Workload + ", " + r.Mode }

func changes(old, now Result, tolerance float64) []Change {
	var out []Change
	for _, x := range now.Ratios {
		was, ok := old.Ratio(x.Figure)
		if !ok || !x.Judged {
			continue
		}
		ch := Change{Workload: now.Workload, Mode: now.Mode, Figure: x.Figure, Higher: x.Higher, Old: was.Spread, New: x.Spread}
		if x.Higher {
			ch.Worse = x.Median < was.Median*(1-tolerance)
		} else {
			ch.Worse = x.Median > was.Median*(1+tolerance)
		}
		out = append(out, ch)
	}
	return out
}

// Worse gives the changes that are.
func (c Compared) Worse() []Change {
	var out []Change
	for _, ch := range c.Changes {
		if ch.Worse {
			out = append(out, ch)
		}
	}
	return out
}

// Write writes the comparison as a table.
func (c Compared) Write(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "VERDICT\tWORKLOAD\tMODE\tRATIO\tOLD\tNEW\tNEW ÷ OLD")
	for _, ch := range c.Changes {
		verdict := "kept"
		if ch.Worse {
			verdict = "worse"
		}
		better := "lower is better"
		if ch.Higher {
			better = "higher is better"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s, %s\t%s (%s–%s)\t%s (%s–%s)\t%s\n", verdict, ch.Workload, ch.Mode, ch.Figure, better,
			Times(ch.Old.Median), Times(ch.Old.Min), Times(ch.Old.Max),
			Times(ch.New.Median), Times(ch.New.Min), Times(ch.New.Max),
			Times(over(ch.New.Median, ch.Old.Median)))
	}
	_ = tw.Flush() // as of any printing
	for _, name := range c.Missing {
		fmt.Fprintf(w, "not measured any more: %s\n", name)
	}
	for _, name := range c.Added {
		fmt.Fprintf(w, "not measured before: %s\n", name)
	}
}
