package feed_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
)

// A binaryMessage is a NATS message for the SDK of CloudEvents, whose own binding to NATS
// reads the same: headers that begin with ce-.
type binaryMessage struct {
	header nats.Header
	data   []byte
}

var versions = spec.WithPrefix("ce-")

func (binaryMessage) ReadEncoding() binding.Encoding { return binding.EncodingBinary }

func (binaryMessage) ReadStructured(context.Context, binding.StructuredWriter) error {
	return binding.ErrNotStructured
}

func (binaryMessage) Finish(error) error { return nil }

func (m binaryMessage) ReadBinary(_ context.Context, w binding.BinaryWriter) error {
	version := versions.Version(m.header.Get(versions.PrefixedSpecVersionName()))
	for name, values := range m.header {
		short, ours := strings.CutPrefix(name, "ce-")
		if !ours {
			continue
		}
		var err error
		if a := version.Attribute(name); a != nil {
			err = w.SetAttribute(a, values[0])
		} else {
			err = w.SetExtension(short, values[0])
		}
		if err != nil {
			return err
		}
	}
	return w.SetData(bytes.NewReader(m.data))
}

func (m binaryMessage) GetAttribute(k spec.Kind) (spec.Attribute, any) {
	a := versions.Version(m.header.Get(versions.PrefixedSpecVersionName())).AttributeFromKind(k)
	if v := m.header.Get(a.PrefixedName()); v != "" {
		return a, v
	}
	return a, nil
}

func (m binaryMessage) GetExtension(name string) any { return m.header.Get("ce-" + name) }

// TestCloudEvents: what comes from the feed is a CloudEvent, as its SDK judges.
func TestCloudEvents(t *testing.T) {
	w := newWorld(t)
	w.record(ref("p.1"), encode(t, &pb.Deposited{Amount: 7}, &pb.AccountOpened{Owner: "boom"})...)
	w.want = []string{"purse/p=2E1@1", "purse/p=2E1@2"}
	w.start(w.config())
	w.awaitEvents()
	var list []*event.Event
	for _, m := range w.read() {
		e, err := binding.ToEvent(t.Context(), binaryMessage{m.Header, m.Data})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		list = append(list, e)
	}
	e := list[0]
	for what, is := range map[string]bool{
		"version":     e.SpecVersion() == "1.0",
		"id":          e.ID() == "purse/p=2E1@1",
		"source":      e.Source() == "/shop/purse/p=2E1",
		"type":        e.Type() == "bank.v1.Deposited",
		"time":        e.Time().Equal(at),
		"subject":     e.Subject() == "purse/p=2E1",
		"contentType": e.DataContentType() == messages.TypeJSON,
		"sequence":    e.Extensions()["sequence"] == "00000000000000000001",
		"correlation": e.Extensions()["correlationid"] == "story-%1",
		"causation":   e.Extensions()["causationid"] == "%C3%A4%20b",
		"position":    e.Extensions()["position"] == "0-1",
	} {
		if !is {
			t.Errorf("the %s of %s is wrong", what, e)
		}
	}
	var data struct{ Amount string }
	if err := e.DataAs(&data); err != nil || data.Amount != "7" {
		t.Errorf("its data are %+v, %v", data, err)
	}
	if list[1].DataContentType() != messages.TypeProtobuf {
		t.Errorf("an unread event has data of %s", list[1].DataContentType())
	}
}
