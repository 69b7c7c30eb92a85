package messages_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/messages"
)

type header = map[string][]string

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestParseRequestHeader(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 26, 53, 500, time.UTC)
	for _, tt := range []struct {
		name string
		kind messages.Kind
		h    header
		want messages.RequestHeader
	}{
		{"nothing", messages.KindCommand, nil, messages.RequestHeader{}},
		{"all of a command", messages.KindCommand, header{
			"Nats-Msg-Id": {"c-1"}, "Holdfast-Expected-Version": {"18446744073709551615"}, "Holdfast-Correlation-Id": {"story:7"},
			"Holdfast-Causation-Id": {"account/a-1@7"}, "Holdfast-User": {"Ada Lövelace"}, "traceparent": {trace},
			"Content-Type": {"application/protobuf"},
		}, messages.RequestHeader{
			ID: "c-1", ExpectedVersion: new(uint64(1<<64 - 1)), CorrelationID: "story:7", CausationID: "account/a-1@7",
			User: "Ada Lövelace", Trace: trace, Protobuf: true,
		}},
		{"all of a command for later", messages.KindInbox, header{
			"Nats-Msg-Id": {"c-1"}, "Holdfast-Expected-Version": {"7"}, "Holdfast-Correlation-Id": {"story:7"}, "Holdfast-Causation-Id": {"c"},
			"Holdfast-User": {"Ada"}, "traceparent": {trace}, "Content-Type": {"application/protobuf"},
		}, messages.RequestHeader{
			ID: "c-1", ExpectedVersion: new(uint64(7)), CorrelationID: "story:7", CausationID: "c", User: "Ada", Trace: trace, Protobuf: true,
		}},
		{"expected version 0", messages.KindCommand, header{"Holdfast-Expected-Version": {"0"}}, messages.RequestHeader{ExpectedVersion: new(uint64(0))}},
		{"as of a time", messages.KindGet, header{"Holdfast-As-Of": {"2026-03-14T10:26:53.0000005+01:00"}}, messages.RequestHeader{AsOf: &at}},
		{"as of a version", messages.KindGet, header{"Holdfast-As-Of-Version": {"7"}}, messages.RequestHeader{AsOfVersion: new(uint64(7))}},
		{"JSON with a charset", messages.KindHistory, header{"Content-Type": {"Application/JSON; charset=utf-8"}}, messages.RequestHeader{}},
		{"as HTTP libraries spell it", messages.KindGet, header{"content-type": {"application/protobuf"}, "Traceparent": {trace}}, messages.RequestHeader{Protobuf: true, Trace: trace}},
		{"of others", messages.KindCommand, header{"X-Anything": {"a", "b"}, "Natsy": {""}, "Nats-Request-Info": {"{}"}, "Nats-Trace-Dest": {"x"}}, messages.RequestHeader{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := messages.ParseRequestHeader(tt.kind, tt.h)
			if err != nil {
				t.Fatal(err)
			}
			if (got.AsOf == nil) != (tt.want.AsOf == nil) || got.AsOf != nil && !got.AsOf.Equal(*tt.want.AsOf) {
				t.Errorf("AsOf = %v, want %v", got.AsOf, tt.want.AsOf)
			}
			got.AsOf, tt.want.AsOf = nil, nil
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseRequestHeaderRefuses(t *testing.T) {
	const cmd, get, history = messages.KindCommand, messages.KindGet, messages.KindHistory
	long := strings.Repeat("x", 257)
	for _, tt := range []struct {
		kind              messages.Kind
		name, value, want string
	}{
		{cmd, "Nats-Msg-Id", "", "it has 0 bytes, want 1 to 128"},
		{cmd, "Nats-Msg-Id", long[:129], "it has 129 bytes, want 1 to 128"},
		{cmd, "Nats-Msg-Id", "a b", "want printable ASCII"},
		{cmd, "Nats-Msg-Id", "a\x7f", "want printable ASCII"},
		{cmd, "Nats-Msg-Id", "ü", "want printable ASCII"},
		{get, "Nats-Msg-Id", "c-1", "it is for cmd requests, not for get"},
		{cmd, "Holdfast-Correlation-Id", "a\tb", "want printable ASCII"},
		{cmd, "Holdfast-Causation-Id", "", "it has 0 bytes"},
		{cmd, "Holdfast-User", "", "it has 0 bytes, want 1 to 256"},
		{cmd, "Holdfast-User", long, "it has 257 bytes, want 1 to 256"},
		{cmd, "Holdfast-User", "\xff", `"\xff": it is not valid UTF-8`},
		{cmd, "Holdfast-User", "a\x1bb", "it has a control character"},
		{history, "Holdfast-User", "ada", "it is for cmd requests, not for history"},
		{cmd, "Holdfast-Expected-Version", "", "want a version"},
		{cmd, "Holdfast-Expected-Version", "-1", "want a version"},
		{cmd, "Holdfast-Expected-Version", "+1", "want a version"},
		{cmd, "Holdfast-Expected-Version", "01", "want a version"},
		{cmd, "Holdfast-Expected-Version", "1.0", "want a version"},
		{cmd, "Holdfast-Expected-Version", " 1", "want a version"},
		{cmd, "Holdfast-Expected-Version", "one", "want a version"},
		{cmd, "Holdfast-Expected-Version", "18446744073709551616", "want a version"},
		{get, "Holdfast-Expected-Version", "1", "it is for cmd requests, not for get"},
		{get, "Holdfast-As-Of-Version", "-1", "want a version"},
		{cmd, "Holdfast-As-Of-Version", "1", "it is for get requests, not for cmd"},
		{get, "Holdfast-As-Of", "yesterday", "want a time such as 2026-03-14T09:26:53Z"},
		{get, "Holdfast-As-Of", "2026-03-14", "want a time such as"},
		{get, "Holdfast-As-Of", "2026-02-30T00:00:00Z", "want a time such as"},
		{get, "Holdfast-As-Of", "1677-12-31T23:59:59Z", "want a time in the years 1678 to 2261"},
		{get, "Holdfast-As-Of", "2262-01-01T00:00:00Z", "want a time in the years 1678 to 2261"},
		{get, "Holdfast-As-Of", "2261-12-31T23:59:59-01:00", "want a time in the years 1678 to 2261"},
		{history, "Holdfast-As-Of", "2026-03-14T09:26:53Z", "it is for get requests, not for history"},
		{cmd, "traceparent", "00-xyz", "want a W3C traceparent"},
		{cmd, "traceparent", strings.ToUpper(trace), "want a W3C traceparent"},
		{cmd, "traceparent", trace + "-", "want a W3C traceparent"},
		{cmd, "traceparent", "0" + trace, "want a W3C traceparent"},
		{cmd, "Content-Type", "text/plain", "want application/json or application/protobuf"},
		{cmd, "Content-Type", "", "want application/json or application/protobuf"},
		{cmd, "holdfast-user", "ada", "it is written Holdfast-User"},
		{cmd, "NATS-MSG-ID", "c-1", "it is written Nats-Msg-Id"},
		{cmd, "Holdfast-Expected", "1", "it is unknown"},
		{cmd, "Holdfast-Version", "1", "it is unknown"},
		{cmd, "Nats-Expected-Last-Msg-Id", "x", "a request may not have it"},
		{cmd, "Nats-Expected-Last-Subject-Sequence", "0", "a request may not have it"},
		{cmd, "Nats-Rollup", "all", "a request may not have it"},
		{cmd, "nats-subject", "x", "a request may not have it"},
		{get, "Nats-Sequence", "9", "a request may not have it"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			_, err := messages.ParseRequestHeader(tt.kind, header{tt.name: {tt.value}})
			wantError(t, err, tt.want)
			wantNamed(t, err, "header "+tt.name+":")
		})
	}
}

// TestHeaderErrorsAreShort: an error goes back to the client in a header.
func TestHeaderErrorsAreShort(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"Holdfast-\x00\xff", "x", `header "Holdfast-\x00\xff": it is unknown`},
		{"nats-\x07", "x", `header "nats-\a": a request may not have it`},
		{"Holdfast-" + strings.Repeat("x", 60_000), "x", `header "Holdfast-` + strings.Repeat("x", 55) + `"…: it is unknown`},
		{"Holdfast-User", strings.Repeat("x", 60_000), `header Holdfast-User: "` + strings.Repeat("x", 64) + `"…: it has 60000 bytes`},
	} {
		_, err := messages.ParseRequestHeader(messages.KindCommand, header{tt.name: {tt.value}})
		wantError(t, err, tt.want)
	}
}

