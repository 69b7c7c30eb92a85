package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// tries is how many consumers are made at a time until one is where it is wanted:
	// JetStream puts each on any of three servers, so that two times in a thousand all of
	// them are elsewhere.
	tries = 16
	// soon is how long a server may take to make a consumer, the first time; twice as long
	// each time after that, until one is made.
	soon, slowest = time.Second, 6
	// sight is for how many ticks a server may be offline until it is taken for that: after
	// an election it may seem so.
	sight = ticksPerTimeout
	// electing is for how many read timeouts a stream may be without a leader.
	electing = 3
)

// errOffline: the server that has the replica cannot be reached.
var errOffline = errors.New("its server is offline")

// A streamInfo is what the leader says of its stream.
type streamInfo struct {
	State   jetstream.StreamState  `json:"state"`
	Cluster *jetstream.ClusterInfo `json:"cluster"`
	Error   *apiError              `json:"error"`

	said uint64 // to be the last sequence, whatever others have said
}

// replicas are the servers that keep the stream, by name.
func (i streamInfo) replicas() []string {
	if i.Cluster == nil {
		return nil
	}
	var names []string
	if i.Cluster.Leader != "" { // else all are among the others
		names = append(names, i.Cluster.Leader)
	}
	for _, r := range i.Cluster.Replicas {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

func (i streamInfo) offline(replica string) bool {
	return slices.ContainsFunc(i.Cluster.Replicas, func(r *jetstream.PeerInfo) bool { return r.Name == replica && r.Offline })
}

// leader is the server that leads the stream, if it is in a cluster.
func (i streamInfo) leader() string {
	if i.Cluster == nil {
		return ""
	}
	return i.Cluster.Leader
}

// leads reports whether who has answered has led a majority within a time.
func (i streamInfo) leads(within time.Duration) bool {
	if i.leader() == "" {
		return false // then any replica answers
	}
	heard := 1 // of itself
	for _, r := range i.Cluster.Replicas {
		if r.Active > 0 && r.Active < within {
			heard++
		}
	}
	return 2*heard > 1+len(i.Cluster.Replicas)
}

// info asks the leader. While there is none, or one that has just been does not answer any
// more, it waits for an election.
func (s *Store) info(ctx context.Context, p *partition) (streamInfo, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, electing*s.readTimeout, errTimeout)
	defer cancel()
	for {
		var i streamInfo
		m, err := s.reads.one(ctx, query{subject: p.info, replicated: p.replicated})
		if err == nil {
			err = parseAnswer(m, &i, func() *apiError { return i.Error })
		}
		if err == nil {
			i.said = i.State.LastSeq
			i.State.LastSeq = p.atLeast(i.said)
		}
		if api, refused := errors.AsType[*apiError](err); !errors.Is(err, errTimeout) && (!refused || api.Code != 503) {
			return i, err
		}
		if s.clock.wait(ctx) != nil {
			return i, err
		}
	}
}

// atLeast gives the highest of what the leaders have said is the last sequence: a new one
// may not have in its store yet what another has told of.
func (p *partition) atLeast(last uint64) uint64 {
	for {
		highest := p.last.Load()
		if last <= highest {
			return highest
		}
		if p.last.CompareAndSwap(highest, last) {
			return last
		}
	}
}

// place makes a consumer, at a server if one is named. JetStream takes no wish for that: the
// consumer is made again until it is there.
func (r *reader) place(ctx context.Context, at string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.patience, errTimeout)
	defer cancel()
	cfg.AckPolicy, cfg.Replicas, cfg.MemoryStorage, cfg.InactiveThreshold = jetstream.AckNonePolicy, 1, true, abandoned
	for away := 0; away <= sight; {
		offline, err := r.offline(ctx, at)
		if err != nil {
			return nil, err
		}
		var c jetstream.Consumer
		if offline {
			away++
		} else if c, err = r.try(ctx, at, cfg); c != nil {
			return c, nil
		}
		if err == nil || notReady(err) {
			err = r.store.clock.wait(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("make consumer%s: %w", where(at), err)
		}
	}
	return nil, fmt.Errorf("the replica%s: %w", where(at), errOffline)
}

// try makes some consumers, one after the other; it gives nil when none is where it should be.
func (r *reader) try(ctx context.Context, at string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	for range tries {
		// JetStream may choose a server that has just died, and next time another one.
		attempt, cancel := context.WithTimeout(ctx, min(soon<<r.slow, r.store.readTimeout))
		c, err := r.store.js.CreateConsumer(attempt, r.partition.stream, cfg)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			r.slow = min(r.slow+1, slowest)
		}
		if err != nil {
			return nil, err
		}
		r.slow = 0
		if at == "" || server(c.CachedInfo()) == at {
			return c, nil
		}
		r.store.deleteConsumer(ctx, r.partition, c)
	}
	return nil, nil
}

// offline reports whether the server of a replica is.
func (r *reader) offline(ctx context.Context, replica string) (bool, error) {
	if replica == "" {
		return false, nil
	}
	i, err := r.store.info(ctx, r.partition)
	if err == nil && !slices.Contains(i.replicas(), replica) {
		err = fmt.Errorf("%s keeps no replica any more", replica)
	}
	return err == nil && i.offline(replica), err
}

// server is where a consumer is, in a cluster.
func server(c *jetstream.ConsumerInfo) string {
	if c.Cluster == nil {
		return ""
	}
	return c.Cluster.Leader
}

func where(server string) string {
	if server == "" {
		return ""
	}
	return " on " + server
}

// last gives how far the replica has come, as a new consumer for what is yet to come tells:
// what JetStream says of a replica's lag it does not always know.
func (r *reader) last(ctx context.Context) (uint64, error) {
	c, err := r.place(ctx, r.at, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return 0, err
	}
	defer r.store.deleteConsumer(ctx, r.partition, c)
	return c.CachedInfo().Delivered.Stream, nil
}
