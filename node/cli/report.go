package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
)

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
	begun   counts // of earlier runs
	started time.Time
	bar     *progressbar.ProgressBar
	at      int // all is done up to this line, and told

	counts counts // of this run and earlier ones
	open   int
	// untold has the problems of lines after at, for they are told in the order of lines.
	untold map[int]problem
	err    error // of the first write that failed
}

func newReport(cfg Config, asJSON bool, begun outcomes) *report {
	r := &report{cfg: cfg, json: asJSON, begun: begun.counts(), started: cfg.Now(), untold: map[int]problem{}}
	r.counts = r.begun
	if len(begun) > 0 && cfg.ErrTerminal && cfg.Getenv("TERM") != "dumb" {
		r.bar = progressbar.NewOptions64(int64(len(begun)),
			progressbar.OptionSetWriter(cfg.Err),
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
	if line <= r.at {
		return
	}
	for ; r.at < line; r.at++ {
		if len(r.untold) > 0 {
			r.tell(r.at + 1)
		}
	}
	if r.bar != nil {
		_ = r.bar.Set64(int64(line)) // nobody misses a bar
	}
}

// tell tells the problem of a line, if it has one.
func (r *report) tell(number int) {
	p, ok := r.untold[number]
	if !ok {
		return
	}
	delete(r.untold, number)
	if r.bar != nil {
		_ = r.bar.Clear() // both may be on one screen
	}
	if r.json {
		r.keep(writeJSON(r.cfg.Out, p))
	} else {
		r.print("%s\n", r.problemLine(p))
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
	r.list(res.line.problem(o.problem(), res.err.document()))
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
	r.list(problem{Line: number, Outcome: malformed.problem(), errorDocument: errorDocument{Code: "malformed", Message: err.Error()}})
}

// earlier tells of a line that an earlier run has settled, and of which only the outcome
// is on record.
func (r *report) earlier(it item, was outcome) {
	name := was.problem()
	if name == "" {
		return
	}
	p := problem{Line: it.number}
	if it.line != nil {
		p = it.line.problem("", errorDocument{})
	}
	p.Outcome, p.Code, p.Message = name, "earlier", "in an earlier run, of which the reason was not kept"
	if was == malformed && it.bad != nil {
		p.Code, p.Message = "malformed", it.bad.Error()
	}
	r.list(p)
}

// problem is how a line that was not accepted is listed; empty for all others.
func (o outcome) problem() string {
	switch o {
	case rejected:
		return "rejected"
	case failed, open:
		return "failed"
	case malformed:
		return "malformed"
	case pending, blank, accepted, duplicate:
	}
	return ""
}

func (l *line) problem(outcome string, doc errorDocument) problem {
	return problem{Line: l.number, Outcome: outcome, Ref: l.ref, Command: l.cmd.name, ID: l.cmd.meta.id, errorDocument: doc}
}

func (r *report) list(p problem) { r.untold[p.Line] = p }

// finish writes what is left to tell. cause says why the run ended early, if it did.
func (r *report) finish(resumable bool, cause error) (summary, error) {
	for _, number := range slices.Sorted(maps.Keys(r.untold)) {
		r.tell(number)
	}
	if r.bar != nil {
		_, _ = r.bar.Clear(), r.bar.Exit() // nobody misses a bar
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
		counts:    r.counts,
		Earlier:   r.begun.total(),
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
	switch {
	case s.Earlier > 0 && s.Earlier == s.Lines && s.Error == "":
		r.print("all %d lines were settled before, and nothing was sent; --restart sends them again\n", s.Lines)
	case s.Earlier > 0:
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