func TestParseRequestHeaderRefusesTwo(t *testing.T) {
	for _, tt := range []struct {
		kind messages.Kind
		h    header
		want string
	}{
		{messages.KindCommand, header{"Nats-Msg-Id": {"a", "b"}}, "header Nats-Msg-Id: it is given 2 times"},
		{messages.KindCommand, header{"Nats-Msg-Id": {}}, "header Nats-Msg-Id: it is given 0 times"},
		{messages.KindCommand, header{"content-type": {"application/json"}, "Content-Type": {"application/protobuf"}}, "header content-type: it is given as Content-Type too"},
		{messages.KindGet, header{"Holdfast-As-Of": {"2026-03-14T09:26:53Z"}, "Holdfast-As-Of-Version": {"1"}}, "headers Holdfast-As-Of and Holdfast-As-Of-Version: give one of them"},
	} {
		_, err := messages.ParseRequestHeader(tt.kind, tt.h)
		wantError(t, err, tt.want)
	}
}

// written writes a request's headers as a client would.
func written(r messages.RequestHeader) header {
	h := header{}
	put := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	put(messages.HeaderID, r.ID)
	put(messages.HeaderCorrelationID, r.CorrelationID)
	put(messages.HeaderCausationID, r.CausationID)
	put(messages.HeaderUser, r.User)
	put(messages.HeaderTrace, r.Trace)
	if r.ExpectedVersion != nil {
		put(messages.HeaderExpectedVersion, strconv.FormatUint(*r.ExpectedVersion, 10))
	}
	if r.AsOfVersion != nil {
		put(messages.HeaderAsOfVersion, strconv.FormatUint(*r.AsOfVersion, 10))
	}
	if r.AsOf != nil {
		put(messages.HeaderAsOf, r.AsOf.Format(time.RFC3339Nano))
	}
	if r.Protobuf {
		put(messages.HeaderContentType, messages.TypeProtobuf)
	}
	return h
}

