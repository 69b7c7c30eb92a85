package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// A reader reads the records of one partition in their order, as one replica has them,
// up to what the leader had when the reader began. The consumers by which it reads are
// on that replica: one that has a single copy delivers from the store of its own server,
// passes over what that cannot read, and gives no sign of it.
type reader struct {
	store     *Store
	partition *partition
	filter    string
	replica   string // by its server; empty: any
	patience  time.Duration

	next uint64 // the sequence to go on from
	end  uint64
	left uint64 // how many matching ones the replica has from next on, readable or not

	consumer jetstream.Consumer
	pull     *pull
	at       string // where the consumer is, if there are several replicas
	slow     int    // how many that were asked for have not been made, of late
	deleting sync.WaitGroup

	reached uint64 // how far the replica is known to have come
	behind  bool   // that was not to the end
	whole   bool   // it was, when the consumer was made
	quiet   bool   // nothing has come for a moment
	kept    uint64 // up to here the disk is known to have it
}

// read gives the next record; none when there is no more up to the end. Whenever nothing
// moves for as long as the reader's patience it gives up.
func (r *reader) read(ctx context.Context) (rec persistence.Record, more bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(r.patience, func() { cancel(errTimeout) })
	defer limit.Stop()
	for r.next <= r.end {
		if before := r.reached; r.quiet || r.left == 0 && !r.behind {
			ended, err := r.ended(ctx)
			if ended || err != nil {
				return persistence.Record{}, false, r.because(ctx, err)
			}
			if r.reached > before {
				limit.Reset(r.patience)
			}
		}
		rec, err = r.receive(ctx, scanQuiet)
		r.quiet = errors.Is(err, errQuiet)
		if err == nil {
			return rec, true, nil
		}
		if context.Cause(ctx) == nil && !r.quiet {
			err = r.open(ctx, r.replica)
		}
		if err != nil && !r.quiet || context.Cause(ctx) != nil {
			return persistence.Record{}, false, r.because(ctx, err)
		}
	}
	return persistence.Record{}, false, nil
}

// because gives the reason for which a read has failed.
func (r *reader) because(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errTimeout) && r.behind:
		return fmt.Errorf("the replica%s lags behind: it has come to %d of %d, and no further for %s", where(r.at), r.reached, r.end, r.patience)
	default:
		return cause
	}
}

// ended reports whether the replica has nothing more to give up to the end, although it
// has come so far. How far it has come, only a consumer that is new tells.
func (r *reader) ended(ctx context.Context) (bool, error) {
	if !r.whole {
		last, err := r.last(ctx)
		if err != nil {
			return false, err
		}
		r.reached = max(r.reached, last)
		if r.behind = last < r.end; r.behind {
			return false, nil
		}
		if err := r.open(ctx, r.at); err != nil {
			return false, err
		}
		r.whole = true
	}
	if r.left == 0 || !r.quiet {
		return r.left == 0, nil
	}
	info, err := r.consumer.Info(ctx)
	if err != nil || info.Delivered.Consumer > r.pull.got { // which has got lost
		return false, r.open(ctx, r.replica)
	}
	return info.NumPending == 0, nil
}

// receive waits for the next record, for so long.
func (r *reader) receive(ctx context.Context, quiet time.Duration) (persistence.Record, error) {
	m, meta, err := r.pull.next(ctx, quiet)
	if err == nil && meta.Sequence.Stream > r.kept && m.Header.Get(headerBatch) != "" {
		err = r.keep(ctx, meta)
	}
	if err != nil {
		return persistence.Record{}, err
	}
	r.next, r.left = meta.Sequence.Stream+1, meta.NumPending
	return persistence.Record{
		Position: holdfast.NewPosition(r.partition.number, meta.Sequence.Stream),
		Subject:  m.Subject, Body: m.Data, Time: meta.Timestamp,
	}, nil
}

// keep returns when the disk has a commit of a batch. A server that is alone shows those of a
// batch to consumers one by one, and fsyncs them in the end; a question for one of them it
// answers after that.
func (r *reader) keep(ctx context.Context, meta *nats.MsgMetadata) error {
	if !r.partition.replicated {
		if _, err := r.store.reads.one(ctx, r.partition.directAt(meta.Sequence.Stream)); err != nil {
			return err
		}
	}
	r.kept = meta.Sequence.Stream + meta.NumPending // it had at least so much by then
	return nil
}

// begin has the reader read what its replica has of what the leader has now.
func (r *reader) begin(ctx context.Context) error {
	if err := r.open(ctx, r.replica); err != nil {
		return err
	}
	// Only now, so that what it has left is not more than comes before the end.
	i, err := r.store.info(ctx, r.partition)
	r.end = i.State.LastSeq
	return err
}

// open begins to read from next on with a new consumer, on a replica if one is named.
func (r *reader) open(ctx context.Context, replica string) error {
	r.close(ctx)
	consumer, err := r.place(ctx, replica, jetstream.ConsumerConfig{
		FilterSubject: r.filter, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next,
	})
	if err != nil {
		return err
	}
	info := consumer.CachedInfo()
	r.consumer, r.left = consumer, info.NumPending
	if r.partition.replicated {
		r.at = server(info)
	}
	r.pull, err = newPull(r.store.js.Conn(), &r.store.pulls, r.partition.stream, info.Name)
	return err
}

// close gives up the consumer. That it is deleted nobody waits for: where its server has
// gone, nobody says so.
func (r *reader) close(ctx context.Context) {
	if r.pull != nil {
		r.pull.close()
	}
	if c := r.consumer; c != nil {
		r.deleting.Go(func() { r.store.deleteConsumer(ctx, r.partition, c) })
	}
	r.pull, r.consumer, r.whole, r.quiet = nil, nil, false, false
}

// finish gives up the consumer, and returns when no other one is left either.
func (r *reader) finish(ctx context.Context) {
	r.close(ctx)
	r.deleting.Wait()
}
