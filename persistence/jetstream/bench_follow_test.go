package jetstream_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// BenchmarkFollow follows a long log from its beginning to its end, in turn with an
// ordered consumer of nats.go.
func BenchmarkFollow(b *testing.B) {
	const records = 200_000
	for _, size := range []int{256, 4096} {
		b.Run(map[int]string{256: "small", 4096: "large"}[size], func(b *testing.B) {
			s := startServers(b, 1, func(c *natsd.Config) { c.RelaxedSync = true })
			js, err := natsjs.New(s.connect(b, 0))
			if err != nil {
				b.Fatal(err)
			}
			store := s.open(b, jetstream.Config{Context: "bench"})
			n := records * 256 / size
			fill(b, js, "bench", n, size)
			end := errors.New("the end")
			follow := func() time.Duration {
				seen, begin := 0, time.Now()
				err := store.Follow(b.Context(), holdfast.NewPosition(0, 0), func(persistence.Record) error {
					if seen++; seen == n {
						return end
					}
					return nil
				})
				if !errors.Is(err, end) {
					b.Fatal(err)
				}
				return time.Since(begin)
			}
			ordered := func() time.Duration {
				begin := time.Now()
				c, err := js.OrderedConsumer(b.Context(), "BENCH_LOG_0", natsjs.OrderedConsumerConfig{})
				if err != nil {
					b.Fatal(err)
				}
				seen, done := 0, make(chan struct{})
				reading, err := c.Consume(func(m natsjs.Msg) {
					if _, err := m.Metadata(); err != nil {
						b.Error(err)
					}
					if seen++; seen == n {
						close(done)
					}
				}, natsjs.PullMaxMessages(5000))
				if err != nil {
					b.Fatal(err)
				}
				<-done
				took := time.Since(begin)
				reading.Stop()
				<-reading.Closed()
				return took
			}
			follow() // from the disk, the first time
			var ours, theirs time.Duration
			for b.Loop() {
				theirs += ordered()
				ours += follow()
			}
			b.ReportMetric(float64(b.N*n)/ours.Seconds(), "records/s")
			b.ReportMetric(float64(b.N*n)/theirs.Seconds(), "ordered/s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
		})
	}
}

// BenchmarkFollowLatency measures how long after its acknowledgement a record is given,
// when nothing else happens.
func BenchmarkFollowLatency(b *testing.B) {
	for _, servers := range []int{1, 3} {
		b.Run(map[int]string{1: "one server", 3: "three servers"}[servers], func(b *testing.B) {
			s := startServers(b, servers)
			store := s.open(b, jetstream.Config{Context: "bench", Read: []*nats.Conn{s.connect(b, 1)}})
			given, over := make(chan time.Time, 1), make(chan error, 1)
			ctx, cancel := context.WithCancel(b.Context())
			go func() {
				over <- store.Follow(ctx, holdfast.NewPosition(0, 0), func(persistence.Record) error {
					given <- time.Now()
					return nil
				})
			}()
			ref := holdfast.Ref{Type: "bench", ID: "a"}
			var h persistence.Head
			answers := make(chan persistence.Head, 1)
			h = appendTo(b, store, ref, h, answers)
			<-given
			var late []time.Duration
			for b.Loop() {
				h = appendTo(b, store, ref, h, answers)
				acked := time.Now()
				late = append(late, (<-given).Sub(acked))
			}
			cancel()
			if err := <-over; !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "µs-p99")
		})
	}
}
