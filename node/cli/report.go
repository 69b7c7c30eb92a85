package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
)

// shownProblems is how many lines that were not accepted people see.
const shownProblems = 20

// A problem is a line that was not accepted, as apply lists it.
type problem struct {
	Line    int    `json:"line"`
	Outcome string `json:"outcome"` // rejected, failed or malformed
	Ref     string `json:"ref,omitempty"`
	Command string `json:"command,omitempty"`
	ID      string `json:"id,omitempty"`
	errorDocument
}

// A summary is what apply ends with.
type summary struct {
	// Lines that are settled or failed, those of earlier runs included.
	Lines int `json:"lines"`
	counts
	// Earlier of them were settled by earlier runs.
	Earlier int `json:"earlier"`
	// Open of the failed ones may be tried again.
	Open    int     `json:"open"`
	Seconds float64 `json:"seconds"`
	// LinesPerSecond counts what this run did.
	LinesPerSecond float64 `json:"linesPerSecond"`
	// Resumable: the same command goes on where this run has ended.
	Resumable bool   `json:"resumable"`
	Error     string `json:"error,omitempty"` // why it ended early
}

// A report tells people and machines how a run goes. It belongs to one goroutine.
type report struct {
	cfg     Config
	json    bool
	begun   record
	started time.Time
	bar     *progressbar.ProgressBar
	at      int // the line that bar shows

	counts counts // of this run
	open   int
	shown  []problem
	err    error // of the first write that failed
}

func newReport(cfg Config, asJSON bool, begun record, lines int) *report {
	r := &report{cfg: cfg, json: asJSON, begun: begun, started: cfg.Now()}
	if lines > 0 && !asJSON && cfg.Terminal && cfg.Getenv("TERM") != "dumb" {
		r.bar = progressbar.NewOptions64(int64(lines),
			progressbar.OptionSetWriter(cfg.Out),
			progressbar.OptionSetDescription("applying"),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("lines"),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	return r
}

func (r *report) keep(err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("write the report: %w", err)
	}
}

// progress tells up to which line all is done.
func (r *report) progress(line int) {
	if r.bar != nil && line > r.at {
		r.at = line
		r.keep(r.bar.Set64(int64(line)))
	}
}

func (r *report) settled(res result, o outcome) {
	if o == open {
		r.open++
	}
	r.counts.add(o)
	if res.err == nil {
		return
	}
	name := "failed"
	if o == rejected {
		name = "rejected"
	}
	r.list(res.line.problem(name, res.err.document()))
}

// behind tells of a line that was not sent because of another one.
func (r *report) behind(l *line, by int) {
	r.open++
	r.list(l.problem("failed", errorDocument{
		Code: "not_sent", Message: fmt.Sprintf("not sent: it waits for line %d of the same aggregate", by),
	}))
}

func (r *report) malformed(number int, err error) {
	r.counts.add(malformed)
	r.list(problem{Line: number, Outcome: "malformed", errorDocument: errorDocument{Code: "malformed", Message: err.Error()}})
}

func (l *line) problem(outcome string, doc errorDocument) problem {
	return problem{Line: l.number, Outcome: outcome, Ref: l.ref, Command: l.cmd.name, ID: l.cmd.meta.id, errorDocument: doc}
}

func (r *report) list(p problem) {
	switch {
	case r.json:
		r.keep(writeJSON(r.cfg.Out, p))
	case len(r.shown) < shownProblems:
		r.shown = append(r.shown, p)
	}
}

// finish writes what is left to tell. cause says why the run ended early, if it did.
func (r *report) finish(resumable bool, cause error) (summary, error) {
	if r.bar != nil {
		r.keep(r.bar.Clear())
		r.keep(r.bar.Exit())
	}
	s := r.summary(resumable, cause)
	if r.json {
		r.keep(writeJSON(r.cfg.Out, map[string]summary{"summary": s}))
	} else {
		r.show(s)
	}
	return s, r.err
}

func (r *report) summary(resumable bool, cause error) summary {
	s := summary{
		counts:    r.begun.Counts.plus(r.counts),
		Earlier:   r.begun.Counts.total(),
		Open:      r.open,
		Seconds:   r.cfg.Now().Sub(r.started).Seconds(),
		Resumable: resumable,
	}
	s.Failed += r.open
	s.Lines = s.total()
	if s.Seconds > 0 {
		s.LinesPerSecond = float64(s.Lines-s.Earlier) / s.Seconds
	}
	if cause != nil {
		s.Error = cause.Error()
	}
	return s
}

func (r *report) show(s summary) {
	for _, p := range r.shown {
		r.print("%s\n", r.problemLine(p))
	}
	if all := s.Rejected + s.Failed + s.Malformed - r.begun.notAccepted(); all > len(r.shown) {
		r.print("… and %d more: --json lists all\n", all-len(r.shown))
	}
	rows := []struct {
		name, value, colour string
	}{
		{"lines", strconv.Itoa(s.Lines), ""},
		{"accepted", strconv.Itoa(s.Accepted), green},
		{"duplicates", strconv.Itoa(s.Duplicates), ""},
		{"rejected", strconv.Itoa(s.Rejected), yellow},
		{"failed", strconv.Itoa(s.Failed), red},
		{"malformed", strconv.Itoa(s.Malformed), red},
		{"seconds", strconv.FormatFloat(s.Seconds, 'f', 2, 64), ""},
		{"lines/s", strconv.FormatFloat(s.LinesPerSecond, 'f', 0, 64), ""},
	}
	for _, row := range rows {
		text := fmt.Sprintf("%-10s %12s", row.name, row.value)
		if row.colour != "" && row.value != "0" {
			text = r.cfg.paint(row.colour, text)
		}
		r.print("%s\n", text)
	}
	if s.Earlier > 0 {
		r.print("%d of the lines were settled by earlier runs\n", s.Earlier)
	}
}

func (r *report) problemLine(p problem) string {
	where := fmt.Sprintf("line %d", p.Line)
	if p.Ref != "" {
		where += ": " + p.Ref + " " + p.Command
	}
	reason := p.Message
	if p.Status != 0 {
		reason = p.Code + ": " + p.Message
	}
	colour := red
	if p.Outcome == "rejected" {
		colour = yellow
	}
	return r.cfg.paint(colour, fmt.Sprintf("%-9s", p.Outcome)) + "  " + oneLine(where+": "+reason)
}

func (r *report) print(format string, args ...any) {
	_, err := fmt.Fprintf(r.cfg.Out, format, args...)
	r.keep(err)
}

// notAccepted counts the settled lines that were not accepted.
func (r record) notAccepted() int { return r.Counts.Rejected + r.Counts.Failed + r.Counts.Malformed }
