package runner_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// refusing is a handler that refuses a number while it is told to.
type refusing struct {
	number atomic.Int64
	calls  atomic.Int64
}

func (r *refusing) add(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
	if e.Value == r.number.Load() {
		r.calls.Add(1)
		return errors.New("it is not to my liking")
	}
	return add(d, e, at)
}

func (n *node) parked(key string) []projections.Parked {
	n.w.t.Helper()
	all, err := n.w.sink.Parked(n.w.ctx(), projections.Unit{Projection: "numbers", Generation: 1}, key, 100)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return all
}

// An event that is refused is tried three times, and parked with the reason, and all later ones
// of its key with it; others go on. A build that handles it has them all handled, in order.
func TestARefusedEventIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var r refusing
	r.number.Store(13)
	n := w.start("n1", nil, numbers(r.add))
	w.record("b", 1)
	w.record("a", 1)
	w.record("a", 12, 13, 14)
	w.record("b", 2)
	n.await(w.record("a", 15))
	n.has("a", 1, 12)
	n.has("b", 1, 2)
	if calls := r.calls.Load(); calls != 3 {
		t.Errorf("it is tried %d times", calls)
	}
	p := n.parked("number/a")
	if len(p) != 3 || p[0].Reason != "it is not to my liking" || p[0].Attempts != 3 || p[0].Event.ID != "number/a@3" || p[0].Since.IsZero() || p[1].Reason != "" || p[2].Reason != "" {
		t.Errorf("parked is %+v", p)
	}
	n.await(w.record("a", 16))
	n.status("one parked key", func(s runner.Status) bool { return s.State == runner.Live && s.Generations[0].Parked == 1 })
	n.stop()

	n = w.start("n1", nil, numbers(r.add)) // it is refused again
	n.status("two attempts", func(runner.Status) bool { return n.parked("number/a")[0].Attempts == 4 })
	n.has("a", 1, 12)
	n.await(w.record("a", 17))
	n.stop()

	n = w.start("n1", nil, numbers(add))
	n.status("no parked keys", func(s runner.Status) bool { return s.State == runner.Live && s.Generations[0].Parked == 0 })
	n.await(w.record("a", 18))
	n.has("a", 1, 12, 13, 14, 15, 16, 17, 18)
	n.has("b", 1, 2)
}

