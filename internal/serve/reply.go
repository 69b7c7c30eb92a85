package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// An Answer is what a request is answered with when it went well.
type Answer struct {
	Header nats.Header
	Body   []byte
}

// Header tells where an aggregate stands.
func Header(v holdfast.Version, p holdfast.Position) nats.Header { return header(v, p.String()) }

func header(v holdfast.Version, position string) nats.Header {
	values := []string{strconv.FormatUint(uint64(v), 10), position}
	return nats.Header{messages.HeaderVersion: values[:1:1], messages.HeaderPosition: values[1:]}
}

// A Receipt is the JSON form of messages.CommandReply.
type Receipt struct {
	Ref       string   `json:"ref"`
	Version   uint64   `json:"version"`
	Position  string   `json:"position"`
	Events    []string `json:"events"`
	Duplicate bool     `json:"duplicate"`
}

// NewReceipt tells what a command did to an aggregate, and the headers that go with it.
func NewReceipt(ref string, done holdfast.Receipt) (Receipt, nats.Header) {
	position := done.Position.String()
	h := header(done.Version, position)
	if done.Duplicate {
		h.Set(messages.HeaderDuplicate, "true")
	}
	r := Receipt{Ref: ref, Version: uint64(done.Version), Position: position, Events: done.Events, Duplicate: done.Duplicate}
	if r.Events == nil {
		r.Events = []string{} // [] in JSON
	}
	return r, h
}

// Room is how many bytes the body of an answer may have.
func (s *Service) Room() int { return int(s.cfg.Conn.MaxPayload()) - headerRoom }

// Encode gives the body in the kind that was asked for: always the same bytes for the
// same content.
func Encode(protobuf bool, m proto.Message, v any) ([]byte, error) {
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

// Show gives a message of the domain in JSON, with all its fields. Its spaces vary on
// purpose; Encode takes them out.
func Show(m proto.Message) (json.RawMessage, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("show %s: %s", proto.MessageName(m), Plain(err))
	}
	return text, nil
}

// Plain gives a protobuf error's text, which varies its spaces from build to build so
// that nobody relies on it, in one form.
func Plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(text, "proto: ")
}

// ShowTime gives a time as it stands in JSON.
func ShowTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// A Failure is what those who ask hear of an error.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Status is the number that goes with it.
	Status int `json:"-"`
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
	holdfast.CodeBehind:      {504, "the read model has not come that far: ask again"},
	holdfast.CodeUncertain:   {504, "it may have been executed"},
}

const (
	statusRejected = 422
	statusInternal = 500
)

// Known tells what is heard of err by those who have asked, and whether they may hear it at
// all: not of what is a bug, of the domain or of ours.
func Known(err error) (Failure, bool) {
	if rejection, ok := errors.AsType[*holdfast.Rejection](err); ok && rejection.Valid() {
		return Failure{rejection.Reason, Sentence(rejection.Message, rejection.Reason), statusRejected}, true
	}
	if e, ok := errors.AsType[*holdfast.Error](err); ok {
		if kind, ok := kinds[e.Code]; ok {
			return Failure{string(e.Code), Sentence(e.Message, kind.message), kind.status}, true
		}
	}
	return Failure{}, false
}

// Explain tells what those hear of err who have asked on a subject. What is a bug, of the
// domain or of ours, is told to the log under a reference, and they hear the reference.
func (s *Service) Explain(subject string, err error) Failure {
	if f, ok := Known(err); ok {
		if errors.Is(err, holdfast.ErrCorrupt) {
			s.cfg.Logger.Error("aggregate is corrupt", "subject", subject, "error", err)
		}
		return f
	}
	reference := s.cfg.NewID()
	log := s.cfg.Logger.With("subject", subject, "reference", reference)
	if p, ok := errors.AsType[*panicError](err); ok {
		log = log.With("stack", string(p.stack))
	}
	log.Error("request failed by a bug", "error", err)
	return Failure{string(holdfast.CodeInternal), "internal error; its reference in the node's log is " + reference, statusInternal}
}

// Sentence makes text fit to stand in a header and a body: one line of valid UTF-8, as
// strings.Map makes it, and not too long.
func Sentence(text, otherwise string) string {
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
func (s *Service) finish(e *Endpoint, r *Request, result Answer, err error) {
	status := 0
	if err != nil {
		f := s.Explain(r.Subject, err)
		beside := result.Header // what an error tells in headers of its own
		status, result = f.Status, s.refusal(e, r, f)
		maps.Copy(result.Header, beside)
	}
	err = s.cfg.Conn.PublishMsg(&nats.Msg{Subject: r.Reply, Header: result.Header, Data: result.Body})
	if err != nil {
		s.cfg.Logger.Warn("reply could not be sent", "subject", r.Subject, "error", err)
	}
	e.counters.answered(status, s.cfg.Now().Sub(r.At), err == nil)
}

func (s *Service) refusal(e *Endpoint, r *Request, f Failure) Answer {
	var body []byte
	var err error
	if e.Refuse != nil {
		body, err = e.Refuse(f)
	} else {
		body, err = Encode(r.Protobuf, &messages.ErrorReply{Code: f.Code, Message: f.Message}, f.Body())
	}
	if err != nil { // the headers say it all
		s.cfg.Logger.Error("encode error reply", "subject", r.Subject, "error", err)
	}
	return Answer{Body: body, Header: f.Header()}
}

// Body is what stands in JSON.
func (f Failure) Body() any { return map[string]Failure{"error": f} }

// Header is the convention of NATS services.
func (f Failure) Header() nats.Header {
	return nats.Header{micro.ErrorCodeHeader: {strconv.Itoa(f.Status)}, micro.ErrorHeader: {f.Message}}
}
