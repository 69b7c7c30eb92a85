package runner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

func (n *node) must(err error) {
	n.w.t.Helper()
	if err != nil {
		n.w.t.Fatal(err)
	}
}

// document reads that of a generation.
func (n *node) document(generation uint64, id string) string {
	body, err := n.w.sink.Document(n.w.ctx(), "numbers", generation, id)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	n.await(w.record("a", 1))
	n.must(n.register.Pause(w.ctx(), "numbers", "a look at it", "me"))
	n.is(runner.Paused, "a look at it (by me)")
	last := w.record("a", 2)
	n.stop()
	n = w.start("n1", nil, numbers(add))
	n.is(runner.Paused, "a look at it (by me)")
	n.has("a", 1)
	n.must(n.register.Resume(w.ctx(), "numbers"))
	n.must(n.register.Resume(w.ctx(), "numbers"))
	n.await(last)
	n.has("a", 1, 2)
	n.is(runner.Live, "")
	if err := n.register.Pause(w.ctx(), "numbers", "", "me"); holdfast.CodeOf(err) != holdfast.CodeMalformed {
		t.Errorf("a pause without a reason gives %v", err)
	}
	if err := n.register.Pause(w.ctx(), "others", "why", "me"); holdfast.CodeOf(err) != holdfast.CodeUnknown {
		t.Errorf("a pause of nothing gives %v", err)
	}
}

// A pause at a position is one there, in whatever batch that is.
func TestPauseAtAPosition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	n.await(w.record("a", 1))
	n.must(n.register.Pause(w.ctx(), "numbers", "to compare", "me", holdfast.NewPosition(0, 5)))
	for i := range int64(10) {
		w.record("a", i+2)
	}
	s := n.is(runner.Paused, "to compare")
	if at := s.Generations[0].Positions; !slices.Equal(at, []string{"0-5"}) {
		t.Errorf("it stands at %v", at)
	}
	n.has("a", 1, 2, 3, 4, 5)
	n.must(n.register.Resume(w.ctx(), "numbers"))
	n.await(holdfast.NewPosition(0, 11))
	n.has("a", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
}

// A reset happens once, to a position or to a time.
func TestReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	w.record("a", 1)
	w.record("a", 2)
	n.await(w.record("a", 3))
	resets := func() uint64 {
		at, err := w.sink.Checkpoint(w.ctx(), projections.Unit{Projection: "numbers", Generation: 1})
		n.must(err)
		return at.Resets
	}
	n.must(n.register.Reset(w.ctx(), "numbers", holdfast.NewPosition(0, 1), "me"))
	n.status("the reset", func(runner.Status) bool { return resets() == 1 })
	n.await(holdfast.NewPosition(0, 3))
	n.has("a", 1, 2, 3, 2, 3)
	n.stop()
	n = w.start("n1", nil, numbers(add))
	n.await(w.record("a", 4))
	n.has("a", 1, 2, 3, 2, 3, 4)
	since := time.Now()
	n.await(w.record("a", 5))
	n.must(n.register.ResetToTime(w.ctx(), "numbers", since, "me"))
	n.status("the second reset", func(runner.Status) bool { return resets() == 2 })
	n.await(holdfast.NewPosition(0, 5))
	n.has("a", 1, 2, 3, 2, 3, 4, 5, 5)
	n.must(n.register.Reset(w.ctx(), "numbers", holdfast.NewPosition(0, 99), "me")) // at the end then
	n.status("the third reset", func(runner.Status) bool { return resets() == 3 })
	n.await(w.record("a", 6))
	n.has("a", 1, 2, 3, 2, 3, 4, 5, 5, 6)
}

