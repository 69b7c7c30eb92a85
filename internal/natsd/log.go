package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog passes on what the server logs, and keeps what it says while it
// starts: the server reports many causes nowhere else. It implements
// server.Logger.
type serverLog struct {
	to    *slog.Logger
	fatal chan error

	mu       sync.Mutex
	started  bool
	warnings []string
}

func newServerLog(to *slog.Logger, server string) *serverLog {
	return &serverLog{to: to.With("nats-server", server), fatal: make(chan error, 1)}
}

// setStarted ends the collecting of warnings.
func (l *serverLog) setStarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started, l.warnings = true, nil
}

// warned returns the first warnings and errors since the start.
func (l *serverLog) warned() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warnings
}

func (l *serverLog) keep(text string) {
	const most = 20
	text = strings.TrimSpace(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started && len(l.warnings) < most {
		l.warnings = append(l.warnings, text)
	}
}

func (l *serverLog) pass(level slog.Level, format string, v []any) {
	if l.to.Enabled(context.Background(), level) {
		l.to.Log(context.Background(), level, strings.TrimSpace(fmt.Sprintf(format, v...)))
	}
}

// Noticef passes on a notice: the server has some forty of them at each start,
// so they are for debugging.
func (l *serverLog) Noticef(format string, v ...any) { l.pass(slog.LevelDebug, format, v) }

// Debugf passes on a debug message.
func (l *serverLog) Debugf(format string, v ...any) { l.pass(slog.LevelDebug, format, v) }

// Tracef passes on a protocol trace.
func (l *serverLog) Tracef(format string, v ...any) { l.pass(slog.LevelDebug, format, v) }

// Warnf passes on and keeps a warning.
func (l *serverLog) Warnf(format string, v ...any) {
	l.keep(fmt.Sprintf(format, v...))
	l.pass(slog.LevelWarn, format, v)
}

// Errorf passes on and keeps an error.
func (l *serverLog) Errorf(format string, v ...any) {
	l.keep(fmt.Sprintf(format, v...))
	l.pass(slog.LevelError, format, v)
}

// Fatalf passes on an error after which the server is of no use. The stock
// logger ends the process here; this one lets Start return the error.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.pass(slog.LevelError, format, v)
	err := &fatalError{text: fmt.Sprintf(format, v...)}
	for _, arg := range v {
		if cause, ok := arg.(error); ok {
			err.cause = cause
		}
	}
	select {
	case l.fatal <- err:
	default: // The first one is the cause of the others.
	}
}

// fatalError is a fatal message of the server. It unwraps to the error that
// the message was made of, so that a port in use can be told by its code.
type fatalError struct {
	text  string
	cause error
}

func (e *fatalError) Error() string { return e.text }

func (e *fatalError) Unwrap() error { return e.cause }
