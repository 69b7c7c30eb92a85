package jetstream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	// scanQuiet is after what time without a message a scan asks why none comes: later than
	// it would miss a heartbeat.
	scanQuiet = 5 * heartbeat / 2
	// scanPatience is the least that a scan waits for the next message.
	scanPatience = 6 * heartbeat
	// waiting is how many times as long a scan waits for a replica that is named: it may have
	// to catch up, and others will not do instead.
	waiting = 6
	// abandoned is how long the server keeps the consumer of a reader that died.
	abandoned = 30 * time.Second
)

// Describe implements [persistence.Scanner].
func (s *Store) Describe(ctx context.Context) ([]persistence.Partition, error) {
	out := make([]persistence.Partition, len(s.partitions))
	for i, p := range s.partitions {
		info, err := s.info(ctx, p)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.CodeUnavailable, "describe %s: %w", p.stream, err)
		}
		out[i] = persistence.Partition{
			Number: p.number, Commits: info.State.Msgs, Bytes: info.State.Bytes, Last: info.State.LastSeq, Replicas: info.replicas(),
		}
	}
	return out, nil
}

// Scan implements [persistence.Scanner].
func (s *Store) Scan(ctx context.Context, opts persistence.ScanOptions, each func(persistence.Record) error) (uint64, error) {
	if err := opts.Check(); err != nil {
		return 0, err
	}
	kept, err := s.kept(ctx, opts.Replica)
	if err != nil {
		return 0, err
	}
	var unread uint64
	for _, p := range kept {
		filter, ok, err := s.filter(opts.Filter, p)
		if err != nil {
			return unread, err
		}
		if !ok {
			continue
		}
		r := &reader{store: s, partition: p, filter: filter, patience: max(s.readTimeout, scanPatience), next: opts.Start(p.number)}
		if opts.Replica != "" && p.replicated { // else all consumers are where the copy is
			r.replica = opts.Replica
			r.patience *= waiting
		}
		n, err := s.scan(ctx, r, each)
		if unread += n; err != nil {
			return unread, err
		}
	}
	return unread, nil
}

// kept gives the partitions that a replica keeps, all if none is named.
func (s *Store) kept(ctx context.Context, replica string) ([]*partition, error) {
	if replica == "" {
		return s.partitions, nil
	}
	var kept []*partition
	for _, p := range s.partitions {
		info, err := s.info(ctx, p)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.CodeUnavailable, "scan %s: %w", p.stream, err)
		}
		if slices.Contains(info.replicas(), replica) {
			kept = append(kept, p)
		}
	}
	if kept == nil {
		return nil, holdfast.Errorf(holdfast.CodeMalformed, "replica: %q keeps no part of the log of %s: give a name that Describe has", replica, s.context)
	}
	return kept, nil
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
func (s *Store) scan(ctx context.Context, r *reader, each func(persistence.Record) error) (unread uint64, err error) {
	fail := func(err error) error {
		return holdfast.Errorf(holdfast.CodeUnavailable, "scan %s: %w", r.partition.stream, err)
	}
	defer r.finish(ctx)
	if err := r.begin(ctx); err != nil {
		return 0, fail(err)
	}
	expected := r.left
	for read := uint64(0); ; read++ {
		rec, more, err := r.read(ctx)
		switch {
		case err != nil:
			return 0, fail(err)
		case !more:
			return expected - min(read, expected), nil
		}
		if err := each(rec); err != nil {
			return 0, err
		}
	}
}

// deleteConsumer spares the server a consumer that nobody reads: it takes a thousand a
// stream.
func (s *Store) deleteConsumer(ctx context.Context, p *partition, consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.readTimeout)
	defer cancel()
	name := consumer.CachedInfo().Name
	if err := s.js.DeleteConsumer(ctx, p.stream, name); err != nil {
		s.log.Debug("delete consumer; the server will do so", "stream", p.stream, "consumer", name, "error", err)
	}
}
