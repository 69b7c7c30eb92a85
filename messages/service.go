package messages

import (
	"fmt"
	"time"
)

// MetadataLog is the key under which the service of a context names its log in its
// metadata, as LogName gives it.
const MetadataLog = "log"

// ServiceName is what the gateways of a context are called as a NATS service.
func ServiceName(c Context) string { return "holdfast-" + string(c) }

// A LogName tells a log from any that has had or will have its place. It may be part of
// a file's name.
type LogName string

const logNameLayout = "20060102T150405.000000000Z"

// NewLogName names the log that was made at a time.
func NewLogName(created time.Time) LogName { return LogName(created.UTC().Format(logNameLayout)) }

// ParseLogName reads what NewLogName gave.
func ParseLogName(s string) (LogName, error) {
	created, err := time.Parse(logNameLayout, s)
	if err != nil || string(NewLogName(created)) != s {
		return "", fmt.Errorf("log %s: want a name like 20260314T092653.589793238Z", quote(s))
	}
	return LogName(s), nil
}
