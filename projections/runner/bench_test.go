package runner_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// BenchmarkCatchUp catches up with a log in memory, whose events do nothing, beside one who
// only decodes them.
func BenchmarkCatchUp(b *testing.B) {
	for _, shards := range []int{1, 4} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) { catchUp(b, shards) })
	}
}

func catchUp(b *testing.B, shards int) {
	w := newWorld(b)
	const aggregates = 1000
	heads := map[string]persistence.Head{}
	for n := range b.N {
		id := fmt.Sprint(n % aggregates)
		e, _ := persistence.EncodeEvent(wrapperspb.Int64(int64(n)))
		w.log.Append(holdfast.Ref{Type: "number", ID: id}, heads[id], []*messages.Change{{CommandId: fmt.Sprint(n), Time: int64(n), Events: []*messages.Event{e}}},
			func(h persistence.Head, err error) {
				if err != nil {
					b.Fatal(err)
				}
				heads[id] = h
			})
	}
	done := errors.New("done")
	begin, n := time.Now(), 0
	err := w.log.Follow(b.Context(), holdfast.NewPosition(0, 0), func(rec persistence.Record) error {
		if _, err := messages.ParseSubject(rec.Subject); err != nil {
			return err
		}
		c, err := persistence.Open(rec.Position, rec.Body)
		if err != nil {
			return err
		}
		for _, ch := range c.Changes {
			for _, e := range ch.Events {
				if _, err := persistence.DecodeEvent(number, e); err != nil {
					return err
				}
			}
		}
		if n++; n == b.N {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		b.Fatal(err)
	}
	raw := time.Since(begin)
	b.ResetTimer()
	begin = time.Now()
	node := w.start("n1", nil, numbers(func(docs, *wrapperspb.Int64Value, projections.Event) error { return nil }, projections.Shards(shards)))
	if err := node.Await(b.Context(), "numbers", holdfast.NewPosition(0, uint64(b.N))); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	b.ReportMetric(float64(b.N)/raw.Seconds(), "raw/s")
	b.ReportMetric(raw.Seconds()/took.Seconds(), "of-raw")
	node.stop()
}
