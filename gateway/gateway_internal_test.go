package gateway

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
)

func TestGarbledOfAnotherKindOfRequest(t *testing.T) {
	t.Parallel()
	for _, r := range []micro.Request{fake{}, &fake{}} {
		if garbled(r) {
			t.Errorf("a %T is called garbled", r)
		}
	}
}

type fake struct{ micro.Request }

func (fake) Headers() micro.Headers { return nil }

func TestNestedUnknownFields(t *testing.T) {
	t.Parallel()
	inMap := structpb.NewStringValue("x")
	inMap.ProtoReflect().SetUnknown([]byte("\x98\x06\x01"))
	in, err := proto.Marshal(structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"deep": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"a": inMap}}),
	}}))
	if err != nil {
		t.Fatal(err)
	}
	err = serve.Decode(in, new(structpb.Value), true)
	if !errors.Is(err, holdfast.ErrMalformed) || !strings.Contains(err.Error(), "a google.protobuf.Value has no field number 99") {
		t.Errorf("got %v", err)
	}
	event := &messages.HistoryEvent{Id: "x"}
	event.ProtoReflect().SetUnknown([]byte("\x98\x06\x01"))
	body, err := proto.Marshal(&messages.HistoryReply{Events: []*messages.HistoryEvent{{Id: "fine"}, event}})
	if err != nil {
		t.Fatal(err)
	}
	err = serve.Decode(body, new(messages.HistoryReply), true)
	if !errors.Is(err, holdfast.ErrMalformed) || !strings.Contains(err.Error(), "a holdfast.v1.HistoryEvent has no field number 99") {
		t.Errorf("got %v", err)
	}
}

// Whatever is sent, the body is either refused with a sentence or is what the message
// says: encoded and decoded again it is the same.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"ref":"account/a-1","events":[{"version":"1","data":"AAE="}],"next":2}`, `{"events":[{}`, `{"next":1e3}`, `{"next":-1}`, `{"nope":1}`,
		`null`, `[]`, `"x"`, `{"ref":"\ud800"}`, "{\"ref\":\"\xff\"}", `{"next":1,"next":1}`, `{"events":null}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var m, again messages.HistoryReply
		if err := serve.Decode(body, &m, false); err != nil {
			text := serve.Sentence(err.Error(), "")
			if !errors.Is(err, holdfast.ErrMalformed) || text == "" || !utf8.ValidString(text) || strings.Contains(text, "\u00a0") {
				t.Fatalf("a bad sentence for %q: %v", body, err)
			}
			return
		}
		text, err := protojson.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if err := serve.Decode(text, &again, false); err != nil || !proto.Equal(&m, &again) {
			t.Fatalf("%q became %s: %v", body, text, err)
		}
	})
}
