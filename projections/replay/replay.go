// Package replay makes a projection anew, aside, from the log up to a moment of its past.
package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// Generation is the number of what is made.
const Generation = 1

const (
	// batched is how many events are handled in a transaction.
	batched = 2000
	// told is how many of those that were left out are told of.
	told = 100
)

// Config is what a replay needs.
type Config struct {
	Projection *projections.Projection
	Log        persistence.Scanner
	// Sink is nobody else's, and empty.
	Sink projections.Sink
	// At are the positions up to which the log is read, one of each partition; or, when there
	// are none, Time: all that the log had taken by then.
	At   []holdfast.Position
	Time time.Time
	// Progress is told how many commits have been read, and how many there are at the most.
	Progress func(done, total uint64)
}

// A Result says what has become of a replay.
type Result struct {
	// Positions up to which the log was read.
	Positions []holdfast.Position
	// Events that were handled.
	Events uint64
	// Left counts the events that were left out: those that could not be handled, as they
	// would be parked, and all later ones of their keys. Refused are the first of these.
	Left    uint64
	Refused []Refused
}

// Refused is an event that could not be handled.
type Refused struct{ Event, Key, Reason string }

// Run reads the log, and has the projection handle what it finds. Nothing goes into the outbox.
func Run(ctx context.Context, c Config) (Result, error) {
	r := &replay{Config: c, refused: map[string]int{}}
	partitions, err := c.Log.Describe(ctx)
	if err != nil {
		return r.result, err
	}
	ends, err := c.ends(partitions)
	if err != nil {
		return r.result, err
	}
	for _, p := range ends {
		r.total += p.Last
	}
	if err := c.Sink.Prepare(ctx, c.Projection, Generation); err != nil {
		return r.result, err
	}
	for _, p := range ends {
		if err := r.partition(ctx, p, partitions); err != nil {
			return r.result, err
		}
	}
	return r.result, nil
}

// ends gives the partitions with the last sequence that is to be read of each.
func (c Config) ends(partitions []persistence.Partition) ([]persistence.Partition, error) {
	if len(c.At) == 0 {
		return partitions, nil
	}
	wanted := map[uint32]uint64{}
	for _, at := range c.At {
		if _, twice := wanted[at.Partition()]; twice {
			return nil, holdfast.Errorf(holdfast.CodeMalformed, "there are two positions of partition %d: give one", at.Partition())
		}
		wanted[at.Partition()] = at.Sequence()
	}
	var ends []persistence.Partition
	for _, p := range partitions {
		last, ok := wanted[p.Number]
		if !ok {
			return nil, holdfast.Errorf(holdfast.CodeMalformed, "there is no position of partition %d: give one of each of the %d, or a time", p.Number, len(partitions))
		}
		if last > p.Last {
			return nil, holdfast.Errorf(holdfast.CodeMalformed, "%s is beyond the end of the log, %s", holdfast.NewPosition(p.Number, last), holdfast.NewPosition(p.Number, p.Last))
		}
		delete(wanted, p.Number)
		p.Last = last
		ends = append(ends, p)
	}
	for number := range wanted {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "the log has no partition %d: it has %d", number, len(partitions))
	}
	return ends, nil
}

type replay struct {
	Config
	result      Result
	done, total uint64

	unit    projections.Unit
	at      projections.Checkpoint
	items   []projections.Item
	reached uint64         // the sequence up to which they are all that there is
	refused map[string]int // by key, of the partition: from which item on
}

// errEnough ends a scan where nothing more is wanted.
var errEnough = errors.New("enough")

// partition reads one partition up to where p ends.
func (r *replay) partition(ctx context.Context, p persistence.Partition, all []persistence.Partition) error {
	r.unit = projections.Unit{Projection: r.Projection.Name(), Generation: Generation, Partition: p.Number}
	r.at, r.items, r.reached = projections.Checkpoint{}, nil, 0
	clear(r.refused)
	if p.Last > 0 {
		unread, err := r.Log.Scan(ctx, persistence.ScanOptions{After: others(p.Number, all)}, func(rec persistence.Record) error { return r.record(ctx, p, rec) })
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if unread > 0 {
			return holdfast.Errorf(holdfast.CodeCorrupt, "%d records of partition %d cannot be read: verify the log", unread, p.Number)
		}
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	r.result.Positions = append(r.result.Positions, holdfast.NewPosition(p.Number, r.reached))
	return nil
}

// others gives the ends of all partitions but one, after which there is nothing to read.
func others(number uint32, all []persistence.Partition) (after []holdfast.Position) {
	for _, p := range all {
		if p.Number != number {
			after = append(after, holdfast.NewPosition(p.Number, p.Last))
		}
	}
	return after
}

func (r *replay) record(ctx context.Context, p persistence.Partition, rec persistence.Record) error {
	late := len(r.At) == 0 && rec.Time.After(r.Time)
	if rec.Position.Partition() != p.Number { // which has begun meanwhile
		return nil
	}
	if late || rec.Position.Sequence() > p.Last {
		return errEnough
	}
	r.items = append(r.items, r.Projection.Read(rec)...)
	r.reached = rec.Position.Sequence()
	r.done++
	if len(r.items) < batched {
		return nil
	}
	return r.flush(ctx)
}

// flush has what was read handled. What cannot be is left out, and all is done once more.
func (r *replay) flush(ctx context.Context) error {
	for r.reached > r.at.Done {
		to := projections.Checkpoint{Done: r.reached}
		handled, refusing := 0, -1
		err := r.Sink.Commit(ctx, r.unit, r.at, to, func(b projections.Batch) (err error) {
			handled, refusing, err = r.handle(b)
			return err
		})
		if refusing >= 0 {
			r.refuse(refusing, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("make %s as of then: %w", r.Projection.Name(), err)
		}
		r.result.Events += uint64(handled)
		r.result.Left += uint64(len(r.items) - handled)
		r.at, r.items = to, r.items[:0]
		for key := range r.refused {
			r.refused[key] = 0
		}
	}
	if r.Progress != nil {
		r.Progress(r.done, r.total)
	}
	return nil
}

func (r *replay) refuse(n int, because error) {
	i := r.items[n]
	r.refused[i.Key] = n
	if len(r.result.Refused) < told {
		r.result.Refused = append(r.result.Refused, Refused{i.ID, i.Key, because.Error()})
	}
}

// handle has all events handled whose keys were not refused before. It tells which one was
// refused now, or -1.
func (r *replay) handle(b projections.Batch) (handled, refusing int, err error) {
	for n, i := range r.items {
		if from, ok := r.refused[i.Key]; ok && n >= from {
			continue
		}
		err := r.Projection.Handle(quiet{b}, i)
		if broken := b.Broken(); broken != nil {
			return handled, -1, broken
		}
		if f, ok := b.(projections.Failing); err == nil && ok {
			err = f.Failed()
		}
		if err != nil {
			return handled, n, err
		}
		handled++
	}
	return handled, -1, nil
}

// quiet is a batch whose outbox takes nothing.
type quiet struct{ projections.Batch }

// Later does nothing.
func (quiet) Later(projections.Effected) error { return nil }
