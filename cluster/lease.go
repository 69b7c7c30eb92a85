package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A lease keeps one record in the bucket. While it is good, no other node takes this one
// for gone; it ends, for this node, well before it can for the others.
type lease struct {
	bucket *bucket
	now    func() time.Time
	fill   func(*record) // writes what is counted, before each renewal
	kick   chan struct{}
	until  atomic.Pointer[time.Time]
	sent   atomic.Pointer[time.Time] // the last record that was written
	linked atomic.Bool               // the connection to the bucket is there, as far as is known
	fence  *time.Timer               // ends the spell when the lease is not good any more
	spell  atomic.Pointer[spell]

	mu       sync.Mutex
	record   record                  // as it is to be
	revision uint64                  // of the last one that was written
	attempt  context.CancelCauseFunc // ends the one that is under way
	hasty    time.Time               // attempts are short until then
}

// Of the length of a lease: after which part it is renewed, how long one attempt may
// take and how long the next one waits, and for which part of it this node relies on it.
const (
	renewAfter = 5
	tryFor     = 3
	tryHastily = 20
	retryAfter = 20
	relyOn     = 6 // five of six parts
)

func newLease(b *bucket, r record, now func() time.Time, fill func(*record)) *lease {
	l := &lease{bucket: b, now: now, fill: fill, record: r, kick: make(chan struct{}, 1), attempt: func(error) {}}
	l.until.Store(&time.Time{})
	l.sent.Store(&time.Time{})
	l.linked.Store(true)
	l.spell.Store(newSpell())
	l.fence = time.AfterFunc(time.Hour, l.check)
	return l
}

// A spell is a time without interruption in which the lease was good.
type spell struct {
	ended chan struct{}
	once  sync.Once
}

func newSpell() *spell { return &spell{ended: make(chan struct{})} }

func (s *spell) end() { s.once.Do(func() { close(s.ended) }) }

// check has those who wait for an answer hear that the lease is not good any more.
func (l *lease) check() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.spell.Load(); !l.good() {
		s.end()
	}
}

// good reports whether this node may rely on the lease. Both the clock that runs evenly
// and the one on the wall must agree: the one does not count the time that a machine
// slept, and the other may be set.
func (l *lease) good() bool {
	now, until := l.now(), *l.until.Load()
	return now.Before(until) && now.Round(0).Before(until.Round(0))
}

// freshFor is for how long after a write to the register no server can have been replaced
// as a leader without this node's own server having been in touch with the others.
const freshFor = 3 * time.Second

// renewed is how long after it was written a record is written again: a lease that is long is
// kept fresh as well.
func renewed(lease time.Duration) time.Duration { return min(lease/renewAfter, freshFor/renewAfter) }

// fresh reports whether the register was written a short time ago.
func (l *lease) fresh() bool { return l.now().Sub(*l.sent.Load()) < freshFor }

// change changes the record, and has it written soon.
func (l *lease) change(f func(*record)) {
	l.mu.Lock()
	f(&l.record)
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// elected says that the register has a new leader: what is being written may have reached
// the last one, and so may the next for a while, of which nobody hears any more.
func (l *lease) elected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hasty = l.now().Add(l.record.Lease / tryFor)
	l.attempt(errElected)
}

// last is the revision of the record that was written last, 0 before the first.
func (l *lease) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision
}

// renew writes the record once. errLost says that the lease is over for good.
func (l *lease) renew(ctx context.Context) error {
	sent := l.now()
	l.mu.Lock()
	l.fill(&l.record)
	r, revision, limit := l.record, l.revision, l.record.Lease/tryFor
	if sent.Before(l.hasty) {
		limit = r.Lease / tryHastily
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l.attempt = end
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	written, err := l.bucket.put(ctx, &r, revision)
	if errors.Is(err, errLost) && revision > 0 {
		// Perhaps it is one of ours that was not answered. Nobody else writes this record,
		// and what has expired is no record.
		var last uint64
		if last, err = l.bucket.last(ctx, r.ID); err == nil {
			sent = l.now()
			written, err = l.bucket.put(ctx, &r, last)
		}
	}
	if errors.Is(context.Cause(ctx), errElected) && err != nil {
		return errElected
	}
	if err != nil {
		return err
	}
	until := sent.Add(r.Lease - r.Lease/relyOn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if isClosed(l.spell.Load().ended) {
		l.spell.Store(newSpell())
	}
	l.until.Store(&until)
	l.sent.Store(&sent)
	l.fence.Reset(until.Sub(l.now()) + time.Millisecond)
	l.revision = written
	if r.Since == 0 && l.record.State == r.State {
		l.record.Since = written
	}
	return nil
}

// keep renews the lease until ctx ends or the lease is lost, which it returns.
func (l *lease) keep(ctx context.Context) error {
	timer := time.NewTimer(renewed(l.record.Lease))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.kick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause := renewed(l.record.Lease)
		if err := l.renew(ctx); errors.Is(err, errLost) {
			l.giveUp()
			return err
		} else if err != nil {
			pause = min(l.record.Lease/retryAfter, pause)
		}
		timer.Reset(pause)
	}
}

// end gives the lease up: from now on it is not good, and the record is removed, also one that
// was being written until now. Nobody waits for it to expire then.
func (l *lease) end(ctx context.Context) error {
	l.giveUp()
	l.mu.Lock()
	id, revision := l.record.ID, l.revision
	l.mu.Unlock()
	pause := time.NewTicker(l.record.Lease / retryAfter)
	defer pause.Stop()
	for {
		err := l.bucket.remove(ctx, id, revision)
		if !errors.Is(err, errLost) {
			return err
		}
		last, err := l.bucket.last(ctx, id)
		if errors.Is(err, errLost) { // it has expired
			return nil
		}
		if err != nil {
			return err
		}
		if last != revision {
			revision = last
			continue
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// giveUp has the lease be good no more.
func (l *lease) giveUp() {
	l.until.Store(&time.Time{})
	l.fence.Stop()
	l.spell.Load().end()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
