package jetstream

import (
	"maps"
	"sync"
)

// Stats say what a store has met since it was opened.
type Stats struct {
	// Refused is how many appends JetStream refused, by its error code: 10071 and 10164
	// are conflicts, that is two writers for one aggregate.
	Refused map[int]uint64
	// Settled is how many appends had to be looked up in the log.
	Settled uint64
	// Batches is how many times commits of several aggregates were stored together, and
	// Batched how many commits that were. Parted is how many times it was tried in vain,
	// and each went alone.
	Batches, Batched, Parted uint64
}

type stats struct {
	mu      sync.Mutex
	refused map[int]uint64
	settled uint64
	batches uint64
	batched uint64
	parted  uint64
}

func (s *stats) refuse(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = map[int]uint64{}
	}
	s.refused[code]++
}

func (s *stats) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled++
}

func (s *stats) batch(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	s.batched += uint64(n)
}

func (s *stats) part() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parted++
}

// Stats gives what the store has met so far.
func (s *Store) Stats() Stats {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return Stats{
		Refused: maps.Clone(s.stats.refused), Settled: s.stats.settled,
		Batches: s.stats.batches, Batched: s.stats.batched, Parted: s.stats.parted,
	}
}
