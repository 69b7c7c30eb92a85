package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// headerRoom is what is kept free of a message for the headers of an answer.
const headerRoom = 1 << 10

// maxSentence is how many bytes of an error are told: it may quote what came in, and it
// stands in a header too.
const maxSentence = 512

// answer is what a request is answered with when it went well.
type answer struct {
	header nats.Header
	body   []byte
}

// header tells where an aggregate stands.
func header(v holdfast.Version, p holdfast.Position) nats.Header {
	return nats.Header{
		messages.HeaderVersion:  {strconv.FormatUint(uint64(v), 10)},
		messages.HeaderPosition: {p.String()},
	}
}

// room is how many bytes the body of an answer may have.
func (g *Gateway) room() int { return int(g.cfg.Conn.MaxPayload()) - headerRoom }

// encode gives the body in the kind that was asked for: always the same bytes for the
// same content.
func encode(protobuf bool, m proto.Message, v any) ([]byte, error) {
	if protobuf {
		return proto.MarshalOptions{Deterministic: true}.Marshal(m)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// show gives a message of the domain in JSON, with all its fields. Its spaces vary on
// purpose; encode takes them out.
func show(m proto.Message) (json.RawMessage, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("show %s: %s", proto.MessageName(m), plain(err))
	}
	return text, nil
}

func showTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// failure is what a client hears of an error.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	status  int
}

// kinds of failure, with the sentence for an error that has none.
var kinds = map[holdfast.Code]struct {
	status  int
	message string
}{
	holdfast.CodeMalformed:   {400, "the request is malformed"},
	holdfast.CodeUnknown:     {404, "there is no such thing"},
	holdfast.CodeConflict:    {409, "the expected version does not hold"},
	holdfast.CodeTooLarge:    {413, "it is too large"},
	holdfast.CodeOverloaded:  {429, "too much is under way; it was not executed: send it again later"},
	holdfast.CodeCorrupt:     {500, "the aggregate's log is damaged: an operator has to look"},
	holdfast.CodeUnavailable: {503, "it was not executed: send it again"},
	holdfast.CodeUncertain:   {504, "it may have been executed"},
}

const (
	statusRejected = 422
	statusInternal = 500
)

// explain tells what a client hears of err. What is a bug, of the domain or of ours, is
// told to the log under a reference, and the client hears the reference.
func (g *Gateway) explain(a arrival, err error) failure {
	if rejection, ok := errors.AsType[*holdfast.Rejection](err); ok && rejection.Valid() {
		return failure{rejection.Reason, sentence(rejection.Message, rejection.Reason), statusRejected}
	}
	if e, ok := errors.AsType[*holdfast.Error](err); ok {
		if kind, ok := kinds[e.Code]; ok {
			if e.Code == holdfast.CodeCorrupt {
				g.cfg.Logger.Error("aggregate is corrupt", "subject", a.subject, "error", err)
			}
			return failure{string(e.Code), sentence(e.Message, kind.message), kind.status}
		}
	}
	reference := g.cfg.NewID()
	log := g.cfg.Logger.With("subject", a.subject, "reference", reference)
	if p, ok := errors.AsType[*panicked](err); ok {
		log = log.With("stack", string(p.stack))
	}
	log.Error("request failed by a bug", "error", err)
	return failure{string(holdfast.CodeInternal), "internal error; its reference in the node's log is " + reference, statusInternal}
}

// sentence makes text fit to stand in a header and a body: one line of valid UTF-8, as
// strings.Map makes it, and not too long.
func sentence(text, otherwise string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if text = strings.TrimSpace(text); text == "" {
		return otherwise
	}
	if len(text) <= maxSentence {
		return text
	}
	end := maxSentence
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// finish answers a request and counts it.
func (g *Gateway) finish(a arrival, start time.Time, result answer, err error) {
	status := 0
	if err != nil {
		f := g.explain(a, err)
		status, result = f.status, g.refusal(a, f)
	}
	err = g.cfg.Conn.PublishMsg(&nats.Msg{Subject: a.reply, Header: result.header, Data: result.body})
	if err != nil {
		g.cfg.Logger.Warn("reply could not be sent", "subject", a.subject, "error", err)
	}
	a.endpoint.counters.answered(status, g.cfg.Now().Sub(start), err == nil)
}

func (g *Gateway) refusal(a arrival, f failure) answer {
	body, err := encode(a.protobuf, &messages.ErrorReply{Code: f.Code, Message: f.Message}, map[string]failure{"error": f})
	if err != nil { // the headers say it all
		g.cfg.Logger.Error("encode error reply", "subject", a.subject, "error", err)
	}
	return answer{body: body, header: nats.Header{
		micro.ErrorCodeHeader: {strconv.Itoa(f.status)},
		micro.ErrorHeader:     {f.Message},
	}}
}
