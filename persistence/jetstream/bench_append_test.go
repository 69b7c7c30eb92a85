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
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// payload is what the event of one benchmarked commit holds.
const payload = 256

func benchChange() []*messages.Change {
	return []*messages.Change{{
		CommandId: "0123456789abcdefghijkl", Command: "bench.Do", Time: 1,
		Events: []*messages.Event{{Type: "bench.Done", Schema: messages.SchemaProtobuf, Data: make([]byte, payload)}},
	}}
}

// appendTo appends and waits.
func appendTo(b *testing.B, s persistence.Store, ref holdfast.Ref, h persistence.Head, answers chan persistence.Head) persistence.Head {
	s.Append(ref, h, benchChange(), func(h persistence.Head, err error) {
		if err != nil {
			b.Error(err)
		}
		answers <- h
	})
	return <-answers
}

// bodySize is that of a commit with a full trail, so that the raw publishes beside it
// carry as much.
func bodySize(b *testing.B) int {
	h := persistence.Head{Version: 1000, Position: holdfast.NewPosition(0, 1_000_000)}
	for i := range uint64(messages.MaxTrail + 1) {
		h.Before = append(h.Before, 999_999-i*1000)
	}
	c, err := h.Seal("0123456789abcdefghijkl", benchChange())
	if err != nil {
		b.Fatal(err)
	}
	return len(c.Body)
}

// A publisher publishes to one subject after the other through nats.go, with the same
// expectation as an append has.
type publisher struct {
	js   natsjs.JetStream
	body []byte
}

func (p *publisher) publish(b *testing.B, subject string, last uint64) uint64 {
	ack, err := p.js.Publish(b.Context(), subject, p.body, natsjs.WithExpectLastSequencePerSubject(last), natsjs.WithMsgID(nats.NewInbox()))
	if err != nil {
		b.Error(err)
		return last
	}
	return ack.Sequence
}

func p50(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkAppendOne has one caller append, and publish raw, turn by turn.
func BenchmarkAppendOne(b *testing.B) {
	b.Run("sync=always", func(b *testing.B) { benchAppendOne(b, false) })
	b.Run("sync=relaxed", func(b *testing.B) { benchAppendOne(b, true) })
}

func benchAppendOne(b *testing.B, relaxed bool) {
	s := startServers(b, 1, func(c *natsd.Config) { c.RelaxedSync = relaxed })
	store := s.open(b, jetstream.Config{Context: "one", SyncAlways: !relaxed})
	js, err := natsjs.New(s.connect(b, 0))
	if err != nil {
		b.Fatal(err)
	}
	raw := publisher{js, make([]byte, bodySize(b))}
	ref := holdfast.Ref{Type: "bench", ID: "hot"}
	subject := "one.log.0.bench.raw"
	var h persistence.Head
	var last uint64
	var ours, theirs []time.Duration
	answers := make(chan persistence.Head, 1)
	for b.Loop() {
		start := time.Now()
		h = appendTo(b, store, ref, h, answers)
		middle := time.Now()
		last = raw.publish(b, subject, last)
		ours, theirs = append(ours, middle.Sub(start)), append(theirs, time.Since(middle))
	}
	b.ReportMetric(float64(p50(ours).Microseconds()), "p50-append-µs")
	b.ReportMetric(float64(p50(theirs).Microseconds()), "p50-raw-µs")
	b.ReportMetric(float64(p50(ours))/float64(p50(theirs)), "p50-append/raw")
}

// BenchmarkAppendMany has 64 callers on 1,000 aggregates, in rounds that alternate
// between appends and raw publishes.
func BenchmarkAppendMany(b *testing.B) {
	b.Run("sync=always", func(b *testing.B) { benchAppendMany(b, false) })
	b.Run("sync=relaxed", func(b *testing.B) { benchAppendMany(b, true) })
}

func benchAppendMany(b *testing.B, relaxed bool) {
	const callers, aggregates, rounds = 64, 1000, 3
	s := startServers(b, 1, func(c *natsd.Config) { c.RelaxedSync = relaxed })
	store := s.open(b, jetstream.Config{Context: "many"})
	js, err := natsjs.New(s.connect(b, 0))
	if err != nil {
		b.Fatal(err)
	}
	raw := publisher{js, make([]byte, bodySize(b))}
	heads := make([]persistence.Head, aggregates)
	lasts := make([]uint64, aggregates)
	answers := make([]chan persistence.Head, callers)
	for i := range answers {
		answers[i] = make(chan persistence.Head, 1)
	}
	// Every caller has aggregates of its own, as every aggregate has one actor.
	round := func(one func(caller, i int)) time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		for c := range callers {
			all.Go(func() {
				for i := c; i < aggregates; i += callers {
					one(c, i)
				}
			})
		}
		all.Wait()
		return time.Since(start)
	}
	var ratios []float64
	var ours, theirs time.Duration
	for b.Loop() {
		for range rounds {
			a := round(func(c, i int) {
				heads[i] = appendTo(b, store, holdfast.Ref{Type: "bench", ID: strconv.Itoa(i)}, heads[i], answers[c])
			})
			r := round(func(_, i int) { lasts[i] = raw.publish(b, fmt.Sprintf("many.log.0.raw.%d", i), lasts[i]) })
			ours, theirs = ours+a, theirs+r
			ratios = append(ratios, float64(r)/float64(a))
		}
	}
	n := float64(b.N * rounds * aggregates)
	slices.Sort(ratios)
	b.ReportMetric(n/ours.Seconds(), "append/s")
	b.ReportMetric(n/theirs.Seconds(), "raw/s")
	b.ReportMetric(ratios[len(ratios)/2], "append/raw")
}
