package cli

import (
	"fmt"
	"strings"
	"time"
)

// span tells how long something is, in the two largest units that it has.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	hours := int(d.Round(time.Hour).Hours())
	if hours%24 == 0 {
		return fmt.Sprintf("%dd", hours/24)
	}
	return fmt.Sprintf("%dd%dh", hours/24, hours%24)
}

// before tells how long ago a time was; the text itself if it is none.
func before(now time.Time, text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		return text
	case !t.Before(now):
		return "now"
	}
	return span(now.Sub(t)) + " ago"
}

// when gives a time, and how long it is from now.
func when(now time.Time, text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		return text
	case t.After(now):
		return shortTime(text) + " (in " + span(t.Sub(now)) + ")"
	}
	return shortTime(text) + " (" + before(now, text) + ")"
}
