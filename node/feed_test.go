package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
)

// clientOf connects to the embedded server of a node as a client does.
func clientOf(t *testing.T, data string) *nats.Conn {
	t.Helper()
	admin, err := natsd.ReadAdmin(data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsd.Dial(admin.URL, nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// What a node records is in the feed, as long as it is told, before and after a restart.
func TestFeed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := config(t)
	c.Feed = node.Feed{MaxAge: time.Hour, MaxBytes: 1 << 20}
	n := start(t, c)
	open(t, n)
	stop(t, n)
	n = start(t, c)
	sent(t, n, ada, &bankpb.Deposit{Amount: 5}, holdfast.Meta{})
	js, err := jetstream.New(clientOf(t, c.Data))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, "DEMO_FEED")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config; got.MaxAge != time.Hour || got.MaxBytes != 1<<20 {
		t.Errorf("the feed has %v and %d bytes", got.MaxAge, got.MaxBytes)
	}
	reader, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{FilterSubject: "demo.evt.>"})
	if err != nil {
		t.Fatal(err)
	}
	for i, subject := range []string{"demo.evt.account.ada.AccountOpened", "demo.evt.account.ada.Deposited"} {
		m, err := reader.Next(jetstream.FetchMaxWait(30 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if id := fmt.Sprintf("account/ada@%d", i+1); m.Subject() != subject || m.Headers().Get("ce-id") != id {
			t.Errorf("event %d is %s, on %s", i, m.Headers().Get("ce-id"), m.Subject())
		}
	}
}

func TestNoFeed(t *testing.T) {
	c := config(t)
	c.Feed.Off = true
	open(t, start(t, c))
	js, err := jetstream.New(clientOf(t, c.Data))
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(t.Context()).Name() {
		if name == "DEMO_FEED" {
			t.Error("there is a feed")
		}
	}
}
