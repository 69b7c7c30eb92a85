package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	// scanAhead is how many bytes a scan has on their way at a time, the largest commit and
	// what comes with it at least. Messages are not counted: nats.go makes room for as many
	// as are asked for, and the server ends a request for some number of them with one more.
	scanAhead = maxLimit + 1<<20
	// scanHeartbeat is how often the server shows that it has heard of the scan. A request
	// that comes before the consumer has a leader is lost; without a heartbeat for twice
	// as long, the scan goes on from a new consumer.
	scanHeartbeat = 500 * time.Millisecond
	// scanPatience is the least that a scan waits for the next message.
	scanPatience = 6 * scanHeartbeat
	// abandoned is how long the server keeps the consumer of a scan that died.
	abandoned = 30 * time.Second
)

// Describe implements [persistence.Scanner].
func (s *Store) Describe(ctx context.Context) ([]persistence.Partition, error) {
	out := make([]persistence.Partition, len(s.partitions))
	for i, p := range s.partitions {
		m, err := s.reads.one(ctx, query{subject: p.info, replicated: p.replicated})
		if err != nil {
			return nil, holdfast.Errorf(holdfast.CodeUnavailable, "describe %s: %w", p.stream, err)
		}
		var r struct {
			Error *apiError             `json:"error"`
			State jetstream.StreamState `json:"state"`
		}
		if err := parseAnswer(m, &r, func() *apiError { return r.Error }); err != nil {
			return nil, holdfast.Errorf(holdfast.CodeUnavailable, "describe %s: %w", p.stream, err)
		}
		out[i] = persistence.Partition{Number: p.number, Commits: r.State.Msgs, Bytes: r.State.Bytes, Last: r.State.LastSeq}
	}
	return out, nil
}

// Scan implements [persistence.Scanner].
func (s *Store) Scan(ctx context.Context, opts persistence.ScanOptions, each func(persistence.Record) error) (uint64, error) {
	if err := opts.Check(); err != nil {
		return 0, err
	}
	var unread uint64
	for _, p := range s.partitions {
		filter, ok, err := s.filter(opts.Filter, p)
		if err != nil {
			return unread, err
		}
		if !ok {
			continue
		}
		n, err := s.scan(ctx, p, filter, opts.Start(p.number), each)
		if unread += n; err != nil {
			return unread, err
		}
	}
	return unread, nil
}

// filter gives the subjects to read of a partition; not ok when it has none of them.
func (s *Store) filter(f persistence.Filter, p *partition) (subject string, ok bool, err error) {
	of := fmt.Sprintf("%s.%s.%d.", s.context, messages.KindLog, p.number)
	switch {
	case f.All():
		return of + ">", true, nil
	case f.ID != "":
		a, err := s.aggregate(holdfast.Ref(f))
		return a.subject, err == nil && a.partition == p, err
	}
	if _, err := messages.ParseType(f.Type); err != nil {
		return "", false, holdfast.Errorf(holdfast.CodeMalformed, "%w", err)
	}
	return of + f.Type + ".>", true, nil
}

// scan reads one partition from start.
func (s *Store) scan(ctx context.Context, p *partition, filter string, start uint64, each func(persistence.Record) error) (unread uint64, err error) {
	fail := func(err error) error { return holdfast.Errorf(holdfast.CodeUnavailable, "scan %s: %w", p.stream, err) }
	consumer, err := s.js.OrderedConsumer(ctx, p.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{filter},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       start,
		InactiveThreshold: abandoned,
	})
	if err != nil {
		return 0, fail(err)
	}
	defer s.deleteConsumer(ctx, p, consumer)
	expected := consumer.CachedInfo().NumPending
	end, err := s.lastMatching(ctx, p, filter)
	switch {
	case err != nil:
		return 0, fail(err)
	case end < start, end == unknownEnd && expected == 0:
		return 0, nil
	}
	msgs, err := consumer.Messages(jetstream.PullMaxBytes(scanAhead), jetstream.PullHeartbeat(scanHeartbeat))
	if err != nil {
		return 0, fail(err)
	}
	defer msgs.Stop()
	next := s.records(ctx, p, msgs)
	for read := uint64(1); ; read++ {
		r, left, err := next()
		switch {
		case errors.Is(err, errTimeout) && end == unknownEnd:
			return expected - min(read-1, expected), nil
		case err != nil:
			return 0, fail(err)
		}
		if err := each(r); err != nil {
			return 0, err
		}
		if r.Position.Sequence() >= end || end == unknownEnd && left == 0 {
			return expected - min(read, expected), nil
		}
	}
}

// unknownEnd is the end of a scan whose last message cannot be read: it ends when no
// more comes.
const unknownEnd = math.MaxUint64

// lastMatching gives the sequence of the last message that matches, as the leader knows
// it: a replica from which the scan reads may lag behind.
func (s *Store) lastMatching(ctx context.Context, p *partition, filter string) (uint64, error) {
	m, err := s.reads.one(ctx, p.leaderLast(filter))
	if err != nil {
		return 0, err
	}
	last, err := parseLeader(m)
	if errors.Is(err, errNone) {
		return unknownEnd, nil
	}
	return last.seq, err
}

// records gives a function that waits for the next record and says how many are left.
// Its error is errTimeout when none comes for too long.
func (s *Store) records(ctx context.Context, p *partition, msgs jetstream.MessagesContext) func() (persistence.Record, uint64, error) {
	return func() (persistence.Record, uint64, error) {
		if err := context.Cause(ctx); err != nil { // Next would still give what has come already, or not
			return persistence.Record{}, 0, err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, max(s.readTimeout, scanPatience), errTimeout)
		defer cancel()
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return persistence.Record{}, 0, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return persistence.Record{}, 0, err
		}
		return persistence.Record{
			Position: holdfast.NewPosition(p.number, meta.Sequence.Stream),
			Subject:  m.Subject(), Body: m.Data(), Time: meta.Timestamp,
		}, meta.NumPending, nil
	}
}

// deleteConsumer spares the server a consumer that nobody reads: it takes a thousand a
// stream.
func (s *Store) deleteConsumer(ctx context.Context, p *partition, consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.readTimeout)
	defer cancel()
	name := consumer.CachedInfo().Name
	if err := s.js.DeleteConsumer(ctx, p.stream, name); err != nil {
		s.log.Debug("delete consumer of a scan; the server will do so", "stream", p.stream, "consumer", name, "error", err)
	}
}
