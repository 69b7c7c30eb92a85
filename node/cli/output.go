package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

// paint colours text for a person at a terminal.
func (c Config) paint(colour, text string) string {
	if !c.Terminal || c.Getenv("NO_COLOR") != "" || c.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// printable escapes control characters other than the end of a line, and those that turn
// the direction of what follows, so that no text from elsewhere can command a terminal or
// pass for another text.
func printable(s string) string {
	if !strings.ContainsFunc(s, commanding) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if commanding(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func commanding(r rune) bool {
	return unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r)
}

// oneLine is printable text without ends of lines.
func oneLine(s string) string { return printable(strings.ReplaceAll(s, "\n", " ")) }

// shorten cuts s to at most n characters.
func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

// shortName is what follows the last dot of a full name.
func shortName(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }

// writeJSON writes one document on one line.
func writeJSON(w io.Writer, document any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// errorDocument is an error in JSON output.
type errorDocument struct {
	// Status is the micro error code; absent when nobody answered.
	Status int    `json:"status,omitempty"`
	Code   string `json:"code"`
	// Message is the sentence for a person.
	Message string `json:"message"`
	// Uncertain: the command may have been executed.
	Uncertain bool `json:"uncertain,omitempty"`
}

// failure is what a verb writes in place of its result.
type failure struct {
	Ref   string        `json:"ref,omitempty"`
	ID    string        `json:"id,omitempty"`
	Error errorDocument `json:"error"`
}

func failureDocument(err error) failure {
	call, ok := errors.AsType[*callError](err)
	if !ok {
		return failure{Error: errorDocument{Code: "failed", Message: err.Error()}}
	}
	return failure{Ref: call.Ref, ID: call.ID, Error: call.document()}
}
