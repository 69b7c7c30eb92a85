package holdfast

import (
	"errors"
	"fmt"
	"regexp"
)

// A Rejection is the domain's no. It is final: sending the same command again
// without a change of circumstances meets the same no, so nobody retries it.
type Rejection struct {
	// Reason is the machine-readable reason, in the form insufficient_funds.
	Reason string
	// Message is the sentence for a person.
	Message string
}

// Error gives the reason and the sentence.
func (r *Rejection) Error() string { return r.Reason + ": " + r.Message }

var reasonForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Valid reports whether the reason has the form insufficient_funds: a small letter,
// then small letters, digits and underscores, 64 at most. A rejection with another
// reason is a bug of the domain and is answered as one.
func (r *Rejection) Valid() bool { return reasonForm.MatchString(r.Reason) }

// Reject is how a decision says no. The reason is for machines (insufficient_funds),
// the formatted sentence for people.
func Reject(reason, format string, args ...any) error {
	return &Rejection{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// A Code classifies what the runtime could not do. Match errors by code, with
// [errors.Is] and the sentinels below or with [CodeOf], never by text.
type Code string

// The codes. Beside each stands what a caller does about it.
const (
	// CodeRejected: the domain said no ([Rejection]). Final.
	CodeRejected Code = "rejected"
	// CodeMalformed: the request itself is wrong. Mend it.
	CodeMalformed Code = "malformed"
	// CodeUnknown: no such aggregate type, command or aggregate.
	CodeUnknown Code = "unknown"
	// CodeConflict: the expected version does not hold. Read again, decide again.
	CodeConflict Code = "conflict"
	// CodeTooLarge: the command or what it decided exceeds the size limit.
	CodeTooLarge Code = "too_large"
	// CodeOverloaded: a queue is full; nothing was executed. Retry later.
	CodeOverloaded Code = "overloaded"
	// CodeUnavailable: certainly not executed. Retry.
	CodeUnavailable Code = "unavailable"
	// CodeUncertain: it may or may not have been executed. Retry with the same id.
	CodeUncertain Code = "uncertain"
	// CodeBehind: a read model has not come as far as was asked for. Ask again.
	CodeBehind Code = "behind"
	// CodeCorrupt: the aggregate's log has a gap, was altered or cannot be read. That
	// aggregate stands still until an operator has looked; the others go on.
	CodeCorrupt Code = "corrupt"
	// CodeInternal: a bug, of the domain or of the runtime.
	CodeInternal Code = "internal"
)

// An Error is a failure of the runtime, with its code.
type Error struct {
	Code Code
	// Message is the sentence for a person. Clients may see it, except of CodeInternal.
	Message string
	// Cause is for errors.Is and errors.As, if there is one. What of its text is in the
	// message was put there on purpose.
	Cause error
}

// The sentinels: errors.Is(err, ErrConflict) holds for every [Error] with that code.
var (
	ErrMalformed   = &Error{Code: CodeMalformed}
	ErrUnknown     = &Error{Code: CodeUnknown}
	ErrConflict    = &Error{Code: CodeConflict}
	ErrTooLarge    = &Error{Code: CodeTooLarge}
	ErrOverloaded  = &Error{Code: CodeOverloaded}
	ErrUnavailable = &Error{Code: CodeUnavailable}
	ErrUncertain   = &Error{Code: CodeUncertain}
	ErrBehind      = &Error{Code: CodeBehind}
	ErrCorrupt     = &Error{Code: CodeCorrupt}
	ErrInternal    = &Error{Code: CodeInternal}
)

// Errorf makes an [Error] with a code. %w keeps a cause, one at the most, and writes its
// text into the message. Of a cause that has a code itself only the text and its own
// cause are kept: what is uncertain must not match ErrUnavailable as well.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	for {
		coded, ok := errors.AsType[*Error](cause)
		if !ok {
			return &Error{Code: code, Message: err.Error(), Cause: cause}
		}
		cause = coded.Cause
	}
}

// Error gives the code and the sentence.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Message
}

// Is reports whether target is the sentinel of e's code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == "" && t.Cause == nil
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf classifies any error. What the runtime does not know is a bug:
// [CodeInternal]. nil has the empty code.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[*Rejection](err); ok {
		return CodeRejected
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
