package messages

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The headers of requests, replies and log messages.
const (
	HeaderID              = "Nats-Msg-Id" // of a request: the command id; of a log message: the commit id
	HeaderContentType     = "Content-Type"
	HeaderExpectedVersion = "Holdfast-Expected-Version"
	HeaderCorrelationID   = "Holdfast-Correlation-Id"
	HeaderCausationID     = "Holdfast-Causation-Id"
	HeaderUser            = "Holdfast-User"
	HeaderAsOf            = "Holdfast-As-Of"
	HeaderAsOfVersion     = "Holdfast-As-Of-Version"
	HeaderTrace           = "traceparent"
	HeaderVersion         = "Holdfast-Version"
	HeaderPosition        = "Holdfast-Position"
	HeaderDuplicate       = "Holdfast-Duplicate"
)

// The content types of bodies.
const (
	TypeJSON     = "application/json"
	TypeProtobuf = "application/protobuf"
)

// A RequestHeader is what a request says beside its body. Empty and nil mean that the
// request does not say it.
type RequestHeader struct {
	ID              string
	CorrelationID   string
	CausationID     string
	User            string
	Trace           string
	ExpectedVersion *uint64    // of a command
	AsOf            *time.Time // of a get
	AsOfVersion     *uint64    // of a get
	Protobuf        bool       // the body is protobuf, and so shall the reply be
}

// field reads one header into the request.
type field struct {
	of   string // the kinds of request that may have it; empty = all
	read func(r *RequestHeader, v string) error
}

func text(max int, into func(*RequestHeader) *string) func(*RequestHeader, string) error {
	return func(r *RequestHeader, v string) error {
		if err := checkText(v, max); err != nil {
			return err
		}
		*into(r) = v
		return nil
	}
}

func id(into func(*RequestHeader) *string) func(*RequestHeader, string) error {
	return func(r *RequestHeader, v string) error {
		if err := CheckCommandID(v); err != nil {
			return err
		}
		*into(r) = v
		return nil
	}
}

func version(into func(*RequestHeader) **uint64) func(*RequestHeader, string) error {
	return func(r *RequestHeader, v string) error {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != v {
			return fmt.Errorf("want a version, 0 or a positive whole number")
		}
		*into(r) = &n
		return nil
	}
}

var traceForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

var fields = map[string]field{
	HeaderID:              {string(KindCommand), id(func(r *RequestHeader) *string { return &r.ID })},
	HeaderCorrelationID:   {string(KindCommand), id(func(r *RequestHeader) *string { return &r.CorrelationID })},
	HeaderCausationID:     {string(KindCommand), id(func(r *RequestHeader) *string { return &r.CausationID })},
	HeaderUser:            {string(KindCommand), text(256, func(r *RequestHeader) *string { return &r.User })},
	HeaderExpectedVersion: {string(KindCommand), version(func(r *RequestHeader) **uint64 { return &r.ExpectedVersion })},
	HeaderAsOfVersion:     {string(KindGet), version(func(r *RequestHeader) **uint64 { return &r.AsOfVersion })},
	HeaderAsOf: {string(KindGet), func(r *RequestHeader, v string) error {
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return fmt.Errorf("want a time such as 2026-03-14T09:26:53Z (RFC 3339)")
		}
		r.AsOf = &t
		return nil
	}},
	HeaderTrace: {"", func(r *RequestHeader, v string) error {
		if !traceForm.MatchString(v) {
			return fmt.Errorf("want a W3C traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		}
		r.Trace = v
		return nil
	}},
	HeaderContentType: {"", func(r *RequestHeader, v string) error {
		switch media, _, _ := strings.Cut(v, ";"); strings.ToLower(strings.TrimSpace(media)) {
		case TypeJSON:
		case TypeProtobuf:
			r.Protobuf = true
		default:
			return fmt.Errorf("want %s or %s", TypeJSON, TypeProtobuf)
		}
		return nil
	}},
}

// ParseRequestHeader reads the headers of a request of that kind. A header of ours
// (Holdfast-…) that it does not know is refused rather than overlooked, since it may
// have been meant as a condition; so is one of the server's (Nats-…), which would mean
// something else in the log; headers of others are left alone. The error names the
// header.
func ParseRequestHeader(kind Kind, h map[string][]string) (RequestHeader, error) {
	var r RequestHeader
	for name, values := range h {
		f, ok := fields[name]
		if !ok {
			if err := checkForeign(name); err != nil {
				return r, err
			}
			continue
		}
		if f.of != "" && f.of != string(kind) {
			return r, fmt.Errorf("header %s: it is for %s requests, not for %s", name, f.of, kind)
		}
		if len(values) != 1 {
			return r, fmt.Errorf("header %s: it is given %d times", name, len(values))
		}
		if err := f.read(&r, values[0]); err != nil {
			return r, fmt.Errorf("header %s: %q: %w", name, values[0], err)
		}
	}
	if r.AsOf != nil && r.AsOfVersion != nil {
		return r, fmt.Errorf("headers %s and %s: give one of them", HeaderAsOf, HeaderAsOfVersion)
	}
	return r, nil
}

// servers are the headers that a nats-server itself adds to requests.
var servers = map[string]bool{"Nats-Request-Info": true, "Nats-Trace-Dest": true, "Nats-Trace-Only": true, "Nats-Trace-Hop": true}

func checkForeign(name string) error {
	lower := strings.ToLower(name)
	for known := range fields {
		if lower == strings.ToLower(known) && known != HeaderContentType {
			return fmt.Errorf("header %s: it is written %s", name, known)
		}
	}
	switch {
	case strings.HasPrefix(lower, "holdfast-"):
		return fmt.Errorf("header %s: it is unknown", name)
	case strings.HasPrefix(lower, "nats-") && !servers[name]:
		return fmt.Errorf("header %s: a request may not have it", name)
	}
	return nil
}

// CheckCommandID says what is wrong with a command, correlation or causation id, which
// is 1 to 128 printable ASCII characters without spaces.
func CheckCommandID(id string) error {
	if id == "" || len(id) > 128 {
		return fmt.Errorf("it has %d bytes, want 1 to 128", len(id))
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return fmt.Errorf("want printable ASCII characters without spaces")
		}
	}
	return nil
}

func checkText(s string, max int) error {
	if s == "" || len(s) > max {
		return fmt.Errorf("it has %d bytes, want 1 to %d", len(s), max)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("it is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("it has a control character")
		}
	}
	return nil
}
