package gateway

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// arrival is a request as it came.
type arrival struct {
	endpoint *endpoint
	subject  string
	reply    string
	headers  map[string][]string
	body     []byte
	garbled  bool // its headers could not be read
	protobuf bool // it is to be answered in protobuf
}

// request is one that has been understood, but for its body.
type request struct {
	arrival
	at      time.Time
	header  messages.RequestHeader
	subject messages.Subject
	ref     holdfast.Ref
	def     holdfast.Definition
}

// receive takes a request from its subscription, which has one goroutine: it must not
// block.
func (g *Gateway) receive(e *endpoint, r micro.Request) {
	a := arrival{endpoint: e, subject: r.Subject(), reply: r.Reply(), headers: r.Headers(), body: r.Data(), garbled: garbled(r)}
	switch {
	case a.reply == "":
		e.counters.count(func(s *Stats) { s.Ignored++ })
		g.cfg.Logger.Debug("request ignored: it has no reply subject", "subject", a.subject)
		return
	case !answerable(g.cfg.Context, a.reply):
		e.counters.count(func(s *Stats) { s.Forbidden++ })
		g.cfg.Logger.Warn("request ignored: an answer may not be sent to its reply subject", "subject", a.subject, "reply", a.reply)
		return
	}
	a.protobuf = wantsProtobuf(e.kind, a.headers)
	start := g.cfg.Now()
	err := g.admit(a)
	if err != nil {
		g.finish(a, start, answer{}, err)
		return
	}
	go func() {
		defer g.flight.leave(len(a.body))
		result, err := g.handle(a, start)
		g.finish(a, start, result, err)
	}()
}

func (g *Gateway) admit(a arrival) error {
	if len(a.body) > g.cfg.MaxBody {
		return holdfast.Errorf(holdfast.CodeTooLarge, "body: it has %d bytes, the limit is %d", len(a.body), g.cfg.MaxBody)
	}
	return g.flight.enter(len(a.body))
}

// handle has a request executed.
func (g *Gateway) handle(a arrival, at time.Time) (result answer, err error) {
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			result, err = answer{}, &panicked{value: p, stack: debug.Stack()}
		}
	}()
	r, err := g.parse(a)
	if err != nil {
		return answer{}, err
	}
	r.at = at
	return a.endpoint.handle(ctx, r)
}

// panicked is the error of a function that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// parse reads what a request says beside its body.
func (g *Gateway) parse(a arrival) (*request, error) {
	subject, err := messages.ParseSubject(a.subject)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	def, ok := g.types[subject.Type]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "type %s is unknown: there are %s", subject.Type, g.names)
	}
	header, err := parseHeader(a)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	return &request{
		arrival: a, subject: subject, header: header, def: def,
		ref: holdfast.Ref{Type: subject.Type, ID: subject.ID.Raw()},
	}, nil
}

func parseHeader(a arrival) (messages.RequestHeader, error) {
	if a.garbled {
		return messages.RequestHeader{}, fmt.Errorf("header: it is not of the form NATS/1.0, then lines of name: value, then an empty line")
	}
	for name := range a.headers {
		// A name with a blank around it is another name, and its condition would be overlooked.
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return messages.RequestHeader{}, fmt.Errorf("header %q: want a name of printable ASCII characters without spaces", name)
		}
	}
	return messages.ParseRequestHeader(a.endpoint.kind, a.headers)
}

// wantsProtobuf reads the content type alone, so that other headers may be wrong and the
// error still is in the kind that was asked for.
func wantsProtobuf(kind messages.Kind, headers map[string][]string) bool {
	alone := map[string][]string{}
	for name, values := range headers {
		if strings.EqualFold(name, messages.HeaderContentType) {
			alone[name] = values
		}
	}
	h, err := messages.ParseRequestHeader(kind, alone)
	return err == nil && h.Protobuf
}

// ours are the second tokens of a context's subjects.
var ours = []string{"log", "snap", "cmd", "get", "history", "inbox", "evt"}

// answerable reports whether an answer may be published to the reply subject. Whoever
// names it chooses where the gateway publishes: not to the server's own subjects, and not
// into a context, this one or another, where a stream may take it for a record.
func answerable(c messages.Context, reply string) bool {
	tokens := strings.Split(reply, ".")
	for _, t := range tokens {
		if t == "" || t == "*" || t == ">" {
			return false
		}
	}
	if strings.HasPrefix(reply, "$") || tokens[0] == string(c) {
		return false
	}
	_, err := messages.ParseContext(tokens[0])
	return err != nil || len(tokens) < 2 || !slices.Contains(ours, tokens[1])
}

// garbled reports whether the request came with headers that could not be read. nats.go
// then passes it on as if it had none, which would drop its conditions; only the size
// of the message, which micro keeps to itself, still tells.
func garbled(r micro.Request) bool {
	if r.Headers() != nil {
		return false
	}
	v := reflect.ValueOf(r)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false
	}
	field := v.Elem().FieldByName("msg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*nats.Msg]() {
		return false
	}
	msg := (*nats.Msg)(field.UnsafePointer())
	return msg != nil && msg.Size() != len(msg.Subject)+len(msg.Reply)+len(msg.Data)
}
