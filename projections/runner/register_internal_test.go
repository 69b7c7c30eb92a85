package runner

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
)

// A troubled bucket has one key. It loses answers, and reads from a replica that is behind.
type troubled struct {
	jetstream.KeyValue
	values [][]byte
	lost   int // so many answers
	behind int // so many readings

	deleted int
}

type value struct {
	jetstream.KeyValueEntry
	body     []byte
	revision uint64
}

func (v value) Value() []byte    { return v.body }
func (v value) Revision() uint64 { return v.revision }

func (b *troubled) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	n := len(b.values)
	if b.behind > 0 {
		b.behind--
		n--
	}
	return value{body: b.values[n-1], revision: uint64(n)}, nil
}

func (b *troubled) Update(_ context.Context, _ string, body []byte, revision uint64) (uint64, error) {
	if revision != uint64(len(b.values)) {
		return 0, jetstream.ErrKeyExists
	}
	b.values = append(b.values, body)
	if b.lost > 0 {
		b.lost--
		return 0, nats.ErrTimeout
	}
	return uint64(len(b.values)), nil
}

func (b *troubled) Delete(context.Context, string, ...jetstream.KVDeleteOpt) error {
	if b.lost > 0 {
		b.lost--
		return nats.ErrTimeout
	}
	b.deleted++
	return nil
}

func newTroubled(t *testing.T) (*Register, *troubled) {
	t.Helper()
	first, err := json.Marshal(Record{Name: "x", Serving: 2, Previous: 1, Last: 2, Generations: map[uint64]Generation{1: {}, 2: {}}})
	if err != nil {
		t.Fatal(err)
	}
	b := &troubled{values: [][]byte{first}}
	return &Register{config: RegisterConfig{Now: time.Now}, kv: b, records: map[string]known{}, changed: make(chan struct{})}, b
}

// What was written is not done again when the answer has not come.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	r, b := newTroubled(t)
	b.lost = 1
	if err := r.SwitchBack(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	rec, err := r.Record(t.Context(), "x")
	if rec.Serving != 1 || rec.Previous != 2 || len(b.values) != 2 || err != nil {
		t.Errorf("after one switch back it is %s, written %d times, %v", rec.story(), len(b.values)-1, err)
	}
}

// What units of a generation have told is forgotten with it, though that fails at first.
func TestForgotten(t *testing.T) {
	t.Parallel()
	r, b := newTroubled(t)
	r.units = map[string]heard{"unit.x.3.0.0": {}, "unit.x.1.0.0": {}}
	p := projections.Define("x", projections.Every(func(*projections.Docs[int], projections.Event) error { return nil }))
	x := newRunning(&Runner{config: Config{Register: r, Logger: slog.New(slog.DiscardHandler)}}, p)
	x.sink, b.lost = memory.New(), 1
	if err := x.drop(t.Context(), 3); err == nil {
		t.Error("it is dropped, and nothing could be forgotten")
	}
	for range 2 {
		if err := x.drop(t.Context(), 3); err != nil || b.deleted != 1 {
			t.Errorf("%d are forgotten: %v", b.deleted, err)
		}
	}
}

// That there is nothing to do is not believed of a replica that is behind.
func TestReplicaBehind(t *testing.T) {
	t.Parallel()
	r, b := newTroubled(t)
	if err := r.Pause(t.Context(), "x", "to look at it", "me"); err != nil {
		t.Fatal(err)
	}
	b.behind = 1
	if err := r.Resume(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if rec, err := r.Record(t.Context(), "x"); rec.Paused != nil || err != nil {
		t.Errorf("after it was resumed it is paused: %+v, %v", rec.Paused, err)
	}
}
