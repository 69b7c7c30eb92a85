package bench

import (
	"strings"
	"testing"
)

// TestAge: what was there before the workload is still there after the servers were started
// again, beside what the workload did; and all of it.
func TestAge(t *testing.T) {
	t.Parallel()
	s, want := startStage(t)
	var said strings.Builder
	if err := s.age(t.Context(), 200, func(format string, _ ...any) { said.WriteString(format) }); err != nil {
		t.Fatal(err)
	}
	if s.aged != 200 || !strings.Contains(said.String(), "started again") {
		t.Errorf("aged by %d events, said %q", s.aged, said.String())
	}
	if err := s.verify(t.Context(), want); err != nil {
		t.Error(err)
	}
	s.aged++
	if err := s.verify(t.Context(), want); err == nil || !strings.Contains(err.Error(), "200 events of before the workload, and 201 were written") {
		t.Errorf("one is missing: got %v", err)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{10: "10", 12_000: "12k", 1_000_000: "1M", 1_500_000: "1500k"} {
		if got := short(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
