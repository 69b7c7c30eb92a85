package persistence_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// counter counts, for these tests.
type counter struct{ n int64 }

var counterType = holdfast.Define("counter",
	holdfast.Evolve(func(c counter, e *wrapperspb.Int64Value) counter { return counter{c.n + e.Value} }),
	holdfast.Upcast[counter](func(old *wrapperspb.Int32Value) holdfast.Events {
		if old.Value < 0 {
			panic("negative")
		}
		return holdfast.Events{wrapperspb.Int64(int64(old.Value))}
	}),
	holdfast.Snapshot(
		func(c counter) *wrapperspb.Int64Value { return wrapperspb.Int64(c.n) },
		func(p *wrapperspb.Int64Value) counter { return counter{p.Value} }),
)

var counterRef = holdfast.Ref{Type: "counter", ID: "a-1"}

func event(t testing.TB, e holdfast.Event) *messages.Event {
	t.Helper()
	recorded, err := persistence.EncodeEvent(e)
	if err != nil {
		t.Fatal(err)
	}
	return recorded
}

func newHead(t testing.TB, ref holdfast.Ref) persistence.Head {
	t.Helper()
	h, err := persistence.NewHead("test", ref)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// chain makes n commits of one event each, 10 apart in the log.
func chain(t testing.TB, ref holdfast.Ref, n int) []persistence.Commit {
	t.Helper()
	h := newHead(t, ref)
	var out []persistence.Commit
	for i := range n {
		c, err := h.Seal(fmt.Sprint(i), []*messages.Change{{CommandId: fmt.Sprint(i), Time: int64(1000 + i), Events: []*messages.Event{event(t, wrapperspb.Int64(1))}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Position = holdfast.NewPosition(2, uint64(10*(i+1)))
		out = append(out, c)
		h = c.Head()
	}
	return out
}

func TestSealThenFollow(t *testing.T) {
	commits := chain(t, counterRef, 50)
	h := newHead(t, counterRef)
	for i, c := range commits {
		opened, err := persistence.Open(c.Position, c.Body)
		if err != nil || !proto.Equal(opened.Commit, c.Commit) {
			t.Fatalf("commit %d comes back as %v, %v", i, opened.Commit, err)
		}
		if h, err = h.Follow(opened); err != nil {
			t.Fatal(err)
		}
		if !h.Equal(c.Head()) || h.Version != holdfast.Version(i+1) || len(h.Before) != min(i, 33) {
			t.Fatalf("after commit %d the head is %+v", i, h)
		}
	}
	all, err := newHead(t, counterRef).FollowAll(commits)
	if err != nil || !all.Equal(h) || !slices.Equal(all.Before, h.Before) || !all.Time.Equal(h.Time) {
		t.Fatalf("all at once: %+v, %v; one by one: %+v", all, err, h)
	}
	if same, err := h.FollowAll(nil); err != nil || !same.Equal(h) {
		t.Fatalf("following nothing: %+v, %v", same, err)
	}
}

func TestFollowRefuses(t *testing.T) {
	commits := chain(t, counterRef, 5)
	h := commits[2].Head()
	next := commits[3]
	move := func(change func(*persistence.Head)) persistence.Head {
		moved := h
		change(&moved)
		return moved
	}
	for name, c := range map[string]struct {
		head   persistence.Head
		commit persistence.Commit
		says   string
	}{
		"a gap":               {h, commits[4], "events are missing"},
		"the same again":      {h, commits[2], "starts at version 3"},
		"the first":           {h, commits[0], "starts at version 1"},
		"another version":     {move(func(h *persistence.Head) { h.Version++ }), next, "starts at version 4"},
		"another place":       {move(func(h *persistence.Head) { h.Position = holdfast.NewPosition(2, 31) }), next, "names 30"},
		"another digest":      {move(func(h *persistence.Head) { h.Digest[0]++ }), next, "digest"},
		"a later time":        {move(func(h *persistence.Head) { h.Time = h.Time.Add(time.Hour) }), next, "backwards"},
		"another aggregate's": {newHead(t, holdfast.Ref{Type: "counter", ID: "a-2"}), commits[0], "digest"},
	} {
		got, err := c.head.Follow(c.commit)
		if !errors.Is(err, holdfast.ErrCorrupt) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.commit.Position.String()) {
			t.Errorf("%s: error is %v, want corrupt about %q", name, err, c.says)
		}
		if !got.Equal(c.head) {
			t.Errorf("%s: the head moves to %+v", name, got)
		}
		if _, err := c.head.FollowAll([]persistence.Commit{c.commit}); !errors.Is(err, holdfast.ErrCorrupt) {
			t.Errorf("%s: all at once: %v", name, err)
		}
	}
	if _, err := h.Follow(next); err != nil {
		t.Fatal(err)
	}
	if _, err := newHead(t, counterRef).FollowAll(slices.Delete(slices.Clone(commits), 2, 3)); !errors.Is(err, holdfast.ErrCorrupt) {
		t.Errorf("a chain without its third: %v", err)
	}
	forgetful := commits[1].Head()
	forgetful.Time = time.Time{}
	early, err := forgetful.Seal("early", []*messages.Change{{Time: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newHead(t, counterRef).FollowAll([]persistence.Commit{commits[0], commits[1], early}); !errors.Is(err, holdfast.ErrCorrupt) || !strings.Contains(err.Error(), "backwards") {
		t.Errorf("a chain whose third is earlier than its second: %v", err)
	}
}

func TestSealRefusesACrookedHead(t *testing.T) {
	h := chain(t, counterRef, 5)[4].Head()
	for _, before := range [][]uint64{{50}, {60, 30}, {40, 40}, {40, 30, 35}, {40, 0}} {
		h.Before = before
		if _, err := h.Seal("x", nil); !errors.Is(err, holdfast.ErrInternal) {
			t.Errorf("a head at 50 before which come %v: %v", before, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := chain(t, counterRef, 1)[0]
	for _, body := range [][]byte{nil, {}, []byte("x"), good.Body[1:], good.Body[:len(good.Body)-1], append(bytes.Clone(good.Body), 0)} {
		if _, err := persistence.Open(good.Position, body); !errors.Is(err, holdfast.ErrCorrupt) || !strings.Contains(err.Error(), "2-10") {
			t.Errorf("%d bytes: %v", len(body), err)
		}
	}
}

func TestSize(t *testing.T) {
	for _, n := range []int{0, 1, 100, 127, 128, 20000} {
		changes := []*messages.Change{{CommandId: "c", User: strings.Repeat("u", n)}, {}, {Events: []*messages.Event{{Data: make([]byte, n)}}}}
		if got, want := persistence.Size(changes), proto.Size(&messages.Commit{Changes: changes}); got != want {
			t.Errorf("size is %d, want %d", got, want)
		}
	}
}

func TestCorruptNamesTheAggregate(t *testing.T) {
	cause := errors.New("cause")
	inner := holdfast.Errorf(holdfast.CodeUnavailable, "inner: %w", cause)
	for _, err := range []error{persistence.Corrupt(counterRef, cause), persistence.Corrupt(counterRef, inner)} {
		if !errors.Is(err, holdfast.ErrCorrupt) || !errors.Is(err, cause) || !strings.Contains(err.Error(), "counter/a-1") {
			t.Errorf("error is %v", err)
		}
	}
}

func TestLogSubject(t *testing.T) {
	sub, err := persistence.LogSubject("shop", holdfast.Ref{Type: "order", ID: "a.1"}, 1)
	if err != nil || sub.String() != "shop.log.0.order.a=2E1" {
		t.Errorf("subject is %s, %v", sub, err)
	}
	for _, ref := range []holdfast.Ref{{}, {Type: "order"}, {Type: "Order", ID: "1"}, {Type: "a.b", ID: "1"}, {Type: "order", ID: strings.Repeat("x", 129)}} {
		if _, err := persistence.LogSubject("shop", ref, 1); !errors.Is(err, holdfast.ErrMalformed) {
			t.Errorf("%q: error is %v, want malformed", ref, err)
		}
		if _, err := persistence.NewHead("shop", ref); !errors.Is(err, holdfast.ErrMalformed) {
			t.Errorf("%q: error is %v, want malformed", ref, err)
		}
	}
}

func TestSnapshotComesBack(t *testing.T) {
	h := chain(t, counterRef, 40)[39].Head()
	s := persistence.Snapshot{Head: h, Fingerprint: "f", Recent: []uint32{1, 2}, State: []byte("state")}
	body, err := persistence.EncodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := persistence.DecodeSnapshot(body, 2, "f")
	if err != nil || fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", s) {
		t.Fatalf("it comes back as\n%+v, %v, want\n%+v", got, err, s)
	}
	if _, err := persistence.DecodeSnapshot(body, 2, "g"); err == nil || !strings.Contains(err.Error(), "f, wanted g") {
		t.Errorf("of another form: %v", err)
	}
	for i := range body {
		damaged := bytes.Clone(body)
		damaged[i] ^= 0x20
		if _, err := persistence.DecodeSnapshot(damaged, 2, "f"); err == nil {
			t.Errorf("byte %d is flipped, and it is taken", i)
		}
	}
	encrypted, err := (&messages.Snapshot{Format: 1, Fingerprint: "f", Version: 1, Sequence: 1, Digest: make([]byte, 32), KeyId: "k"}).Seal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := persistence.DecodeSnapshot(encrypted, 0, "f"); err == nil || !strings.Contains(err.Error(), `"k"`) {
		t.Errorf("encrypted: %v", err)
	}
}

func TestDecodeEvent(t *testing.T) {
	good := event(t, wrapperspb.Int64(7))
	e, err := persistence.DecodeEvent(counterType, good)
	if err != nil || e.(*wrapperspb.Int64Value).Value != 7 {
		t.Fatalf("event is %v, %v", e, err)
	}
	for name, c := range map[string]struct {
		spoil func(*messages.Event)
		says  string
	}{
		"encrypted":      {func(e *messages.Event) { e.KeyId = "k" }, `the key "k"`},
		"another schema": {func(e *messages.Event) { e.Schema = 2 }, "schema 2"},
		"unknown":        {func(e *messages.Event) { e.Type = "shop.Placed" }, "neither Evolve nor Upcast"},
		"cut off":        {func(e *messages.Event) { e.Data = []byte{8} }, "cannot be decoded"},
	} {
		spoiled := proto.CloneOf(good)
		c.spoil(spoiled)
		if _, err := persistence.DecodeEvent(counterType, spoiled); !errors.Is(err, holdfast.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error is %v, want corrupt about %q", name, err, c.says)
		}
		if _, err := persistence.Fold(counterType, counter{}, []*messages.Event{good, spoiled}); !errors.Is(err, holdfast.ErrCorrupt) {
			t.Errorf("%s: fold: %v", name, err)
		}
	}
}

func TestStartAndFold(t *testing.T) {
	events := []*messages.Event{event(t, wrapperspb.Int64(1)), event(t, wrapperspb.Int32(2)), event(t, wrapperspb.Int64(3))}
	var l persistence.Loaded
	start, err := l.Start(counterType)
	if err != nil || start != any(counter{}) {
		t.Fatalf("it starts at %v, %v", start, err)
	}
	end, err := persistence.Fold(counterType, start, events)
	if err != nil || end != any(counter{6}) {
		t.Fatalf("it ends at %v, %v", end, err)
	}
	saved, err := proto.Marshal(counterType.Save(end))
	if err != nil {
		t.Fatal(err)
	}
	l.Snapshot = &persistence.Snapshot{State: saved}
	if start, err = l.Start(counterType); err != nil || start != any(counter{6}) {
		t.Fatalf("from a snapshot it starts at %v, %v", start, err)
	}
	l.Snapshot.State = []byte{8}
	if _, err := l.Start(counterType); !errors.Is(err, holdfast.ErrCorrupt) {
		t.Fatalf("from a damaged snapshot: %v", err)
	}
	if _, err := persistence.Fold(counterType, counter{}, []*messages.Event{event(t, durationpb.New(1))}); !errors.Is(err, holdfast.ErrCorrupt) {
		t.Fatalf("an event of another type: %v", err)
	}
}