// What an operator orders is done: a key is tried again, all of them are, an event is skipped,
// be it parked or not yet handled.
func TestOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var r refusing
	r.number.Store(13)
	n := w.start("n1", nil, numbers(r.add))
	order := func(o runner.Order) {
		t.Helper()
		o.By = "me"
		number, err := n.register.Order(w.ctx(), "numbers", o)
		if err != nil {
			t.Fatal(err)
		}
		n.status("the order is carried out", func(s runner.Status) bool {
			return len(s.Generations[0].Units) == 1 && s.Generations[0].Units[0].Orders >= number
		})
	}
	for _, id := range []string{"a", "b", "c"} {
		w.record(id, 1, 13, 2)
	}
	n.await(w.record("d", 1))
	r.number.Store(0)
	order(runner.Order{Act: runner.Retry, Key: "number/b"})
	n.has("b", 1, 13, 2)
	n.has("a", 1)
	r.number.Store(13)
	order(runner.Order{Act: runner.Retry, Key: "number/a"})
	if p := n.parked("number/a"); len(p) != 2 || p[0].Attempts != 4 || p[1].Attempts != 0 {
		t.Errorf("after a try more there is parked %+v", p)
	}
	order(runner.Order{Act: runner.Skip, Event: "number/a@2", Reason: "unlucky"})
	n.has("a", 1, 2)
	n.has("c", 1)
	order(runner.Order{Act: runner.Skip, Event: "number/d@2", Reason: "in advance"})
	n.await(w.record("d", 13, 3))
	w.until("d has drained", func() bool { return len(n.parked("number/d")) == 0 }, func() string { return "" })
	n.has("d", 1, 3)
	r.number.Store(0)
	order(runner.Order{Act: runner.Retry})
	n.has("c", 1, 13, 2)
	for _, bad := range []runner.Order{{Act: "eat"}, {Act: runner.Skip, Reason: "x"}, {Act: runner.Skip, Event: "x"}, {Act: runner.Retry, Generation: 7}} {
		if _, err := n.register.Order(w.ctx(), "numbers", bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// What cannot be read is parked at once, and read by a build that can.
func TestTheUnreadableIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	w.record("a", 1)
	w.append("a", wrapperspb.Bool(true), wrapperspb.Int64(2)) // an event that the type does not know
	w.log.Put(holdfast.Ref{Type: "number", ID: "b"}, []byte("garbage"))
	w.mu.Lock()
	w.last++
	w.mu.Unlock()
	n.await(w.record("c", 1))
	n.has("a", 1)
	n.has("c", 1)
	a, b := n.parked("number/a"), n.parked("number/b")
	if len(a) != 2 || !strings.Contains(a[0].Reason, "BoolValue") || a[0].Attempts != 1 || a[0].Event.Part != -1 || a[1].Reason != "" {
		t.Errorf("of an unknown event there is parked %+v", a)
	}
	if len(b) != 1 || b[0].Event.Index != -1 || b[0].Reason == "" {
		t.Errorf("of a record that cannot be read there is parked %+v", b)
	}
}

// What a build could not read is handled in all its parts by one that can, with what came after
// it, and its place says that it comes late.
func TestABuildThatReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	w.append("a", wrapperspb.Int64(1), wrapperspb.Bool(true), wrapperspb.Int64(2))
	n.await(w.record("a", 3))
	n.has("a", 1)
	n.stop()
	knowing := holdfast.Define("number",
		holdfast.Evolve(func(c counter, e *wrapperspb.Int64Value) counter { return c }),
		holdfast.Upcast[counter](func(*wrapperspb.BoolValue) holdfast.Events {
			return holdfast.Events{wrapperspb.Int64(10), wrapperspb.Int64(11)}
		}),
		holdfast.Snapshot(
			func(c counter) *wrapperspb.Int64Value { return wrapperspb.Int64(c.n) },
			func(p *wrapperspb.Int64Value) counter { return counter{p.Value} }),
	)
	var late atomic.Int64
	n = w.start("n1", nil, projections.Define("numbers", projections.From(knowing), projections.On(func(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
		if at.Drained {
			late.Add(1)
		}
		return add(d, e, at)
	})))
	w.until("all is handled", func() bool { return len(n.parked("number/a")) == 0 }, func() string { return "" })
	n.await(w.record("a", 4))
	n.has("a", 1, 10, 11, 2, 3, 4)
	if late.Load() != 4 {
		t.Errorf("%d come late", late.Load())
	}
}

// A forgetful sink keeps no bodies of what is parked.
type forgetful struct{ *memory.Sink }

func (f forgetful) Parked(ctx context.Context, u projections.Unit, key string, limit int) ([]projections.Parked, error) {
	all, err := f.Sink.Parked(ctx, u, key, limit)
	for i := range all {
		all[i].Record.Body = nil
	}
	return all, err
}

// What a sink has no room for is read from the log again.
func TestLargeParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sink = forgetful{memory.New()}
	var r refusing
	r.number.Store(13)
	n := w.start("n1", nil, numbers(r.add))
	w.record("a", 1, 13)
	w.record("b", 1)
	n.await(w.record("a", 2))
	n.has("a", 1)
	n.stop()
	n = w.start("n1", nil, numbers(add))
	n.await(w.record("b", 2))
	n.status("no parked keys", func(s runner.Status) bool { return s.State == runner.Live && s.Generations[0].Parked == 0 })
	n.has("a", 1, 13, 2)
	n.has("b", 1, 2)
}

// A handler that panics refuses, and many refusals do not hold the others up.
func TestManyRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(func(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
		if e.Value < 0 {
			panic("negative")
		}
		return add(d, e, at)
	}))
	var last holdfast.Position
	for i := range int64(300) {
		w.record(string(rune('A'+i%26))+string(rune('a'+i/26)), 1, -i-1, 3)
		last = w.record("good", i)
	}
	n.await(last)
	n.status("all are parked", func(s runner.Status) bool { return s.Generations[0].Parked == 300 })
	if p := n.parked("number/Aa"); len(p) != 2 || p[0].Reason != "panic: negative" || p[0].Attempts != 3 {
		t.Errorf("parked is %+v", p)
	}
	n.has("Aa", 1)
}
