package actors

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// However long a history is, after a rebuild the ids are remembered as if each had come by itself.
func TestRebuildRemembersTheLastIDs(t *testing.T) {
	def := holdfast.Define("thing", holdfast.Evolve(func(s struct{}, _ *emptypb.Empty) struct{} { return s }))
	const size, before = 32, 100 // ids that the engine remembered before
	snapshot := &persistence.Snapshot{Head: persistence.Head{Time: time.Unix(1, 0)}}
	for i := range uint32(size) {
		snapshot.Recent = append(snapshot.Recent, i)
	}
	for _, from := range []*persistence.Snapshot{nil, snapshot} {
		for _, n := range []int{0, 1, size - 1, size, size + 1, 2 * size, 2*size + 1, 3 * size, 10*size + 5} {
			e := NewEngine(def, holdfast.Ref{Type: "thing", ID: "a"}, &Settings{Window: size})
			for range before {
				e.recent.add(1, time.Unix(1, 0))
			}
			r, want := e.newRebuild(), recent{size: size}
			r.start(snapshot) // which comes to nothing
			if err := r.Add(persistence.Commit{Commit: &messages.Commit{Changes: []*messages.Change{{CommandId: "forgotten"}}}}); err != nil {
				t.Fatal(err)
			}
			r.start(from)
			if from != nil {
				want.restore(from.Recent, from.Head.Time)
			}
			for i := range n {
				id, at := strconv.Itoa(i), time.Unix(int64(2+i/3), 0) // some come together
				want.add(messages.IDFingerprint(id), at)
				commit := &messages.Commit{Changes: []*messages.Change{{CommandId: id, Time: at.UnixNano()}}}
				if err := r.Add(persistence.Commit{Commit: commit}); err != nil {
					t.Fatal(err)
				}
			}
			got := r.remembered()
			if !slices.Equal(got.list(), want.list()) {
				t.Errorf("%d ids: %v are remembered, want %v", n, got.list(), want.list())
			}
			if first := time.Unix(int64(2+(n-size-1)/3), 0); n > size && (got.lost.Before(first) || got.lost.After(want.lost)) || n <= size && got.lost != want.lost {
				t.Errorf("%d ids: what came up to %v is lost, want %v", n, got.lost, want.lost)
			}
			if got.total < before+uint64(len(got.prints)) || got.oldest() < before {
				t.Errorf("%d ids: the oldest is the %d. ever, as if it had been there before", n, got.oldest())
			}
		}
	}
}
