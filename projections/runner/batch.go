package runner

import (
	"time"

	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

// A batch is a run of the log: the records of it that concern a unit, in whole, with their
// events in order.
type batch struct {
	items   []projections.Item
	records []held
	bytes   int    // of the records
	done    uint64 // the sequence up to which it reaches
}

// held is a record with so many events of a batch.
type held struct {
	persistence.Record
	items int
}

func (b *batch) add(rec persistence.Record, items int) {
	if items > 0 {
		b.records = append(b.records, held{rec, items})
		b.bytes += len(rec.Body)
	}
	b.done = rec.Position.Sequence()
}

// clear makes room for others.
func (b *batch) clear() {
	clear(b.items)
	clear(b.records)
	*b = batch{items: b.items[:0], records: b.records[:0]}
}

// full reports whether there is no room for more.
func (b *batch) full(limit int) bool { return len(b.items) >= limit || b.bytes >= mostBytes }

// cut divides a batch before its record n.
func (b batch) cut(n int) (front, rest batch) {
	items := 0
	for _, rec := range b.records[:n] {
		items += rec.items
	}
	front = batch{items: b.items[:items], records: b.records[:n], done: b.records[n].Position.Sequence() - 1}
	return front, batch{items: b.items[items:], records: b.records[n:], done: b.done}
}

// cutAfter divides a batch after a sequence.
func (b batch) cutAfter(seq uint64) (front, rest batch) {
	if b.done <= seq {
		return b, batch{}
	}
	for n, rec := range b.records {
		if rec.Position.Sequence() > seq {
			front, rest = b.cut(n)
			front.done = seq
			return front, rest
		}
	}
	rest.done, b.done = b.done, seq
	return b, rest
}

// recordOf gives the number of the record with an item.
func (b batch) recordOf(item int) int {
	for n, rec := range b.records {
		if item -= rec.items; item < 0 {
			return n
		}
	}
	return len(b.records)
}

// after gives the checkpoint once the batch is done.
func (b batch) after(at projections.Checkpoint) projections.Checkpoint {
	at.Done = b.done
	if n := len(b.items); n > 0 {
		at.Time = b.items[n-1].Time
	}
	return at
}

// The sizes of batches, in events, and what their records may take.
const (
	firstSize = 500
	leastSize = 50
	mostSize  = 4000
	mostBytes = 16 << 20
	// pacedSize is that of a generation that rests after each: commands, which are to have the
	// machine, wait for as little as that takes.
	pacedSize = 50
)

// nextSize is how many events a batch may have after one that was full and took so long: as
// many as are done in a tenth of a second or so, so that no one who waits for the database or
// for this projection waits long.
func nextSize(size int, took time.Duration) int {
	switch {
	case took < 100*time.Millisecond:
		return min(2*size, mostSize)
	case took > 400*time.Millisecond:
		return max(size/2, leastSize)
	}
	return size
}

// rest is how long a generation rests that has worked for so long.
func rest(worked time.Duration, ratio float64) time.Duration {
	return min(time.Duration(float64(worked)*max(ratio, 0)), time.Second)
}
