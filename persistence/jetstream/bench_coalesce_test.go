package jetstream_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// A race is one between appends that are coalesced and raw publishes to the same stream, in
// rounds that alternate, on one server that fsyncs each message.
type race struct {
	store *jetstream.Store
	raw   publisher
	refs  []holdfast.Ref
	heads []persistence.Head
	lasts []uint64
}

func newRace(b *testing.B, aggregates int) *race {
	s := startServers(b, 1)
	store := s.open(b, jetstream.Config{Context: "race", SyncAlways: true})
	js, err := natsjs.New(s.connect(b, 0), natsjs.WithPublishAsyncMaxPending(outstanding))
	if err != nil {
		b.Fatal(err)
	}
	r := &race{
		store: store, raw: publisher{js, make([]byte, bodySize(b))},
		refs: make([]holdfast.Ref, aggregates), heads: make([]persistence.Head, aggregates), lasts: make([]uint64, aggregates),
	}
	for i := range r.refs {
		r.refs[i] = holdfast.Ref{Type: "bench", ID: strconv.Itoa(i)}
	}
	return r
}

func (r *race) subject(i int) string { return "race.log.0.raw." + strconv.Itoa(i) }

// callers has so many take turns with the aggregates, each with its own.
func (r *race) callers(n, turns int, one func(caller, i int)) time.Duration {
	start := time.Now()
	var all sync.WaitGroup
	for c := range n {
		all.Go(func() {
			for turn := range turns {
				one(c, (c+turn*n)%(len(r.refs)/n*n))
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

// run has five rounds of both, and reports the medians: of so many appends, and of so many
// publishes.
func (r *race) run(b *testing.B, appends, publishes int, ours, theirs func() time.Duration) {
	const rounds = 5
	var a, p, ratios []float64
	for b.Loop() {
		for range rounds {
			mine, raw := float64(appends)/ours().Seconds(), float64(publishes)/theirs().Seconds()
			a, p, ratios = append(a, mine), append(p, raw), append(ratios, mine/raw)
		}
	}
	for _, all := range [][]float64{a, p, ratios} {
		slices.Sort(all)
	}
	stats := r.store.Stats()
	b.ReportMetric(a[len(a)/2], "append/s")
	b.ReportMetric(p[len(p)/2], "raw/s")
	b.ReportMetric(ratios[len(ratios)/2], "append/raw")
	b.ReportMetric(float64(stats.Batched)/float64(max(stats.Batches, 1)), "commits/batch")
}

// BenchmarkCoalesce has callers that wait for each answer, against 64 that publish raw.
func BenchmarkCoalesce(b *testing.B) {
	for _, callers := range []int{8, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			const publishers, turns = 64, 20
			r := newRace(b, 1000)
			answers := make([]chan persistence.Head, callers)
			for i := range answers {
				answers[i] = make(chan persistence.Head, 1)
			}
			r.run(b, callers*turns, publishers*turns, func() time.Duration {
				return r.callers(callers, turns, func(c, i int) { r.heads[i] = appendTo(b, r.store, r.refs[i], r.heads[i], answers[c]) })
			}, func() time.Duration {
				return r.callers(publishers, turns, func(_, i int) { r.lasts[i] = r.raw.publish(b, r.subject(i), r.lasts[i]) })
			})
		})
	}
}

// outstanding is how many answers are awaited at a time by one who does not wait for each.
const outstanding = 4000

// BenchmarkCoalescePipelined has 4,000 appends under way to 10,000 aggregates, against as many
// raw publishes.
func BenchmarkCoalescePipelined(b *testing.B) {
	r := newRace(b, 10_000)
	n := len(r.refs)
	window := make(chan struct{}, outstanding)
	r.run(b, n, n, func() time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		for i, ref := range r.refs {
			window <- struct{}{}
			all.Add(1)
			r.store.Append(ref, r.heads[i], benchChange(), func(h persistence.Head, err error) {
				if err != nil {
					b.Error(err)
				}
				r.heads[i] = h
				<-window
				all.Done()
			})
		}
		all.Wait()
		return time.Since(start)
	}, func() time.Duration {
		start := time.Now()
		futures := make([]natsjs.PubAckFuture, n)
		for i := range futures {
			var err error
			futures[i], err = r.raw.js.PublishAsync(r.subject(i), r.raw.body, natsjs.WithExpectLastSequencePerSubject(r.lasts[i]), natsjs.WithMsgID(nats.NewInbox()), natsjs.WithStallWait(time.Minute))
			if err != nil {
				b.Fatal(err)
			}
		}
		for i, f := range futures {
			select {
			case ack := <-f.Ok():
				r.lasts[i] = ack.Sequence
			case err := <-f.Err():
				b.Fatal(err)
			}
		}
		return time.Since(start)
	})
}
