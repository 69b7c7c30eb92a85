package follow

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/bucket"
	"github.com/holdfast-run/holdfast/messages"
)

// Config is what [Open] needs. Lease has a default.
type Config struct {
	Context  messages.Context
	Conn     *nats.Conn
	Replicas int
	// Node is what the holder of a seat is called. One that begins takes the seats of its
	// former run at once, which it knows by this name; empty when it has none that lasts.
	Node string
	// Lease is how long after its last sign of life a holder is taken for gone; 3 seconds by
	// default.
	Lease time.Duration
	Log   *slog.Logger
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// DefaultLease is that of a [Config] without one.
const DefaultLease = 3 * time.Second

// Seats are a NATS KV bucket with one key a seat. They are safe for concurrent use.
type Seats struct {
	config Config
	id     string // of this run of the node
	kv     jetstream.KeyValue
}

// A Seat is who does something, and how far it has come.
type Seat struct {
	// Holder is the id of the node's run; empty when there is none. Node is its name.
	Holder string `json:"holder,omitempty"`
	Node   string `json:"node,omitempty"`
	// Done is the last sequence up to which everything has been done.
	Done uint64 `json:"done"`
}

// Open opens the seats of a context, and makes their bucket when it is missing.
func Open(ctx context.Context, c Config) (*Seats, error) {
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	kv, err := bucket.Open(ctx, c.Conn, jetstream.KeyValueConfig{
		Bucket: c.Context.FollowBucket(), Description: "Who follows the log of " + string(c.Context), Replicas: c.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("open seats: %w", err)
	}
	return &Seats{config: c, id: rand.Text(), kv: kv}, nil
}

// Work is what the holder of a seat does, from the sequence after done on, until ctx ends.
// It calls note with how far it has come, which must not run backwards. An error ends it,
// and it is begun again after a moment.
type Work func(ctx context.Context, done uint64, note func(done uint64)) error

// Hold has the work of a seat done whenever this node holds it, until ctx ends. When nobody
// has ever held it, first says how far everything has been done.
func (s *Seats) Hold(ctx context.Context, seat string, first func(context.Context) (uint64, error), work Work) {
	h := &holding{seats: s, seat: seat, new: s.config.Node != "", log: s.config.Log.With("seat", seat)}
	for ctx.Err() == nil {
		if err := h.acquire(ctx, first); err != nil {
			if ctx.Err() == nil {
				h.log.Warn("a seat cannot be taken; trying again", "error", err)
			}
			_ = pause(ctx, s.config.Lease/3)
			continue
		}
		h.log.Info("this node follows the log", "done", h.record.Done)
		if err := h.serve(ctx, work); err != nil {
			h.log.Warn("this node does not follow the log any more", "reason", err)
		}
	}
}

// Ensure sees to it that there is a seat, free and with what first says, unless it is there
// already: whatever comes into the log from then on is followed. It tries again until ctx ends.
func (s *Seats) Ensure(ctx context.Context, seat string, first func(context.Context) (uint64, error)) error {
	for {
		err := s.ensure(ctx, seat, first)
		if err == nil || pause(ctx, s.config.Lease/10) != nil {
			return err
		}
	}
}

func (s *Seats) ensure(ctx context.Context, seat string, first func(context.Context) (uint64, error)) error {
	_, err := s.kv.Get(ctx, seat)
	if !errors.Is(err, jetstream.ErrKeyNotFound) {
		return err
	}
	done, err := first(ctx)
	if err != nil {
		return err
	}
	body, err := json.Marshal(Seat{Done: done})
	if err != nil {
		return err
	}
	if _, err = s.kv.Create(ctx, seat, body); errors.Is(err, jetstream.ErrKeyExists) {
		return nil // another node has done so
	}
	return err
}

// List gives the seats by their names.
func (s *Seats) List(ctx context.Context) (map[string]Seat, error) {
	keys, err := s.kv.ListKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list seats: %w", err)
	}
	defer func() { _ = keys.Stop() }()
	seats := map[string]Seat{}
	for key := range keys.Keys() {
		e, err := s.kv.Get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("read seat %s: %w", key, err)
		}
		if seats[key], err = read(e); err != nil {
			return nil, err
		}
	}
	return seats, nil
}

func read(e jetstream.KeyValueEntry) (r Seat, err error) {
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		return r, fmt.Errorf("the seat %s cannot be read: %w", e.Key(), err)
	}
	return r, nil
}

// pause waits, or gives the reason why it did not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
