package serve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// ParseHeader reads the headers of a request of that kind. The error is ErrMalformed and
// names the header.
func (r *Request) ParseHeader(kind messages.Kind) (messages.RequestHeader, error) {
	if r.Garbled {
		return messages.RequestHeader{}, holdfast.Errorf(holdfast.CodeMalformed, "header: it is not of the form NATS/1.0, then lines of name: value, then an empty line")
	}
	for name := range r.Headers {
		// A name with a blank around it is another name, and its condition would be overlooked.
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return messages.RequestHeader{}, holdfast.Errorf(holdfast.CodeMalformed, "header %q: want a name of printable ASCII characters without spaces", name)
		}
	}
	h, err := messages.ParseRequestHeader(kind, r.Headers)
	if err != nil {
		return h, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	return h, nil
}

// Meta is what stands beside the command of a request that came at a time.
func (s *Service) Meta(h messages.RequestHeader, at time.Time) holdfast.Meta {
	m := holdfast.Meta{
		ID: h.ID, CorrelationID: h.CorrelationID, CausationID: h.CausationID, User: h.User, Trace: h.Trace, At: at,
	}
	if m.ID == "" {
		m.ID = s.cfg.NewID()
	}
	return m
}

// Garbled reports whether a message came with headers that could not be read. nats.go then
// passes it on as if it had none, which would drop its conditions; only its size still tells.
func Garbled(m *nats.Msg) bool {
	return m.Header == nil && m.Size() != len(m.Subject)+len(m.Reply)+len(m.Data)
}

// Unread makes of an unclassified error, when the time is up, what it is for a request that
// only reads.
func Unread(ctx context.Context, err error) error {
	if ctx.Err() == nil || holdfast.CodeOf(err) != holdfast.CodeInternal {
		return err
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "the request was broken off (%w): send it again", err)
}

// Unsettled adds to an uncertain outcome how it is settled, which a client that gave no
// id could not know. An error that the sender does not classify is uncertain when the
// time was up.
func Unsettled(ctx context.Context, err error, id string) error {
	code := holdfast.CodeOf(err)
	_, classified := errors.AsType[*holdfast.Error](err)
	late := code == holdfast.CodeInternal && !classified && ctx.Err() != nil
	if code != holdfast.CodeUncertain && !late {
		return err
	}
	return holdfast.Errorf(holdfast.CodeUncertain, "it may have been executed: send it again with the header %s: %s to settle it (%w)",
		messages.HeaderID, id, err)
}

// ours are the second tokens of a context's subjects.
var ours = []string{
	"log", "snap", "cmd", "get", "history", "sagas", "inbox", "accepted", "outcome", "evt", "fed", "index", "view", "views", "projections",
	"parked", "feed",
}

// answerable reports whether an answer may be published to the reply subject. Whoever
// names it chooses where we publish: not to the server's own subjects, and not
// into a context, this one or another, where a stream may take it for a record.
func answerable(c messages.Context, reply string) bool {
	for t := range strings.SplitSeq(reply, ".") {
		if t == "" || t == "*" || t == ">" {
			return false
		}
	}
	first, rest, _ := strings.Cut(reply, ".")
	if strings.HasPrefix(reply, "$") || first == string(c) {
		return false
	}
	if second, _, _ := strings.Cut(rest, "."); !slices.Contains(ours, second) {
		return true
	}
	_, err := messages.ParseContext(first)
	return err != nil
}
