package runner_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// Whichever of three nodes end or die, and are replaced, each event has its effect once, in order.
func TestTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sink = shared{memory.New()}
	p := numbers(add, projections.Shards(3))
	adapt := func(c *runner.Config) { c.Alone = false }
	nodes := map[int]*node{}
	for i := range 3 {
		nodes[i] = w.start(fmt.Sprint("n", i), adapt, p)
	}
	var writing sync.WaitGroup
	counts := make([]int64, 20)
	ctx, cancel := context.WithCancel(t.Context())
	writing.Go(func() {
		for n := int64(1); ctx.Err() == nil && n <= 300; n++ {
			for id := range counts {
				w.record(fmt.Sprint(id), n)
				counts[id] = n
			}
			<-tick()
		}
	})
	rnd := rand.New(rand.NewPCG(1, 1))
	for round := range 6 {
		i := rnd.IntN(3)
		before := w.done(3)
		w.until("somebody goes on", func() bool { return w.done(3) > before+50 || w.done(3) >= 6000 }, func() string { return fmt.Sprint(before) })
		if round%2 == 0 {
			nodes[i].conn.Close() // it dies: nobody is told
		}
		nodes[i].stop()
		nodes[i] = w.start(fmt.Sprint("n", i), adapt, p)
	}
	writing.Wait()
	cancel()
	for _, n := range nodes {
		n.await(holdfast.NewPosition(0, 6000))
		for id, count := range counts {
			var want []int64
			for i := range count {
				want = append(want, i+1)
			}
			n.has(fmt.Sprint(id), want...)
		}
	}
}

// done is how far all shards are.
func (w *world) done(shards int) uint64 {
	var all []uint64
	for shard := range shards {
		at, _ := w.sink.Checkpoint(w.t.Context(), projections.Unit{Projection: "numbers", Generation: 1, Shard: shard})
		all = append(all, at.Done)
	}
	return slices.Min(all)
}

// deaf seats are all held by everybody.
type deaf struct{}

func (deaf) Hold(ctx context.Context, _ string, _ func(context.Context) (uint64, error), work follow.Work) {
	_ = work(ctx, 0, func(uint64) {})
}

// Where several nodes believe to work on a unit the checkpoint is the fence: live, and while
// parked events drain.
func TestFence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sink = shared{memory.New()}
	var r refusing
	r.number.Store(-1)
	p := numbers(func(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
		if e.Value < 0 && r.number.Load() == -1 {
			return errNo
		}
		return add(d, e, at)
	})
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, w.start(fmt.Sprint("n", i), func(c *runner.Config) { c.Seats, c.Alone = deaf{}, false }, p))
	}
	var last holdfast.Position
	var want []int64
	for i := range int64(200) {
		n := i + 1
		if i >= 100 {
			n = -n
		}
		want = append(want, n)
		last = w.record("a", n)
		<-tick()
	}
	nodes[0].await(last)
	nodes[0].has("a", want[:100]...)
	r.number.Store(0)
	_, err := nodes[0].register.Order(w.ctx(), "numbers", runner.Order{Act: runner.Retry, By: "me"})
	nodes[0].must(err)
	w.until("all are handled", func() bool { return len(nodes[0].parked("number/a")) == 0 }, func() string { return "" })
	for _, n := range nodes {
		n.await(last)
		n.has("a", want...)
	}
}
