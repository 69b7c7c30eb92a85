package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
)

const (
	// attemptTimeout is how long one request may take: what a leader was asked that is gone
	// is not answered any more.
	attemptTimeout = 2 * time.Second
	retryInterval  = 300 * time.Millisecond
)

// A Feed runs from Start to Stop.
type Feed struct {
	config     Config
	js         jetstream.JetStream
	stream     string
	types      map[string]holdfast.Definition
	partitions []*partition
	cancel     context.CancelFunc
	done       sync.WaitGroup
	stop       sync.Once
}

// Start makes the stream of the feed when it is missing, and has this node take its part in
// writing it. It tries again while JetStream is not ready, until ctx ends, which is for the
// start only. The error is a *[SettingError] when the stream is not what it must be.
func Start(ctx context.Context, c Config) (*Feed, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start feed: config: %w", err)
	}
	f := &Feed{config: c, stream: c.Context.FeedStream(), types: map[string]holdfast.Definition{}}
	for _, t := range c.Types {
		f.types[t.Name()] = t
	}
	if f.js, err = jetstream.New(c.Public); err != nil {
		return nil, fmt.Errorf("start feed of %s: %w", c.Context, err)
	}
	all, err := c.Log.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("start feed of %s: %w", c.Context, err)
	}
	if err := f.awaitStream(ctx, true); err != nil {
		return nil, fmt.Errorf("start feed of %s: %w", c.Context, err)
	}
	for _, p := range all {
		first := func(context.Context) (uint64, error) {
			if c.FromNow {
				return p.Last, nil
			}
			return 0, nil
		}
		if err := c.Seats.Ensure(ctx, seat(p.Number), first); err != nil {
			return nil, fmt.Errorf("start feed of %s: %w", c.Context, err)
		}
		f.partitions = append(f.partitions, &partition{feed: f, number: p.Number, first: first, log: c.Logger.With("feed", f.stream, "partition", p.Number)})
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	for _, p := range f.partitions {
		f.done.Go(func() { c.Seats.Hold(running, seat(p.number), p.first, p.work) })
	}
	return f, nil
}

// Stop ends what is under way, with which another node goes on. It bears repetition.
func (f *Feed) Stop() {
	f.stop.Do(func() {
		f.cancel()
		f.done.Wait()
	})
}

func seat(partition uint32) string { return fmt.Sprintf("feed.%d", partition) }

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
