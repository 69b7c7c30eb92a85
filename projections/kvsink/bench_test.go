package kvsink_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
)

var counted = holdfast.Define("counted",
	holdfast.Decide(func(_ int64, c *wrapperspb.Int64Value) (holdfast.Events, error) {
		return holdfast.Events{wrapperspb.Int32(int32(c.Value))}, nil
	}),
	holdfast.Evolve(func(n int64, e *wrapperspb.Int32Value) int64 { return n + int64(e.Value) }),
)

type tally struct {
	N int32 `json:"n"`
}

func counter(name string) *projections.Projection {
	return projections.Define(name, projections.From(counted),
		projections.On(func(d *projections.Docs[tally], e *wrapperspb.Int32Value, at projections.Event) error {
			return d.Change(at.Ref.ID, func(t tally) tally { t.N += e.Value; return t })
		}))
}

// item is an event that counts one under a key.
func item(key string, sequence uint64) projections.Item {
	return projections.Item{
		Event: projections.Event{
			Ref: holdfast.Ref{Type: "counted", ID: key}, Position: holdfast.NewPosition(0, sequence), Name: "google.protobuf.Int32Value",
		},
		Message: wrapperspb.Int32(1),
	}
}

// BenchmarkCommit counts events: so many a batch, under so many keys, in turn.
func BenchmarkCommit(b *testing.B) {
	server := startServers(b, 1)[0]
	for i, c := range []struct{ events, keys int }{{1, 1000}, {500, 500}, {500, 10_000}, {4000, 100_000_000}} {
		b.Run(fmt.Sprintf("%d-events/%d-keys", c.events, c.keys), func(b *testing.B) {
			s := open(b, connect(b, server), 1)
			p := counter(fmt.Sprintf("p%d_%d", i, b.N))
			if err := s.Prepare(b.Context(), p, 1); err != nil {
				b.Fatal(err)
			}
			u := projections.Unit{Projection: p.Name(), Generation: 1}
			at, err := s.Checkpoint(b.Context(), u)
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += c.events {
				to := projections.Checkpoint{Done: at.Done + uint64(c.events)}
				err := s.Commit(b.Context(), u, at, to, func(batch projections.Batch) error {
					for k := range c.events {
						if err := p.Handle(batch, item(fmt.Sprint("key-", (n+k)%c.keys), at.Done+uint64(k)+1)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				at = to
			}
		})
	}
}
