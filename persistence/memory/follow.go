package memory

import (
	"context"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// Follow implements [persistence.Follower]. Records have no time.
func (s *Store) Follow(ctx context.Context, after holdfast.Position, each func(persistence.Record) error) error {
	if after.Partition() != 0 {
		return holdfast.Errorf(holdfast.CodeMalformed, "follow log: there is no partition %d: it has one, 0", after.Partition())
	}
	for seq := after.Sequence(); ; {
		if err := context.Cause(ctx); err != nil {
			return holdfast.Errorf(holdfast.CodeUnavailable, "follow log: %w", err)
		}
		r, grown, err := s.after(seq)
		if err != nil {
			return err
		}
		if grown == nil {
			if err := each(r); err != nil {
				return err
			}
			seq++
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
		}
	}
}

// after gives the record after a sequence, or what is closed when there may be one.
func (s *Store) after(seq uint64) (persistence.Record, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := uint64(len(s.records))
	switch {
	case seq > last:
		return persistence.Record{}, nil, persistence.Ended(holdfast.NewPosition(0, last), holdfast.NewPosition(0, seq))
	case seq == last:
		if s.grown == nil {
			s.grown = make(chan struct{})
		}
		return persistence.Record{}, s.grown, nil
	case s.records[seq].Subject == "":
		return persistence.Record{}, nil, persistence.Missing(holdfast.NewPosition(0, seq+1))
	}
	return s.records[seq], nil, nil
}
