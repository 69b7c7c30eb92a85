package memory_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/projectionstest"
)

func TestConformance(t *testing.T) {
	projectionstest.Run(t, func(testing.TB) *projectionstest.Place {
		s := memory.New()
		return &projectionstest.Place{Sink: s, Others: []projections.Sink{s}}
	})
}
