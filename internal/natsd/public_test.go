package natsd_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

func makeFeed(t *testing.T, nc *nats.Conn) jetstream.Stream {
	t.Helper()
	feed, err := stream(t, nc).CreateOrUpdateStream(within(t), jetstream.StreamConfig{Name: "DEMO_FEED", Subjects: []string{demo + ".evt.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

// TestFolderWithoutPublic: one that was begun before there was PUBLIC is served, and has it
// from then on.
func TestFolderWithoutPublic(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := start(t, cfg)
	nc := connect(t, s, natsd.Node)
	makeLog(t, nc, 1)
	appendTo(t, nc, 3)
	s.Stop()
	// What was never used has no folder; to be sure:
	if err := os.RemoveAll(filepath.Join(cfg.DataDir, "jetstream", "PUBLIC")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = start(t, cfg)
		if got := count(t, connect(t, s, natsd.Node)); got != 3 {
			t.Errorf("%d messages in the log, want 3", got)
		}
		publisher := connect(t, s, natsd.Publisher)
		makeFeed(t, publisher)
		if _, err := stream(t, publisher).Publish(within(t), demo+".evt.account.a-1.Deposited", nil); err != nil {
			t.Fatal(err)
		}
		s.Stop()
	}
}

// TestAccountsApart: neither the gateway nor the node itself reaches what is published by
// its subject alone, and the publisher does not reach the log.
func TestAccountsApart(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	node, publisher := connect(t, s, natsd.Node), connect(t, s, natsd.Publisher)
	makeLog(t, node, 1)
	feed := makeFeed(t, publisher)
	if _, err := stream(t, node).Publish(within(t), demo+".evt.account.a-1.Deposited", nil); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("the node publishes: %v", err)
	}
	if _, err := stream(t, publisher).Publish(within(t), demo+".log.0.account.a-1", nil); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("the publisher appends: %v", err)
	}
	if info, err := feed.Info(within(t)); err != nil || info.State.Msgs != 0 {
		t.Errorf("the feed holds %d, %v", info.State.Msgs, err)
	}
	if got := count(t, node); got != 0 {
		t.Errorf("the log holds %d", got)
	}
}

// TestDamagedFeed: what clients read is looked after as the log is.
func TestDamagedFeed(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := start(t, cfg)
	publisher := connect(t, s, natsd.Publisher)
	makeFeed(t, publisher)
	if _, err := stream(t, publisher).Publish(within(t), demo+".evt.account.a-1.Deposited", nil); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := os.Remove(filepath.Join(cfg.DataDir, "jetstream", "PUBLIC", "streams", "DEMO_FEED", "meta.inf")); err != nil {
		t.Fatal(err)
	}
	err := refused(t, within(t), cfg)
	wantIs(t, err, natsd.ErrUnrecovered)
	wantText(t, err, "DEMO_FEED", "PUBLIC", "backup")
}
