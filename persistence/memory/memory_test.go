package memory_test

import (
	"testing"

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