// A new generation is built beside the one that serves, and both go on until one is dropped.
func TestRebuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, numbers(add))
	n.await(w.record("a", 1, 2))
	g, err := n.register.Rebuild(w.ctx(), "numbers", "me")
	if err != nil || g != 2 {
		t.Fatalf("it builds %d, %v", g, err)
	}
	if _, err := n.register.Rebuild(w.ctx(), "numbers", "me"); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("a second one at once gives %v", err)
	}
	live := func(s runner.Status) bool {
		return len(s.Generations) == 2 && s.Generations[0].State == runner.Live && s.Generations[1].State == runner.Live
	}
	n.status("both are live", live)
	both := func(last holdfast.Position, want string) {
		t.Helper()
		n.status("both have it", func(s runner.Status) bool {
			return s.Generations[0].Positions[0] == last.String() && s.Generations[1].Positions[0] == last.String()
		})
		s := n.status("", func(runner.Status) bool { return true })
		for _, g := range s.Generations {
			if got := n.document(g.Generation, "a"); got != want {
				t.Errorf("generation %d has %s, want %s", g.Generation, got, want)
			}
		}
	}
	both(w.record("a", 3), `{"All":[1,2,3]}`)
	n.must(n.register.Switch(w.ctx(), "numbers", 0))
	s := n.status("it has switched", func(s runner.Status) bool { return s.Record.Serving == 2 && s.Record.Previous == 1 && live(s) })
	if s.Generations[0].Role != "serving" || s.Generations[1].Role != "previous" {
		t.Errorf("the generations are %+v", s.Generations)
	}
	both(w.record("a", 4), `{"All":[1,2,3,4]}`)
	n.must(n.register.SwitchBack(w.ctx(), "numbers"))
	n.status("it has switched back", func(s runner.Status) bool { return s.Record.Serving == 1 && s.Record.Previous == 2 && live(s) })
	both(w.record("a", 5), `{"All":[1,2,3,4,5]}`)
	if err := n.register.Drop(w.ctx(), "numbers", 1); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("dropping what serves gives %v", err)
	}
	n.must(n.register.Drop(w.ctx(), "numbers", 2))
	n.status("it is dropped", func(s runner.Status) bool { return strings.Contains(n.document(2, "a"), "no generation 2") })
	n.await(w.record("a", 6))
	n.has("a", 1, 2, 3, 4, 5, 6)
	if err := n.register.Switch(w.ctx(), "numbers", 0); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("a switch to nothing gives %v", err)
	}
	if err := n.register.SwitchBack(w.ctx(), "numbers"); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("a switch back to nothing gives %v", err)
	}
}

func twice(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
	return add(d, wrapperspb.Int64(2*e.Value), at)
}

// A build of a new revision builds a generation of its own, beside nodes that are older, and
// leaves theirs alone.
func TestRevisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.start("n1", nil, numbers(add))
	old.await(w.record("a", 1))
	young := w.start("n2", nil, numbers(twice, projections.Revision(1)))
	young.status("both are live", func(s runner.Status) bool {
		return len(s.Generations) == 2 && s.Generations[0].State == runner.Live && s.Generations[1].State == runner.Live && s.Generations[1].Role == "building"
	})
	old.await(w.record("a", 2))
	old.has("a", 1, 2)
	young.status("it is built", func(runner.Status) bool { return young.document(2, "a") == `{"All":[2,4]}` })
	old.stop()
	young.is(runner.Stopped, "of revision 0, and this build has revision 1")
	young.must(young.register.Switch(w.ctx(), "numbers", 0))
	young.await(w.record("a", 3))
	young.has("a", 2, 4, 6)
	young.stop()
	old = w.start("n1", nil, numbers(add))
	old.status("the old build builds nothing", func(s runner.Status) bool {
		return s.Record.Serving == 2 && s.Record.Building == 0 && s.State == runner.Stopped
	})
	old.stop()
	other := w.start("n1", nil, numbers(twice, projections.Revision(1), projections.Shards(4)))
	other.is(runner.Stopped, "begun with 1 shards, and this build has 4")
	if got := other.document(2, "a"); got != `{"All":[2,4,6]}` {
		t.Errorf("other shards have made %s", got)
	}
}

