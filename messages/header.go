package messages

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
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
	HeaderCommandID       = "Holdfast-Command-Id" // of what the inbox answers and tells
	HeaderRef             = "Holdfast-Ref"        // of an outcome: whose it is
	HeaderTime            = "Holdfast-Time"       // of what was accepted: when
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
	After           []string   // of a view: positions, one a partition at the most
	Protobuf        bool       // the body is protobuf, and so shall the reply be
}

// field reads one header into the request.
type field struct {
	of   string // the kinds of request that may have it; empty = all
	read func(r *RequestHeader, v string) error
}

func checked(check func(string) error, into func(*RequestHeader) *string) func(*RequestHeader, string) error {
	return func(r *RequestHeader, v string) error {
		if err := check(v); err != nil {
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
	HeaderID:              {string(KindCommand), checked(CheckCommandID, func(r *RequestHeader) *string { return &r.ID })},
	HeaderCorrelationID:   {string(KindCommand), checked(CheckCommandID, func(r *RequestHeader) *string { return &r.CorrelationID })},
	HeaderCausationID:     {string(KindCommand), checked(CheckCommandID, func(r *RequestHeader) *string { return &r.CausationID })},
	HeaderUser:            {string(KindCommand), checked(CheckUser, func(r *RequestHeader) *string { return &r.User })},
	HeaderExpectedVersion: {string(KindCommand), version(func(r *RequestHeader) **uint64 { return &r.ExpectedVersion })},
	HeaderAsOfVersion:     {string(KindGet), version(func(r *RequestHeader) **uint64 { return &r.AsOfVersion })},
	HeaderAsOf: {string(KindGet), func(r *RequestHeader, v string) error {
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return fmt.Errorf("want a time such as 2026-03-14T09:26:53Z (RFC 3339)")
		}
		r.AsOf = &t
		return CheckTime(t)
	}},
	HeaderAfter: {string(KindView), readAfter},
	HeaderTrace: {"", checked(CheckTrace, func(r *RequestHeader) *string { return &r.Trace })},
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
	seen := map[string]string{}
	var few [8]string // as many names as requests usually have, at most
	names := slices.AppendSeq(few[:0], maps.Keys(h))
	slices.Sort(names)
	for _, name := range names {
		values, known := h[name], knownAs(name)
		f, ok := fields[known]
		if !ok {
			if err := checkForeign(name); err != nil {
				return r, err
			}
			continue
		}
		if other, twice := seen[known]; twice {
			return r, fmt.Errorf("header %s: it is given as %s too", name, other)
		}
		seen[known] = name
		if f.of != "" && f.of != string(kind) && (f.of != string(KindCommand) || kind != KindInbox) {
			return r, fmt.Errorf("header %s: it is for %s requests, not for %s", name, f.of, kind)
		}
		if len(values) != 1 {
			return r, fmt.Errorf("header %s: it is given %d times", name, len(values))
		}
		if err := f.read(&r, values[0]); err != nil {
			return r, fmt.Errorf("header %s: %s: %w", name, quote(values[0]), err)
		}
	}
	if r.AsOf != nil && r.AsOfVersion != nil {
		return r, fmt.Errorf("headers %s and %s: give one of them", HeaderAsOf, HeaderAsOfVersion)
	}
	return r, nil
}

// knownAs gives a header's name in our spelling. Our own headers have one spelling, since
// NATS tells names apart by case; the two that come from HTTP have any, since HTTP's
// libraries respell them.
func knownAs(name string) string {
	for _, known := range []string{HeaderContentType, HeaderTrace} {
		if strings.EqualFold(name, known) {
			return known
		}
	}
	return name
}

// servers are the headers that a nats-server itself adds to requests.
var servers = map[string]bool{"Nats-Request-Info": true, "Nats-Trace-Dest": true, "Nats-Trace-Only": true, "Nats-Trace-Hop": true}

func checkForeign(name string) error {
	if servers[name] {
		return nil
	}
	for known := range fields {
		if strings.EqualFold(name, known) {
			return fmt.Errorf("header %s: it is written %s", shown(name), known)
		}
	}
	switch lower := strings.ToLower(name); {
	case strings.HasPrefix(lower, "holdfast-"):
		return fmt.Errorf("header %s: it is unknown", shown(name))
	case strings.HasPrefix(lower, "nats-"):
		return fmt.Errorf("header %s: a request may not have it", shown(name))
	}
	return nil
}

// shown gives a header's name for an error, quoted if it is an odd one: an error travels
// in a header itself.
func shown(name string) string {
	if q := quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}

// quote gives the beginning of what somebody sent.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
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

// CheckTrace says what is wrong with a W3C traceparent.
func CheckTrace(s string) error {
	if !traceForm.MatchString(s) {
		return fmt.Errorf("want a W3C traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	}
	return nil
}

// CheckTime says what is wrong with a time: nanoseconds in an int64 can tell the years
// 1678 to 2261.
func CheckTime(t time.Time) error {
	if y := t.UTC().Year(); y < 1678 || y > 2261 {
		return fmt.Errorf("want a time in the years 1678 to 2261")
	}
	return nil
}

// CheckUser says what is wrong with the name of a user, which is 1 to 256 bytes of UTF-8
// without control characters.
func CheckUser(s string) error {
	if s == "" || len(s) > 256 {
		return fmt.Errorf("it has %d bytes, want 1 to 256", len(s))
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
