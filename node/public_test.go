package node_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// reader is a client with JetStream.
func reader(t *testing.T, url string) (*nats.Conn, natsjs.JetStream) {
	t.Helper()
	nc, err := natsd.Dial(url, nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// Clients of every node of a cluster read what is published, each at its own pace, and none
// gets a consumer that writes.
func TestClientsRead(t *testing.T) {
	nodes := startAll(t, trio(t)...)
	open(t, nodes[0])
	for i, n := range nodes {
		nc, js := reader(t, n.ClientURL())
		name := string(rune('a' + i))
		var c natsjs.Consumer
		poll(t, "a consumer is made", func() (ok bool) {
			var err error
			c, err = js.CreateOrUpdateConsumer(within(t, 5*time.Second), "DEMO_FEED", natsjs.ConsumerConfig{Durable: name, AckPolicy: natsjs.AckExplicitPolicy})
			return err == nil
		})
		var m natsjs.Msg
		poll(t, "an event is read", func() (ok bool) { // until all servers have heard of the consumer
			var err error
			m, err = c.Next(natsjs.FetchMaxWait(5 * time.Second))
			return err == nil
		})
		poll(t, "it is acknowledged", func() bool { return m.DoubleAck(within(t, 5*time.Second)) == nil })
		if m.Subject() != "demo.evt.account.ada.AccountOpened" {
			t.Errorf("%s: %s", name, m.Subject())
		}
		_, err := js.CreatePushConsumer(within(t, 20*time.Second), "DEMO_FEED", natsjs.ConsumerConfig{DeliverSubject: "demo.evt.x"})
		if err == nil || !strings.Contains(err.Error(), "deliver_subject") {
			t.Errorf("%s: a consumer that writes: %v", name, err)
		}
		if _, err := nc.Request("$JS.API.STREAM.PURGE.DEMO_FEED", nil, 20*time.Second); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: the feed is purged: %v", name, err)
		}
	}
	stop(t, nodes[2])
	_, js := reader(t, nodes[0].ClientURL())
	poll(t, "the others go on", func() bool {
		_, err := js.CreateOrUpdateConsumer(within(t, 5*time.Second), "DEMO_FEED", natsjs.ConsumerConfig{Durable: "d"})
		return err == nil
	})
}

// With an external server the node publishes as it does everything else, and whoever asks
// for consumers is that server's affair.
func TestPublisherOfExternalServer(t *testing.T) {
	_, url := newDoor(t)
	c := config(t)
	external(&c, url)
	n := start(t, c)
	nc, err := n.Dial(natsd.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request(natsd.DoorPrefix+".CREATE.DEMO_FEED", nil, 20*time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("there is a door: %v", err)
	}
}