// Side effects are carried out in order, again after an error, with ids that stay the same, and
// not by a generation that does not serve.
func TestOutbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var carried []string
	fail := 2
	var mu sync.Mutex
	effect := projections.Effect("mail", func(_ context.Context, id string, m *wrapperspb.StringValue) error {
		mu.Lock()
		defer mu.Unlock()
		if m.Value == "2" && fail > 0 {
			fail--
			return errNo
		}
		carried = append(carried, id+" "+m.Value)
		return nil
	})
	p := numbers(func(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
		if err := add(d, e, at); err != nil {
			return err
		}
		return d.Later("mail", wrapperspb.String(fmt.Sprint(e.Value)))
	}, effect)
	n := w.start("n1", nil, p)
	n.await(w.record("a", 1, 2, 3))
	done := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(carried, ", ")
	}
	want := "number/a@1/mail 1, number/a@2/mail 2, number/a@3/mail 3"
	w.until("all are carried out", func() bool { return done() == want }, done)
	_, err := n.register.Rebuild(w.ctx(), "numbers", "me")
	n.must(err)
	n.status("it is built", func(runner.Status) bool { return n.document(2, "a") == `{"All":[1,2,3]}` })
	// While the switch is under way both stand still: else effects may be left out, or repeated.
	n.must(n.register.Pause(w.ctx(), "numbers", "to switch", "me", holdfast.NewPosition(0, 1)))
	n.status("both are paused", func(s runner.Status) bool {
		return len(s.Generations) == 2 && s.Generations[0].State == runner.Paused && s.Generations[1].State == runner.Paused
	})
	n.must(n.register.Switch(w.ctx(), "numbers", 0))
	n.must(n.register.Resume(w.ctx(), "numbers"))
	n.await(w.record("a", 4))
	want += ", number/a@4/mail 4"
	w.until("the new one's are", func() bool { return done() == want }, done)
	n.stop()
	m := w.start("n1", func(c *runner.Config) { c.Alone = false }, p)
	m.is(runner.Blocked, "each node keeps it for itself")
}

// A pacing sink notes when the transactions of a generation ended, and the next ones began.
type pacing struct {
	*memory.Sink
	generation uint64

	mu    sync.Mutex
	ended time.Time
	rests []time.Duration
}

func (p *pacing) Commit(ctx context.Context, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	if u.Generation != p.generation {
		return p.Sink.Commit(ctx, u, from, to, do)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended.IsZero() {
		p.rests = append(p.rests, time.Since(p.ended))
	}
	err := p.Sink.Commit(ctx, u, from, to, do)
	p.ended = time.Now()
	return err
}

// A held log has no more than so many commits until it is let go.
type held struct {
	runner.Log
	most uint64
	let  <-chan struct{}
}

func (h held) Follow(ctx context.Context, after holdfast.Position, each func(persistence.Record) error) error {
	return h.Log.Follow(ctx, after, func(rec persistence.Record) error {
		if rec.Position.Sequence() > h.most {
			select {
			case <-h.let:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return each(rec)
	})
}

// While it does not serve, a generation rests after what it has done, and says how far it is.
func TestRebuildRests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := &pacing{Sink: memory.New(), generation: 2}
	w.sink = sink
	resting := func(c *runner.Config) { c.Rest = 1e6 }
	n := w.start("n1", resting, numbers(add))
	var last holdfast.Position
	for range 3 {
		last = w.record("a", make([]int64, 500)...) // which fills a batch
	}
	n.await(last)
	_, err := n.register.Rebuild(w.ctx(), "numbers", "me")
	n.must(err)
	n.status("it is built", func(s runner.Status) bool {
		return len(s.Generations) == 2 && s.Generations[1].State == runner.Live && s.Generations[1].Behind == 0
	})
	sink.mu.Lock()
	if len(sink.rests) == 0 || slices.Min(sink.rests) < time.Second {
		t.Errorf("it rests for %v", sink.rests)
	}
	sink.mu.Unlock()
	n.must(n.register.Drop(w.ctx(), "numbers", 2))
	n.stop()

	let := make(chan struct{})
	n = w.start("n1", func(c *runner.Config) { resting(c); c.Log = held{w.log, 1, let} }, numbers(add))
	n.await(last)
	_, err = n.register.Rebuild(w.ctx(), "numbers", "me")
	n.must(err)
	n.status("it is rebuilding, and says how far it is", func(s runner.Status) bool {
		return len(s.Generations) == 2 && s.Generations[1].State == runner.Rebuilding && s.Generations[1].Behind == 2
	})
	close(let)
	n.status("it is built", func(s runner.Status) bool { return len(s.Generations) == 2 && s.Generations[1].State == runner.Live })
}

// A batch that a sink cannot take is tried in parts, and the event shows that it fails at.
func TestNarrowing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := &faulty{Sink: memory.New(), poison: "13"}
	w.sink = sink
	for i := range int64(20) {
		w.record("a", i)
	}
	n := w.start("n1", nil, numbers(add))
	s := n.status("it is blocked", func(s runner.Status) bool { return s.State == runner.Blocked && s.Event != "" })
	if s.Event != "number/a@14" || s.Generations[0].Positions[0] != "0-13" {
		t.Errorf("it is %+v", s)
	}
	sink.set(nil, nil, nil)
	n.await(holdfast.NewPosition(0, 20))
}
