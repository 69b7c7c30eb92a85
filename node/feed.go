package node

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/holdfast-run/holdfast/feed"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
)

// A Feed says what becomes of the public events of the context.
type Feed struct {
	// Off has the node not write them. Others may.
	Off bool
	// MaxAge is how long an event stays in the feed, 7 days by default, and MaxBytes how
	// much all of them may take, 1 GiB by default: the oldest go first, and the log keeps
	// them. The node that was started last has its way.
	MaxAge   time.Duration
	MaxBytes int64
	// Protobuf has the data of events be protobuf, not JSON. It is to be the same on all
	// nodes.
	Protobuf bool
}

// leastFeedAge is the least that JetStream may be told to keep messages.
const leastFeedAge = time.Second

func (f Feed) validate() error {
	if f.MaxAge != 0 && f.MaxAge < leastFeedAge {
		return &ConfigError{Field: "Feed.MaxAge", Problem: fmt.Sprintf("it is %v: choose %v or more, or nothing for %v", f.MaxAge, leastFeedAge, feed.DefaultMaxAge)}
	}
	if f.MaxBytes < 0 {
		return &ConfigError{Field: "Feed.MaxBytes", Problem: fmt.Sprintf("it is %d: choose more than nothing, for instance %d", f.MaxBytes, int64(feed.DefaultMaxBytes))}
	}
	return nil
}

// runFeed has the node take its part in writing the feed.
func (n *Node) runFeed(ctx context.Context, conn, public *nats.Conn) error {
	c := n.config
	if c.Feed.Off {
		return nil
	}
	name := messages.Context(c.Context)
	seats, err := follow.Open(ctx, follow.Config{
		Context: name, Conn: conn, Replicas: c.Replicas, Node: c.runs(), Lease: c.Lease, Log: c.Log,
	})
	if err != nil {
		return err
	}
	n.feed.Feed, err = feed.Start(ctx, feed.Config{
		Context: name, Types: typesOf(c.Types, c.Sagas), Log: n.store, Seats: seats, Public: public, Replicas: c.Replicas,
		MaxAge: c.Feed.MaxAge, MaxBytes: c.Feed.MaxBytes, Protobuf: c.Feed.Protobuf, Logger: c.Log,
	})
	return err
}

// told is a node's part in the feed. The zero one has none.
type told struct {
	*feed.Feed
	desk *feed.Desk
}

// serveFeed tells operators how the feed stands.
func (n *Node) serveFeed() (err error) {
	if n.feed.Feed != nil {
		n.feed.desk, err = n.feed.ServeOperators(n.edge, n.config.Timeout)
	}
	return err
}

func (t told) stopAnswering(ctx context.Context) error {
	if t.desk == nil {
		return nil
	}
	return t.desk.Stop(ctx)
}

// bindFeed makes the flags that say what becomes of the public events.
func bindFeed(fs *pflag.FlagSet, f *Feed) {
	fs.BoolVar(&f.Off, "no-feed", false, "do not publish events")
	fs.DurationVar(&f.MaxAge, "feed-age", feed.DefaultMaxAge, "`time` that events stay in the feed")
	fs.Int64Var(&f.MaxBytes, "feed-bytes", 0, "`number` of bytes that events may take in the feed (default 1 GiB, or less when there is no room)")
	fs.Var(feedFormat{&f.Protobuf}, "feed-format", "in which `form` events are published: json or protobuf")
}

// A feedFormat is the flag that says whether events are published in protobuf.
type feedFormat struct{ protobuf *bool }

func (f feedFormat) String() string {
	if f.protobuf != nil && *f.protobuf {
		return "protobuf"
	}
	return "json"
}

func (f feedFormat) Set(s string) error {
	if s != "json" && s != "protobuf" {
		return fmt.Errorf("want json or protobuf")
	}
	*f.protobuf = s == "protobuf"
	return nil
}

func (feedFormat) Type() string { return "form" }