// FuzzRequestHeader: what is accepted keeps its limits and says the same when it is
// written again; what is refused is refused by name.
func FuzzRequestHeader(f *testing.F) {
	f.Add(uint8(0), "Nats-Msg-Id", "c-1", "Holdfast-User", "Ada")
	f.Add(uint8(0), "Holdfast-Expected-Version", "01", "traceparent", trace)
	f.Add(uint8(1), "Holdfast-As-Of", "2026-03-14T09:26:53.5+01:00", "Content-Type", "application/json; charset=utf-8")
	f.Add(uint8(1), "Holdfast-As-Of-Version", "7", "holdfast-user", "")
	f.Add(uint8(2), "Traceparent", trace, "content-type", "application/protobuf")
	f.Add(uint8(2), "Nats-Rollup", "all", "X", "\x00")
	kinds := []messages.Kind{messages.KindCommand, messages.KindGet, messages.KindHistory}
	f.Fuzz(func(t *testing.T, kind uint8, name1, value1, name2, value2 string) {
		k := kinds[int(kind)%len(kinds)]
		h := header{name1: {value1}}
		h[name2] = append(h[name2], value2)
		r, err := messages.ParseRequestHeader(k, h)
		if err != nil {
			wantNamed(t, err, "header "+name1+":", "header "+name2+":", `header "`, "headers Holdfast-As-Of and ")
			if len(err.Error()) > 600 || !utf8.ValidString(err.Error()) || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("the error cannot travel in a header: %q", err)
			}
			return
		}
		for _, id := range []string{r.ID, r.CorrelationID, r.CausationID} {
			if len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
				t.Errorf("accepted the id %q", id)
			}
		}
		if len(r.User) > 256 || len(r.Trace) > 55 {
			t.Errorf("accepted %+v", r)
		}
		again, err := messages.ParseRequestHeader(k, written(r))
		if err != nil || !reflect.DeepEqual(written(again), written(r)) {
			t.Errorf("%v is read as %+v and, written again, as %+v, %v", h, r, again, err)
		}
	})
}

// TestHeaderNames holds the names, which clients spell out.
func TestHeaderNames(t *testing.T) {
	want := map[string]string{
		messages.HeaderID: "Nats-Msg-Id", messages.HeaderContentType: "Content-Type", messages.HeaderExpectedVersion: "Holdfast-Expected-Version",
		messages.HeaderCorrelationID: "Holdfast-Correlation-Id", messages.HeaderCausationID: "Holdfast-Causation-Id",
		messages.HeaderUser: "Holdfast-User", messages.HeaderAsOf: "Holdfast-As-Of", messages.HeaderAsOfVersion: "Holdfast-As-Of-Version",
		messages.HeaderTrace: "traceparent", messages.HeaderVersion: "Holdfast-Version", messages.HeaderPosition: "Holdfast-Position",
		messages.HeaderDuplicate: "Holdfast-Duplicate",
	}
	for got, name := range want {
		if got != name {
			t.Errorf("a header is called %s, want %s", got, name)
		}
	}
}
