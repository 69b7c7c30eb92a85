package gateway

import (
	"context"
	"reflect"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

// request is one that has been understood, but for its body.
type request struct {
	*serve.Request
	header  messages.RequestHeader
	subject messages.Subject
	ref     holdfast.Ref
	def     holdfast.Definition
}

// receive takes a request from its subscription, which has one goroutine: it must not
// block.
func (g *Gateway) receive(e *endpoint, r micro.Request) {
	e.requests.Receive(&e.Endpoint, serve.Request{
		Subject: r.Subject(), Reply: r.Reply(), Headers: r.Headers(), Body: r.Data(),
		Garbled: garbled(r), Protobuf: e.ofAggregates() && wantsProtobuf(e.kind, r.Headers()),
	})
}

// handle has a request understood and executed.
func (g *Gateway) handle(ctx context.Context, e *endpoint, came *serve.Request) (serve.Answer, error) {
	r, err := g.parse(e, came)
	if err != nil {
		return serve.Answer{}, err
	}
	return e.execute(ctx, r)
}

// parse reads what a request says beside its body.
func (g *Gateway) parse(e *endpoint, came *serve.Request) (*request, error) {
	subject, err := messages.ParseSubject(came.Subject)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	def, ok := g.types[subject.Type]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnknown, "type %s is unknown: there are %s", subject.Type, g.names)
	}
	header, err := came.ParseHeader(e.kind)
	if err != nil {
		return nil, err
	}
	return &request{
		Request: came, subject: subject, header: header, def: def,
		ref: holdfast.Ref{Type: subject.Type, ID: subject.ID.Raw()},
	}, nil
}

// wantsProtobuf reads the content type alone, so that other headers may be wrong and the
// error still is in the kind that was asked for.
func wantsProtobuf(kind messages.Kind, headers map[string][]string) bool {
	var alone map[string][]string
	for name, values := range headers {
		if strings.EqualFold(name, messages.HeaderContentType) {
			if alone == nil {
				alone = map[string][]string{}
			}
			alone[name] = values
		}
	}
	if alone == nil {
		return false
	}
	h, err := messages.ParseRequestHeader(kind, alone)
	return err == nil && h.Protobuf
}

// garbled is [serve.Garbled] of the message that micro keeps to itself.
func garbled(r micro.Request) bool {
	v := reflect.ValueOf(r)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false
	}
	field := v.Elem().FieldByName("msg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*nats.Msg]() {
		return false
	}
	msg := (*nats.Msg)(field.UnsafePointer())
	return msg != nil && serve.Garbled(msg)
}
