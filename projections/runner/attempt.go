package runner

import (
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
)

const (
	// tries are how often an event is handled before it is parked.
	tries = 3
	// patient is how many events are parked one after the other before there are no pauses
	// between their tries any more: what refuses so many does so for good.
	patient = 8
)

// tried is how often an event has been refused, and why at last.
type tried struct {
	count  int
	reason string
}

// A refusal is that of one event of a batch: that with the number item.
type refusal struct {
	item int
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// A breakage is that of the sink, while an event was handled.
type breakage struct {
	event string
	err   error
}

func (b *breakage) Error() string { return b.err.Error() }
func (b *breakage) Unwrap() error { return b.err }

// An attempt has the events of a batch handled, in one transaction.
type attempt struct {
	projection *projections.Projection
	// parked are the keys with events that are parked, and added those that get such here.
	parked, added map[string]int
	skips         map[string]string // by id, the events to leave out, with the reasons
	skipped       []string          // the keys of such
	tried         map[string]tried  // by id, the events that were refused before
	now           time.Time
	quiet         bool // nothing goes into the outbox
	// at is the number of the item that is being handled.
	at *atomic.Int64
}

// run has all of it handled. A refusal ends it.
func (a *attempt) run(sb projections.Batch, b batch) error {
	a.added, a.skipped = map[string]int{}, nil
	if a.quiet {
		sb = quiet{sb}
	}
	i := 0
	for _, rec := range b.records {
		for range rec.items {
			a.at.Store(int64(i))
			if err := a.item(sb, b.items[i], rec.Record, i); err != nil {
				return err
			}
			i++
		}
	}
	a.at.Store(-1)
	return nil
}

// item handles an event, or parks it.
func (a *attempt) item(sb projections.Batch, i projections.Item, rec persistence.Record, n int) error {
	reason, skip := a.skips[i.ID]
	before := a.tried[i.ID]
	switch {
	case a.parked[i.Key]+a.added[i.Key] > 0: // it waits behind
		a.added[i.Key]++
		return sb.Park(a.park(i, rec, "", 0))
	case skip: // it is when its key drains, at once
		a.added[i.Key]++
		a.skipped = append(a.skipped, i.Key)
		return sb.Park(a.park(i, rec, "to be skipped: "+reason, before.count))
	case i.Unread != nil:
		a.added[i.Key]++
		return sb.Park(a.park(i, rec, i.Unread.Error(), 1))
	case before.count >= tries:
		a.added[i.Key]++
		return sb.Park(a.park(i, rec, before.reason, before.count))
	}
	return handle(a.projection, sb, i, n)
}

func handle(p *projections.Projection, sb projections.Batch, i projections.Item, n int) error {
	err := p.Handle(sb, i)
	if broken := sb.Broken(); broken != nil {
		return &breakage{i.ID, broken}
	}
	if err != nil {
		return &refusal{n, err}
	}
	return nil
}

func (a *attempt) park(i projections.Item, rec persistence.Record, reason string, attempts int) projections.Parked {
	i.Data = nil
	return projections.Parked{Key: i.Key, Event: i.Event, Record: rec, Reason: reason, Since: a.now, Attempts: attempts}
}

// refusedWait is how long to wait before an event is tried again that has been refused so many
// times, when so many have been parked one after the other before.
func refusedWait(count, parkedLately int) time.Duration {
	if count >= tries || parkedLately >= patient {
		return 0
	}
	return 20 * time.Millisecond << (2 * (count - 1))
}

// quiet is a batch of a generation that does not serve.
type quiet struct{ projections.Batch }

// Later does nothing.
func (quiet) Later(projections.Effected) error { return nil }

// Failed implements [projections.Failing].
func (q quiet) Failed() error {
	if f, ok := q.Batch.(projections.Failing); ok {
		return f.Failed()
	}
	return nil
}

// brokenWait is how long to wait before the sink is asked again that has failed so many times.
func brokenWait(failures int) time.Duration {
	return min(100*time.Millisecond<<min(failures-1, 10), 5*time.Second)
}

// parts gives what of a parked event's record is to be handled now.
func parts(p *projections.Projection, parked projections.Parked) []projections.Item {
	at := parked.Event
	var now []projections.Item
	for _, i := range p.Read(parked.Record) {
		if at.Index < 0 || i.Index < 0 || i.Index == at.Index && (at.Part < 0 || i.Part < 0 || i.Part == at.Part) {
			i.Drained = true
			now = append(now, i)
		}
	}
	return now
}
