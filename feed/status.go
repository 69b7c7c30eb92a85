package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// A Status is how a partition of the log stands in the feed.
type Status struct {
	Partition uint32
	// Holder is the node that writes it; empty when there is none. Here says that it is
	// this one.
	Holder string
	Here   bool
	// Done is the last commit whose events are all in the feed, as the feed itself says, and
	// Last the last one of the log.
	Done, Last holdfast.Position
	// Behind is how many commits lie between, and Late how long the first of them has waited.
	Behind uint64
	Late   time.Duration
	// Unread is how often this node met an event or a commit that it could not read since it
	// was started.
	Unread uint64
	// Err is why this node, if it is Here, does not go on, or did not some seconds ago.
	Err error
}

// Status tells of each partition, in their order. The error says what could not be asked.
func (f *Feed) Status(ctx context.Context) ([]Status, error) {
	all, err := f.config.Log.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("status of the feed: %w", err)
	}
	seats, err := f.config.Seats.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("status of the feed: %w", err)
	}
	var out []Status
	for i, p := range f.partitions {
		held := seats[seat(p.number)]
		m, seq, err := f.lastMark(ctx, p.number)
		if err != nil {
			return nil, fmt.Errorf("status of the feed: %w", err)
		}
		done := max(held.Done, p.known())
		if seq != 0 {
			done = max(done, m.Done)
		}
		s := Status{Partition: p.number, Holder: cmp.Or(held.Node, held.Holder), Done: holdfast.NewPosition(p.number, done)}
		p.tell(&s)
		// What came since the log was looked at is not counted.
		last := max(all[i].Last, done)
		s.Last, s.Behind = holdfast.NewPosition(p.number, last), last-done
		if s.Behind > 0 {
			if s.Late, err = f.late(ctx, s.Done); err != nil {
				return nil, fmt.Errorf("status of the feed: %w", err)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func (p *partition) tell(s *Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Here, s.Unread, s.Err = p.here, p.unread, p.err
}

var errFound = errors.New("found")

// late says how long ago the log took what stands after a position. When that cannot be
// read, which is what Status.Err tells, it is nothing.
func (f *Feed) late(ctx context.Context, after holdfast.Position) (time.Duration, error) {
	var at time.Time
	err := f.config.Log.Follow(ctx, after, func(rec persistence.Record) error {
		at = rec.Time
		return errFound
	})
	switch {
	case errors.Is(err, holdfast.ErrCorrupt), errors.Is(err, errFound) && at.IsZero():
		return 0, nil
	case !errors.Is(err, errFound):
		return 0, err
	}
	return max(0, f.config.Now().Sub(at)), nil
}
