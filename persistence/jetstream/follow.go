package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	// sure is how many times, a tick or more apart, a record is asked for in vain until it is
	// said to be missing.
	sure = 5
	// missed is for how many ticks a log may not be reached until that is worth a warning.
	missed = 6 * ticksPerTimeout
)

// Follow implements [persistence.Follower].
func (s *Store) Follow(ctx context.Context, after holdfast.Position, each func(persistence.Record) error) error {
	if after.Partition() >= s.Partitions() {
		return holdfast.Errorf(holdfast.CodeMalformed, "follow log: there is no partition %d: it has %d, from 0 on", after.Partition(), s.Partitions())
	}
	p := s.partitions[after.Partition()]
	filter, _, err := s.filter(persistence.Filter{}, p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	f := &follower{reader: reader{store: s, partition: p, filter: filter, patience: max(s.readTimeout, scanPatience), next: after.Sequence()}}
	f.next = max(f.next, f.next+1) // nothing stands after the highest, nor there
	defer f.finish(ctx)
	for {
		rec, err := f.read(ctx)
		if err != nil {
			return err
		}
		if err := each(rec); err != nil {
			return err
		}
	}
}

// A follower reads one partition as it grows, from any replica, since none has what may yet
// be lost: a server stores what it is told to when a majority has written it down, or alone,
// when it has done so itself; and its consumers read what it has stored. (Of a batch they read
// more, for which the reader waits.) But one may have
// stopped where others go on, and its disk may have lost a record, which its consumers pass
// over without a word. So the follower gives nothing but what comes next. When a consumer
// does not give it, the follower goes to another one, where the leader is, and then asks for
// that record itself.
type follower struct {
	reader
	begun   uint64  // the sequence from which the last consumer was to go on
	doubted uint64  // that which a consumer did not give
	since   *uint64 // the tick since which nothing is heard
	warned  bool
}

// read gives the next record, as soon as there is one. It fails when there never will be.
func (f *follower) read(ctx context.Context) (persistence.Record, error) {
	for {
		rec, err := f.attempt(ctx)
		switch cause := context.Cause(ctx); {
		case err == nil:
			f.heard()
			return rec, nil
		case cause != nil, f.store.js.Conn().IsClosed():
			return rec, holdfast.Errorf(holdfast.CodeUnavailable, "follow %s: %w", f.partition.stream, cmp.Or(cause, nats.ErrConnectionClosed))
		case errors.Is(err, holdfast.ErrCorrupt):
			return rec, err
		}
		f.close(ctx)
		f.failed(err)
	}
}

// attempt waits for the next record until it comes, or the consumer is of no more use.
func (f *follower) attempt(ctx context.Context) (persistence.Record, error) {
	if f.pull == nil {
		if err := f.resume(ctx); err != nil {
			return persistence.Record{}, err
		}
	}
	rec, err := f.receive(ctx, f.store.readTimeout)
	for errors.Is(err, errQuiet) && !f.grown(ctx) {
		rec, err = f.receive(ctx, f.store.readTimeout)
	}
	switch {
	case !errors.Is(err, errGap) && !errors.Is(err, errQuiet):
		return rec, err
	case f.doubted == f.next:
		return f.mend(ctx)
	}
	f.doubted = f.next
	return rec, err
}

// heard notes that the log can be reached.
func (f *follower) heard() {
	if f.warned {
		f.store.log.Info("the log can be followed again", "stream", f.partition.stream)
	}
	f.since, f.warned = nil, false
}

// failed notes that it cannot, and says so when that has been going on for long.
func (f *follower) failed(err error) {
	now := f.store.clock.ticks()
	if f.since == nil {
		f.since = &now
	}
	log := f.store.log.With("stream", f.partition.stream, "next", f.next, "error", err)
	if now-*f.since < missed || f.warned {
		log.Debug("follow log: it is tried again")
		return
	}
	f.warned = true
	log.Warn("the log cannot be followed; it is tried again")
}

// resume makes a consumer, not more than one a tick that brings nothing.
func (f *follower) resume(ctx context.Context) error {
	if f.begun == f.next {
		if err := f.store.clock.wait(ctx); err != nil {
			return err
		}
	}
	f.begun = f.next
	replica := ""
	if f.doubted == f.next && f.partition.replicated {
		i, err := f.store.info(ctx, f.partition)
		if err != nil {
			return err
		}
		replica = i.leader()
	}
	if err := f.open(ctx, replica); err != nil {
		return err
	}
	f.pull.want = f.next
	return f.check(ctx)
}

// check finds that the log has lost what stood before the next record: others would take
// its place. It asks when there is a consumer already, which such a loss would take along.
func (f *follower) check(ctx context.Context) error {
	begin := time.Now()
	for asked := 1; ; asked++ {
		i, err := f.store.info(ctx, f.partition)
		if err != nil {
			return err
		}
		if f.next-1 <= i.said {
			return nil
		}
		// One that leads no longer may not know so, and not have what others have.
		if asked >= sure && (!f.partition.replicated || i.leads(time.Since(begin))) {
			return persistence.Ended(holdfast.NewPosition(f.partition.number, i.said), holdfast.NewPosition(f.partition.number, f.next-1))
		}
		if err := f.store.clock.pass(ctx); err != nil {
			return err
		}
	}
}

// grown reports whether the log has grown, although the consumer says nothing.
func (f *follower) grown(ctx context.Context) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, f.store.readTimeout, errTimeout)
	defer cancel()
	i, err := f.store.info(ctx, f.partition)
	if err != nil {
		f.failed(err)
		return false
	}
	f.heard()
	return i.said >= f.next
}

// mend gives the record that no consumer gives, or says that there is none.
func (f *follower) mend(ctx context.Context) (persistence.Record, error) {
	for asked := 1; ; asked++ {
		rec, err := f.find(ctx)
		if err == nil {
			f.next++
		}
		if !errors.Is(err, errNone) {
			f.close(ctx)
			return rec, err
		}
		if asked >= sure {
			return rec, persistence.Missing(holdfast.NewPosition(f.partition.number, f.next))
		}
		if err := f.store.clock.pass(ctx); err != nil {
			return rec, err
		}
	}
}

// find asks for the next record, first the leader. It gives errNone when the log is longer
// than that, and nobody who answers has it.
func (f *follower) find(ctx context.Context) (persistence.Record, error) {
	p := f.partition
	m, err := f.store.reads.one(ctx, p.leaderFrom(f.next, f.filter))
	var got stored
	if err == nil {
		got, err = parseLeader(m)
	}
	switch {
	case err == nil && got.seq == f.next:
		return got.record(p), nil
	case err == nil && got.seq < f.next:
		err = errOdd
	case errors.Is(err, errNone): // nor what comes after it
		var i streamInfo
		if i, err = f.store.info(ctx, p); err == nil && i.said < f.next {
			err = fmt.Errorf("the leader does not know of %d yet", f.next)
		}
	}
	if err != nil {
		return persistence.Record{}, err
	}
	for n := 0; n < tries && p.replicated; n++ { // each is answered by any replica
		if m, err = f.store.reads.one(ctx, p.directAt(f.next)); err == nil {
			got, err = parseDirect(m)
		}
		if err == nil && got.seq == f.next {
			got.time, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
			return got.record(p), err
		}
		if !errors.Is(err, errNone) {
			return persistence.Record{}, cmp.Or(err, errOdd)
		}
	}
	return persistence.Record{}, errNone
}

func (m stored) record(p *partition) persistence.Record {
	return persistence.Record{Position: holdfast.NewPosition(p.number, m.seq), Subject: m.subject, Body: m.body, Time: m.time}
}
