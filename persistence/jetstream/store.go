package jetstream

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// Store is a [persistence.Store] on JetStream. [Open] makes it.
type Store struct {
	context    messages.Context
	partitions []*partition
	created    time.Time
	snapshots  *partition
	publish    *pipe
	reads      *reads
	clock      *clock
	elections  *nats.Subscription // nil without replicas
	js         jetstream.JetStream
	pulls      atomic.Int64 // on its connection
	log        *slog.Logger
	newID      func() string
	stats      stats

	readTimeout time.Duration

	ctx      context.Context // ends with the store
	cancel   context.CancelCauseFunc
	settlers chan struct{}
	closing  sync.Once
	settling sync.WaitGroup
}

var (
	_ persistence.Store    = (*Store)(nil)
	_ persistence.Replayer = (*Store)(nil)
	_ persistence.Scanner  = (*Store)(nil)
	_ persistence.Follower = (*Store)(nil)
)

// Partitions is how many partitions the log has.
func (s *Store) Partitions() uint32 { return uint32(len(s.partitions)) }

// Created is when the log was made, to the nanosecond, as JetStream has it on record: it
// tells this log from one that has taken its place.
func (s *Store) Created() time.Time { return s.created }

// start makes the part of the store that works on the connections.
func (s *Store) start(cfg Config) error {
	var err error
	if s.publish, err = newPipe(cfg.Publish, cfg.ticks(cfg.AppendTimeout)); err != nil {
		return err
	}
	s.reads = &reads{unled: s.await}
	for _, nc := range cfg.Read {
		p, err := newPipe(nc, cfg.ticks(cfg.ReadTimeout))
		if err != nil {
			s.closePipes()
			return err
		}
		s.reads.pipes = append(s.reads.pipes, p)
	}
	for _, p := range s.partitions {
		p.newcomers = &newcomers{store: s, on: p}
	}
	if cfg.SyncAlways {
		for _, p := range s.partitions {
			if !p.replicated { // among several servers the leader gathers by itself
				p.coalescer = newCoalescer(s)
			}
		}
	}
	s.clock = newClock()
	if err := s.followElections(cfg.Read[0]); err != nil {
		s.closePipes()
		return err
	}
	ticks, release := cfg.newTicker(cfg.tick())
	s.clock.run(ticks, release, s.ticked, s.pipes()...)
	return nil
}

// Close ends the store and waits until all callers have been told: appends that are
// under way are ErrUncertain, those that have not been sent and whatever comes later are
// ErrUnavailable. The connections stay open. Calling it again does no more than wait.
func (s *Store) Close() {
	s.closing.Do(func() {
		// In this order nobody begins to settle an append after the wait for that.
		s.cancel(errClosed)
		s.clock.close()
		if s.elections != nil {
			_ = s.elections.Unsubscribe() // unless its connection has been closed
		}
		s.closePipes()
		for _, p := range s.partitions {
			if p.coalescer != nil {
				p.coalescer.close()
			}
		}
		s.settling.Wait()
	})
}

func (s *Store) pipes() []*pipe { return append([]*pipe{s.publish}, s.reads.pipes...) }

func (s *Store) closePipes() {
	for _, p := range s.pipes() {
		if err := p.close(); err != nil {
			s.log.Warn("unsubscribe from answers", "error", err) // the connection's owner will close it
		}
	}
}
