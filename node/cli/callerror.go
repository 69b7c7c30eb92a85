package cli

import "fmt"

// The statuses of a node's errors that matter to what a client does next.
const (
	statusUnknown     = 404
	statusConflict    = 409
	statusTooLarge    = 413
	statusRejected    = 422
	statusOverloaded  = 429
	statusInternal    = 500
	statusUnavailable = 503
	statusUncertain   = 504
)

// A callError is a request that did not succeed: answered with an error, or without
// an answer.
type callError struct {
	Ref, ID string // of what was asked; ID of a command only
	// Status is the micro error code, 0 when no node answered.
	Status int
	// Code is the machine-readable reason.
	Code    string
	Message string
	// Uncertain: it may have been executed.
	Uncertain bool
	// Exhausted: it was retried for as long as --timeout allows.
	Exhausted bool
	// Interrupted: the user did not want to wait any longer.
	Interrupted bool

	retry bool // asking again may help
	cause error
}

// Error gives the sentence for a person, with what to do next.
func (e *callError) Error() string {
	text := e.Message
	// What a node answers is told with its code. What this client says without an answer
	// needs none, and its own 413, for data that cannot be sent, is not told apart from a node's.
	if e.Status != 0 && e.Status != statusTooLarge {
		text = e.Code + ": " + e.Message
	}
	if e.Ref != "" {
		text = e.Ref + ": " + text
	}
	switch {
	case e.Interrupted:
		text += "; interrupted"
	case e.Exhausted:
		text += "; given up (--timeout)"
	}
	if (e.Exhausted || e.Interrupted) && e.ID != "" {
		if e.Uncertain {
			text += "; it may have been executed"
		} else {
			text += "; it was not executed"
		}
		text += fmt.Sprintf(": sending it again with --id %s is safe", e.ID)
	}
	return text
}

// Unwrap gives what NATS said.
func (e *callError) Unwrap() error { return e.cause }

// final reports whether the answer stands for good: sending the same again will not
// change it.
func (e *callError) final() bool {
	return e.Status >= 400 && e.Status < 500 && e.Status != statusOverloaded
}

func (e *callError) document() errorDocument {
	return errorDocument{Status: e.Status, Code: e.Code, Message: e.Message, Uncertain: e.Uncertain}
}
