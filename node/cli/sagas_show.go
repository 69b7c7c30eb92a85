package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/messages"
)

// A sagaShown is a node's answer, and what show prints.
type sagaShown struct {
	Ref      string            `json:"ref"`
	Saga     string            `json:"saga"`
	ID       string            `json:"id"`
	Version  uint64            `json:"version"`
	Position string            `json:"position"`
	Status   string            `json:"status"`
	Reason   string            `json:"reason"`
	Since    string            `json:"since"`
	Changed  string            `json:"changed"`
	Done     int               `json:"done"`
	Steps    int               `json:"steps"`
	Waits    []json.RawMessage `json:"waits"`
	State    json.RawMessage   `json:"state"`
	Timeline []json.RawMessage `json:"timeline"`
	Next     uint64            `json:"next"`
	Error    *errorDocument    `json:"error,omitempty"`
}

// A sagaWait is of what a saga waits for what people see.
type sagaWait struct {
	For, Step, Way, To, Command, CommandID, Alarm, Reason, Until string
	Attempt                                                      int
	Data                                                         json.RawMessage
}

// A sagaMoment is of an event in a saga's life what people see.
type sagaMoment struct {
	Version                                             uint64
	Time, What, Step, Text, User, CommandID, Until, Way string
}

func sagaShowCommand(cfg Config, o *operating) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show REF",
		Short: "Show where a saga stands, what it waits for, and what it has done",
		Long: `Show where the saga REF, written saga/id, stands, what it waits for and until when, and its
life: what it has sent and under which command id, what became of that, and who has helped
it, and why. With --json all of it is one document, with the data of what was sent.
` + exitHelp + ".",
		Example: cfg.example(`  node sagas show checkout/o-1
  node sagas show checkout/o-1 --json`),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeRef(cfg, nil),
	}
	check := func(args []string) error {
		_, _, err := argRef(args[0], o.encoded)
		return err
	}
	cmd.RunE = o.runner(cfg, check, func(ctx context.Context, c *client, args []string) error {
		typ, id, err := argRef(args[0], o.encoded)
		if err != nil {
			return err
		}
		s, err := c.sagaShown(ctx, typ, id)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(cfg.Out, s)
		}
		return c.cfg.showSaga(s)
	})
	return cmd
}

// sagaShown asks for all that is to show: where the saga stands in the end, with its whole
// life.
func (c *client) sagaShown(ctx context.Context, typ string, id messages.ID) (whole sagaShown, err error) {
	subject := messages.DeskSubject{Context: c.context, Verb: messages.DeskShow, Saga: typ, ID: id}
	for from := uint64(1); ; {
		var page sagaShown
		if err := c.ask(ctx, request{subject: subject.String(), body: fmt.Appendf(nil, `{"from":%d}`, from)}, &page); err != nil {
			return whole, about(err, messages.FormatRef(typ, id), "")
		}
		page.Timeline = append(whole.Timeline, page.Timeline...)
		if whole = page; page.Next == 0 {
			return whole, nil
		}
		if page.Next <= from { // it would go on for ever
			return whole, fmt.Errorf("after the page from version %d the node names %d as the next", from, page.Next)
		}
		from = page.Next
	}
}

func (c Config) showSaga(s sagaShown) error {
	var b strings.Builder
	if err := c.writeHead(&b, s); err != nil {
		return err
	}
	if err := c.writeLife(&b, s); err != nil {
		return err
	}
	_, err := io.WriteString(c.Out, b.String())
	return err
}

func (c Config) writeHead(b *strings.Builder, s sagaShown) error {
	now := c.Now()
	line := func(format string, args ...any) { fmt.Fprintln(b, oneLine(fmt.Sprintf(format, args...))) }
	if s.Error != nil {
		line("%s: where it stands cannot be said: %s: %s", s.Ref, s.Error.Code, s.Error.Message)
		line("since %s", when(now, s.Since))
		return nil
	}
	head := s.Ref + " is " + s.Status
	if s.Reason != "" {
		head += ": " + s.Reason
	}
	fmt.Fprintln(b, c.paint(bold, oneLine(head)))
	line("%d of %d steps done, version %d, position %s", s.Done, s.Steps, s.Version, s.Position)
	line("since %s, changed %s", when(now, s.Since), when(now, s.Changed))
	help := false
	for i, raw := range s.Waits {
		var w sagaWait
		if err := decodeAnswer(raw, &w); err != nil {
			return err
		}
		if i == 0 {
			fmt.Fprint(b, "\nIt waits for\n")
		}
		line("  %s", w.sentence(now))
		if text := w.sends(); text != "" {
			line("      %s", text)
		}
		help = help || w.For == "operator"
	}
	if help {
		line("See '%s sagas --help' for what an operator can do.", c.Program)
	}
	return nil
}

