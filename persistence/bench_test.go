package persistence_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// BenchmarkRebuild makes a state of 10,000 bodies that have been read: what a replay costs beside
// reading. Each line does what the one before does, and more.
func BenchmarkRebuild(b *testing.B) {
	const commits = 10_000
	bodies := chain(b, counterRef, commits)
	each := func(name string, do func(d *messages.Decoder, h *persistence.Head, r *persistence.Rebuilt, c persistence.Commit) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h, r := newHead(b, counterRef), &persistence.Rebuilt{Def: counterType, State: counterType.Zero()}
				d := new(messages.Decoder)
				for _, c := range bodies {
					if err := do(d, &h, r, c); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*commits), "ns/commit")
		})
	}
	each("each opened anew", func(_ *messages.Decoder, _ *persistence.Head, _ *persistence.Rebuilt, c persistence.Commit) error {
		_, err := persistence.Open(c.Position, c.Body)
		return err
	})
	each("opened in the same memory", func(d *messages.Decoder, _ *persistence.Head, _ *persistence.Rebuilt, c persistence.Commit) error {
		_, err := persistence.OpenWith(d, c.Position, c.Body)
		return err
	})
	each("and checked", func(d *messages.Decoder, h *persistence.Head, _ *persistence.Rebuilt, c persistence.Commit) error {
		opened, err := persistence.OpenWith(d, c.Position, c.Body)
		if err == nil {
			*h, err = h.Next(opened)
		}
		return err
	})
	each("and folded", func(d *messages.Decoder, h *persistence.Head, r *persistence.Rebuilt, c persistence.Commit) error {
		opened, err := persistence.OpenWith(d, c.Position, c.Body)
		if err == nil {
			*h, err = h.Next(opened)
		}
		if err == nil {
			err = r.Add(opened)
		}
		return err
	})
}
