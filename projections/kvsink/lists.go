package kvsink

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
)

var del = []byte(headerOperation + ": ")

// isDelete reports whether a message says that a document is not there.
func isDelete(header []byte) bool { return bytes.Contains(header, del) }

// list calls each with all messages of the subjects that begin like that, as they stand at one
// moment between two commits: a batch ends with a checkpoint, and a replica that may be behind
// has come as far as the leader when it gives the last one.
func (s *Sink) list(ctx context.Context, n names, prefix string, headers bool, each func(jetstream.Msg, uint64) error) error {
	newest, err := s.last(ctx, n, n.checkpoints())
	if newest == nil || err != nil {
		return err
	}
	var c jetstream.Consumer
	err = patiently(ctx, func(ctx context.Context) (err error) {
		c, err = s.js.OrderedConsumer(ctx, n.stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{prefix + ">", n.checkpoints()}, HeadersOnly: headers, InactiveThreshold: 30 * time.Second,
			NamePrefix: messages.NodeConsumers + nuid.Next(), // clients, who may read the bucket, cannot change its filter
		})
		return err
	})
	if err != nil {
		return n.unavailable("list", err)
	}
	// What is asked of a consumer that a server is just making may be lost, which is noticed
	// after two heartbeats.
	all, err := c.Messages(jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
	if err != nil {
		return n.unavailable("list", err)
	}
	defer func() {
		all.Stop()
		// It would go by itself: that it cannot be removed now is no harm.
		_ = s.js.DeleteConsumer(context.WithoutCancel(ctx), n.stream, c.CachedInfo().Name)
	}()
	for {
		m, err := all.Next(jetstream.NextContext(ctx))
		if err != nil {
			return n.unavailable("list", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return n.unavailable("list", err)
		}
		if strings.HasPrefix(m.Subject(), prefix) {
			if err := each(m, meta.Sequence.Stream); err != nil {
				return err
			}
		} else if meta.NumPending == 0 && meta.Sequence.Stream >= newest.Seq {
			return nil
		}
	}
}

// Dump implements [projections.Sink]. It holds all documents in memory until it has them all.
func (s *Sink) Dump(ctx context.Context, projection string, number uint64, each func(table, key string, row []byte) error) error {
	n := newNames(s.config.Context, projection, number)
	found := map[string]*document{}
	err := s.list(ctx, n, n.document, false, func(m jetstream.Msg, seq uint64) error {
		if m.Headers().Get(headerOperation) != "" {
			delete(found, m.Subject())
			return nil
		}
		d, err := decode(&stored{Subject: m.Subject(), Seq: seq, Data: m.Data()})
		found[m.Subject()] = d
		return err
	})
	if err != nil {
		return err
	}
	for subject, d := range found {
		key, err := decodeKey(strings.TrimPrefix(subject, n.document))
		if err != nil {
			return fmt.Errorf("the bucket %s has a key that no projection writes: %w", n.bucket, err)
		}
		if err := each("", key, d.value); err != nil {
			return err
		}
	}
	return nil
}

// A listed event is one that is parked, without what it is.
type listed struct {
	subject string
	unit    projections.Unit
	key     string // the hash
	at      spot
}

func parseParked(subject, state string, u projections.Unit) (listed, error) {
	l := listed{subject: subject, unit: u}
	tokens := strings.Split(strings.TrimPrefix(subject, state), ".")
	if len(tokens) != 7 {
		return l, fmt.Errorf("%s is nothing that was parked", subject)
	}
	var numbers [5]int64 // of what cannot be read the last two may be -1
	for i, t := range []string{tokens[1], tokens[2], tokens[4], tokens[5], tokens[6]} {
		var err error
		if numbers[i], err = strconv.ParseInt(t, 10, 64); err != nil {
			return l, fmt.Errorf("%s is nothing that was parked: %w", subject, err)
		}
	}
	l.unit.Partition, l.unit.Shard, l.key = uint32(numbers[0]), int(numbers[1]), tokens[3]
	l.at = spot{uint64(numbers[2]), int(numbers[3]), int(numbers[4])}
	return l, nil
}

// listParked lists what is parked below a subject, in the order of events.
func (s *Sink) listParked(ctx context.Context, n names, u projections.Unit, prefix string) ([]listed, error) {
	found := map[string]listed{}
	err := s.list(ctx, n, prefix, true, func(m jetstream.Msg, _ uint64) error {
		if m.Headers().Get(headerGone) != "" {
			delete(found, m.Subject())
			return nil
		}
		l, err := parseParked(m.Subject(), n.state, u)
		found[m.Subject()] = l
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make([]listed, 0, len(found))
	for _, l := range found {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b listed) int {
		if a.at == b.at {
			return cmp.Compare(a.subject, b.subject)
		}
		if a.at.after(b.at) {
			return 1
		}
		return -1
	})
	return all, nil
}

// ParkedKeys implements [projections.Sink].
func (s *Sink) ParkedKeys(ctx context.Context, projection string, number uint64, limit int) ([]projections.ParkedKey, error) {
	n := newNames(s.config.Context, projection, number)
	all, err := s.listParked(ctx, n, projections.Unit{Projection: projection, Generation: number}, n.state+"parked.")
	if err != nil {
		return nil, err
	}
	type of struct {
		unit projections.Unit
		key  string
	}
	var keys []projections.ParkedKey
	at := map[of]int{}
	for _, l := range all {
		i, known := at[of{l.unit, l.key}]
		if !known {
			first, err := s.fetchParked(ctx, n, l)
			if err != nil {
				return nil, err
			}
			if first == nil {
				continue
			}
			first.Record.Body = nil
			i, at[of{l.unit, l.key}] = len(keys), len(keys)
			keys = append(keys, projections.ParkedKey{Unit: l.unit, Key: first.Key, First: *first})
		}
		keys[i].Events++
	}
	slices.SortFunc(keys, func(a, b projections.ParkedKey) int {
		return cmp.Or(a.First.Since.Compare(b.First.Since), cmp.Compare(a.Key, b.Key))
	})
	return keys[:min(limit, len(keys))], nil
}

// fetchParked gives what is parked; nil when it is not there any more.
func (s *Sink) fetchParked(ctx context.Context, n names, l listed) (*projections.Parked, error) {
	m, err := s.last(ctx, n, l.subject)
	if m == nil || err != nil || len(m.Data) == 0 {
		return nil, err
	}
	return decodeParked(m)
}

// Parked implements [projections.Sink].
func (s *Sink) Parked(ctx context.Context, u projections.Unit, key string, limit int) ([]projections.Parked, error) {
	n := newNames(s.config.Context, u.Projection, u.Generation)
	all, err := s.listParked(ctx, n, u, n.parkedKey(u, key))
	if err != nil {
		return nil, err
	}
	var parked []projections.Parked
	for _, l := range all {
		if len(parked) >= limit {
			break
		}
		p, err := s.fetchParked(ctx, n, l)
		if err != nil {
			return nil, err
		}
		if p != nil {
			parked = append(parked, *p)
		}
	}
	return parked, nil
}

// Outbox implements [projections.Sink].
func (s *Sink) Outbox(ctx context.Context, u projections.Unit, limit int) ([]projections.Effected, error) {
	n := newNames(s.config.Context, u.Projection, u.Generation)
	var all []projections.Effected
	for next := uint64(1); len(all) < limit; {
		m, err := s.get(ctx, n, map[string]any{"seq": next, "next_by_subj": n.outbox(u) + ">"})
		if m == nil || err != nil {
			return all, err
		}
		var e effect
		if err := json.Unmarshal(m.Data, &e); err != nil {
			return nil, fmt.Errorf("%s at %d is nothing of an outbox: %w", m.Subject, m.Seq, err)
		}
		all = append(all, projections.Effected{ID: string(e.ID), Name: string(e.Name), Payload: e.Payload})
		next = m.Seq + 1
	}
	return all, nil
}

// Carried implements [projections.Sink].
func (s *Sink) Carried(ctx context.Context, u projections.Unit, id string) error {
	n := newNames(s.config.Context, u.Projection, u.Generation)
	var reply struct {
		Success bool `json:"success"`
	}
	err := s.call(ctx, "$JS.API.STREAM.PURGE."+n.stream, map[string]any{"filter": n.outbox(u) + hash(id)}, &reply)
	if err == nil && !reply.Success {
		err = holdfast.Errorf(holdfast.CodeUnavailable, "JetStream has not removed it")
	}
	if err != nil {
		return n.unavailable("write", err)
	}
	return nil
}