// sentence tells what is waited for.
func (w sagaWait) sentence(now time.Time) string {
	var text string
	step := w.Step
	if w.Way != "do" {
		step = w.Way + " " + step
	}
	switch {
	case w.For == "operator" && w.Step == "":
		text = fmt.Sprintf("an operator: a %s could not be taken in", shortName(w.Command))
	case w.For == "operator":
		text = fmt.Sprintf("an operator: %s, after %d attempts", step, w.Attempt)
	case w.For == "answer":
		text = fmt.Sprintf("an answer: %s, attempt %d, of %s", step, w.Attempt, w.To)
	case w.For == "time" && w.Alarm != "":
		text = "the alarm " + w.Alarm
	case w.For == "time":
		text = fmt.Sprintf("another attempt: %s, after %d", step, w.Attempt)
	case w.Step != "":
		text = "an event: " + step
	default:
		text = "an event"
	}
	switch {
	case w.Until != "" && w.For == "time":
		text += ", at " + when(now, w.Until)
	case w.Until != "":
		text += ", until " + when(now, w.Until)
	}
	if w.Reason != "" {
		text += ": " + w.Reason
	}
	return text
}

// sends tells what a step that waits has sent.
func (w sagaWait) sends() string {
	if w.Step == "" || w.Command == "" {
		return ""
	}
	var data bytes.Buffer
	if json.Compact(&data, w.Data) != nil { // it cannot be shown
		data.Reset()
	}
	return fmt.Sprintf("%s %s to %s, id %s", shortName(w.Command), data.String(), w.To, w.CommandID)
}

// writeLife writes a line for each moment; what concerns a step is indented.
func (c Config) writeLife(b *strings.Builder, s sagaShown) error {
	moments := make([]sagaMoment, len(s.Timeline))
	after := make([]string, len(moments))
	steps, wide := 0, utf8.RuneCountInString("AFTER")
	for i, raw := range s.Timeline {
		if err := decodeAnswer(raw, &moments[i]); err != nil {
			return err
		}
		after[i] = moments[i].after(s.Since)
		steps, wide = max(steps, utf8.RuneCountInString(moments[i].Step)), max(wide, utf8.RuneCountInString(after[i]))
	}
	fmt.Fprintf(b, "\n%s\n", c.paint(bold, fmt.Sprintf("%-20s  %-*s  WHAT", "TIME", wide, "AFTER")))
	for i, m := range moments {
		text := oneLine(m.sentence())
		if m.ofStep() {
			text = fmt.Sprintf("  %-*s  %s", steps, oneLine(m.Step), text)
		}
		fmt.Fprintf(b, "%-20s  %-*s  %s\n", oneLine(shortTime(m.Time)), wide, after[i], text)
	}
	return nil
}

// ofStep reports whether a moment is in the life of a step, rather than of the saga.
func (m sagaMoment) ofStep() bool { return m.Step != "" && m.What != "turned" && m.What != "acted" }

// after tells how long after the beginning it was.
func (m sagaMoment) after(since string) string {
	begun, err1 := time.Parse(time.RFC3339Nano, since)
	at, err2 := time.Parse(time.RFC3339Nano, m.Time)
	if err1 != nil || err2 != nil {
		return ""
	}
	return span(at.Sub(begun))
}

func (m sagaMoment) sentence() string {
	text := m.Text
	if m.What == "acted" {
		if m.Step != "" {
			text = m.Step + ": " + text
		}
		return fmt.Sprintf("%s, by %s (id %s)", text, m.User, m.CommandID)
	}
	if m.Until != "" {
		text += untilWords[m.What] + " " + shortTime(m.Until)
	}
	switch {
	case m.What == "begun" && m.User != "":
		text += fmt.Sprintf(", by %s (id %s)", m.User, m.CommandID)
	case m.What == "sent" || m.What == "begun":
		text += fmt.Sprintf(" (id %s)", m.CommandID)
	}
	return text
}

// untilWords lead to a time: when something is over with, or when it comes.
var untilWords = map[string]string{"sent": ", until", "answered": " at", "alarmed": " to"}
