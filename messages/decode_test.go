package messages_test

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/messages"
)

// oddBodies are commits as this build does not write them, but as protobuf allows.
func oddBodies(tb testing.TB) map[string][]byte {
	tb.Helper()
	good := goldenChain(tb)[3].body
	content, seal := good[:len(good)-34], good[len(good)-34:]
	with := func(more ...byte) []byte { return slices.Concat(content, more, seal) }
	return map[string][]byte{
		"an unknown field":                    with(0xa0, 0x06, 0x01),
		"an unknown field of a change":        with(0x42, 0x02, 0x50, 0x01),
		"an unknown field of an event":        with(0x42, 0x04, 0x42, 0x02, 0x28, 0x01),
		"a number twice":                      with(0x28, 0x01),
		"a number of eight bytes":             with(0x29, 1, 0, 0, 0, 0, 0, 0, 0),
		"a group":                             with(0xa3, 0x06, 0xa4, 0x06),
		"text twice":                          with(0x12, 0x01, 'x'),
		"a longer tag than it needs":          with(0xa8, 0x00, 0x01),
		"a trail number by number":            slices.Concat([]byte{8, 1, 24, 1, 40, 9, 48, 1, 48, 2}, seal),
		"a trail in two parts":                slices.Concat([]byte{8, 1, 24, 1, 40, 9, 0x32, 1, 1, 0x32, 1, 2}, seal),
		"a trail that breaks off":             slices.Concat([]byte{8, 1, 24, 1, 40, 9, 0x32, 1, 0x81}, seal),
		"a change of which text is not UTF-8": with(0x42, 0x03, 0x0a, 0x01, 0xff),
		"an event of which text is not UTF-8": with(0x42, 0x05, 0x42, 0x03, 0x0a, 0x01, 0xff),
		"a change that is text":               with(0x40, 0x01),
		"a field with the number 0":           with(0x00, 0x01),
	}
}

// wantDecoded checks that a decoder, used before or not, reads a body as the protobuf library
// does, or refuses it as it does.
func wantDecoded(t *testing.T, d *messages.Decoder, name string, body []byte) {
	t.Helper()
	want := new(messages.Commit)
	failed := proto.Unmarshal(body, want)
	got, err := d.Open(body)
	if err == nil && (failed != nil || !proto.Equal(got, want)) {
		t.Errorf("%s: decoded as\n%v, want\n%v, %v", name, got, want, failed)
	}
	if fresh, freshErr := messages.OpenCommit(body); (err == nil) != (freshErr == nil) || err == nil && !proto.Equal(fresh, got) {
		t.Errorf("%s: decoded as\n%v, %v, by a new decoder as\n%v, %v", name, got, err, fresh, freshErr)
	}
}

// TestDecoder: what one decoder is given in turn it reads as the protobuf library does.
func TestDecoder(t *testing.T) {
	d := new(messages.Decoder)
	accepted := 0
	for range 2 {
		for i, s := range goldenChain(t) {
			if _, err := d.Open(s.body); err != nil {
				t.Fatalf("commit %d: %v", i+1, err)
			}
			wantDecoded(t, d, "golden", s.body)
			for name, body := range oddBodies(t) {
				if _, err := d.Open(body); err == nil {
					accepted++
				}
				wantDecoded(t, d, name, body)
			}
		}
	}
	if accepted == 0 {
		t.Error("none of the odd ones is accepted")
	}
}

// TestDecoderForgets: of a commit with much in it nothing is left in the next, which has little.
func TestDecoderForgets(t *testing.T) {
	event := func(n string) *messages.Event {
		return &messages.Event{Type: "t." + n, Schema: 1, Data: []byte(n), KeyId: "k" + n}
	}
	change := func(n string, events ...*messages.Event) *messages.Change {
		return &messages.Change{CommandId: n, Command: "c." + n, CorrelationId: n, CausationId: n, User: n, Trace: n, Time: 9, Events: events}
	}
	full := &messages.Commit{
		Format: 1, Id: "x", FirstVersion: 5, LastVersion: 9, Previous: 9, Trail: []uint64{1, 2}, Time: 9,
		Changes: []*messages.Change{change("a", event("1"), event("2"), event("3")), change("b", event("4")), change("c", event("5"))},
	}
	small := &messages.Commit{Format: 1, FirstVersion: 1, LastVersion: 2, Changes: []*messages.Change{{Events: []*messages.Event{{}}}, {Events: []*messages.Event{{}}}}}
	empty := &messages.Commit{Format: 1, FirstVersion: 1}
	d := new(messages.Decoder)
	for range 2 {
		for _, c := range []*messages.Commit{full, small, empty, full, empty, small} {
			wantDecoded(t, d, "in turn", seal(t, c, messages.Digest{}))
		}
	}
}

// TestDecoderIsFrugal: this is what it is there for.
func TestDecoderIsFrugal(t *testing.T) {
	body := seal(t, &messages.Commit{
		Format: 1, Id: "id", FirstVersion: 5, LastVersion: 5, Previous: 99, Trail: []uint64{1, 2, 3}, Time: 9,
		Changes: []*messages.Change{{CommandId: "c", Command: "bank.v1.Deposit", Time: 9, Events: []*messages.Event{{Type: "bank.v1.Deposited", Schema: 1, Data: []byte("data")}}}},
	}, messages.Digest{})
	d := new(messages.Decoder)
	for name, c := range map[string]struct {
		open func() error
		most float64
	}{
		"again": {func() error { _, err := d.Open(body); return err }, 2},
		"anew":  {func() error { _, err := messages.OpenCommit(body); return err }, 6},
	} {
		n := testing.AllocsPerRun(100, func() {
			if err := c.open(); err != nil {
				t.Fatal(err)
			}
		})
		if n > c.most {
			t.Errorf("%s: %v allocations, want at most %v", name, n, c.most)
		}
	}
}

// FuzzDecoder: whatever it is given, the decoder and the protobuf library agree.
func FuzzDecoder(f *testing.F) {
	for _, s := range goldenChain(f) {
		f.Add(s.body[:len(s.body)-34])
	}
	for _, body := range oddBodies(f) {
		f.Add(body[:len(body)-34])
	}
	d := new(messages.Decoder)
	f.Fuzz(func(t *testing.T, content []byte) {
		body := protowire.AppendTag(bytes.Clone(content), 15, protowire.BytesType)
		body = protowire.AppendBytes(body, make([]byte, 32))
		wantDecoded(t, d, "fuzzed", body)
	})
}
