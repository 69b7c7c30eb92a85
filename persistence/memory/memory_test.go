package memory_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

func TestConformance(t *testing.T) {
	persistencetest.Run(t, func(testing.TB) *persistencetest.Log {
		s := memory.New("memory")
		return &persistencetest.Log{
			Context:     "memory",
			Store:       s,
			Others:      []persistence.Store{s},
			Put:         func(_ testing.TB, ref holdfast.Ref, body []byte) holdfast.Position { return s.Put(ref, body) },
			PutSnapshot: func(_ testing.TB, ref holdfast.Ref, body []byte) { s.PutSnapshot(ref, body) },
			Lose:        func(_ testing.TB, _ holdfast.Ref, at holdfast.Position) { s.Lose(at) },
		}
	})
}

// TestLostIsMissing: what is lost is no longer there, and that it was is known.
func TestLostIsMissing(t *testing.T) {
	s := memory.New("memory")
	for _, id := range []string{"a", "b", "c"} {
		s.Put(holdfast.Ref{Type: "t", ID: id}, []byte(id))
	}
	s.Lose(holdfast.NewPosition(0, 2))
	got, err := s.Describe(t.Context())
	if want := (persistence.Partition{Commits: 2, Bytes: 2, Last: 3}); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("described as %+v, %v", got, err)
	}
}

// TestFollowInABubble: whoever waits for the log to grow lets a bubble's time go on.
func TestFollowInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New("memory")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var given []holdfast.Position
		over := make(chan error, 1)
		go func() {
			over <- s.Follow(ctx, holdfast.NewPosition(0, 0), func(r persistence.Record) error {
				given = append(given, r.Position)
				return nil
			})
		}()
		for n := range 3 {
			at := s.Put(holdfast.Ref{Type: "t", ID: "a"}, nil)
			if synctest.Wait(); len(given) != n+1 || given[n] != at {
				t.Fatalf("given are %v, want %s as the last", given, at)
			}
		}
		if err := <-over; !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
	})
}
