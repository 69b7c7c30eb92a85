package door_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestFeedLive: a client subscribes as to any subject.
func TestFeedLive(t *testing.T) {
	t.Parallel()
	s := start(t)
	nc := client(t, s.server)
	feed, err := nc.SubscribeSync("demo.evt.account.>")
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := nc.SubscribeSync("demo.outcome.c-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	s.publish(t, 3)
	if _, err := s.public.Publish(within(t), "demo.outcome.c-1", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		m, err := feed.NextMsgWithContext(within(t))
		if err != nil || m.Subject != event(i+1) {
			t.Fatalf("event %d: %v, %v", i+1, m, err)
		}
	}
	if _, err := outcomes.NextMsgWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
}

// TestPullConsumer: a durable one hands each event out once, over two connections.
func TestPullConsumer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 20)
	durable := jetstream.ConsumerConfig{Durable: "reader", FilterSubject: "demo.evt.account.>", AckPolicy: jetstream.AckExplicitPolicy}
	first, err := js(t, client(t, s.server)).CreateOrUpdateConsumer(within(t), feed, durable)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := first.Fetch(10, jetstream.FetchMaxWait(patient))
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for m := range batch.Messages() {
		if got++; string(m.Data()) != fmt.Sprint(got) {
			t.Errorf("message %d is %s", got, m.Data())
		}
		if err := m.DoubleAck(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Error(); err != nil || got != 10 {
		t.Fatalf("%d fetched: %v", got, err)
	}
	again, err := js(t, client(t, s.server, nats.CustomInboxPrefix("_INBOX.me"))).Consumer(within(t), feed, "reader")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan string, 20)
	running, err := again.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
		came <- string(m.Data())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop()
	for ; got < 20; got++ {
		select {
		case data := <-came:
			if data != fmt.Sprint(got+1) {
				t.Errorf("message %d is %s", got+1, data)
			}
		case <-within(t).Done():
			t.Fatalf("%d have come", got)
		}
	}
	retry(t, "see all acknowledged", func(ctx context.Context) error {
		info, err := again.Info(ctx)
		if err == nil && info.AckFloor.Stream != 20 {
			err = fmt.Errorf("acknowledged up to %d", info.AckFloor.Stream)
		}
		return err
	})
	if err := js(t, client(t, s.server)).DeleteConsumer(within(t), feed, "reader"); err != nil {
		t.Error(err)
	}
}

func TestOrderedConsumer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 5)
	ordered, err := js(t, client(t, s.server)).OrderedConsumer(within(t), feed, jetstream.OrderedConsumerConfig{FilterSubjects: []string{event(2), event(4)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2", "4"} {
		m, err := ordered.Next(jetstream.FetchMaxWait(patient))
		if err != nil || string(m.Data()) != want {
			t.Fatalf("got %v, %v, want %s", m, err, want)
		}
	}
}

// TestPushConsumer: also with flow control, which the client has to answer.
func TestPushConsumer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 50)
	nc := client(t, s.server)
	push, err := js(t, nc).CreatePushConsumer(within(t), feed, jetstream.ConsumerConfig{
		Durable: "pushed", DeliverSubject: nc.NewInbox(), AckPolicy: jetstream.AckExplicitPolicy,
		FlowControl: true, IdleHeartbeat: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{}, 50)
	running, err := push.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
		came <- struct{}{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop()
	for i := range 50 {
		select {
		case <-came:
		case <-within(t).Done():
			t.Fatalf("%d have come", i)
		}
	}
}

// TestLegacyInterface: the older one of nats.go, which asks otherwise.
func TestLegacyInterface(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 3)
	old, err := client(t, s.server).JetStream(nats.MaxWait(patient))
	if err != nil {
		t.Fatal(err)
	}
	for name, subscribe := range map[string]func() (*nats.Subscription, error){
		"push":    func() (*nats.Subscription, error) { return old.SubscribeSync("demo.evt.>", nats.Durable("old")) },
		"ordered": func() (*nats.Subscription, error) { return old.SubscribeSync("demo.evt.>", nats.OrderedConsumer()) },
		"queue":   func() (*nats.Subscription, error) { return old.QueueSubscribeSync("demo.evt.>", "q") },
	} {
		sub, err := subscribe()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range 3 {
			if m, err := sub.NextMsgWithContext(within(t)); err != nil || m.Subject != event(i+1) {
				t.Errorf("%s: message %d: %v, %v", name, i+1, m, err)
			} else if name != "ordered" {
				if err := m.AckSync(nats.Context(within(t))); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	pull, err := old.PullSubscribe("demo.evt.>", "puller")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pull.Fetch(3, nats.MaxWait(patient)); err != nil || len(got) != 3 {
		t.Errorf("pull: %d, %v", len(got), err)
	}
	if m, err := old.GetMsg(feed, 2); err != nil || string(m.Data) != "2" {
		t.Errorf("message 2 is %v, %v", m, err)
	}
}

// TestBucket: values as they are and as they change, through both interfaces.
func TestBucket(t *testing.T) {
	t.Parallel()
	s := start(t)
	put := func(key, value string) {
		if _, err := s.view.PutString(within(t), key, value); err != nil {
			t.Fatal(err)
		}
	}
	put("a-1", "100")
	nc := client(t, s.server)
	bucket, err := js(t, nc).KeyValue(within(t), balances)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := bucket.Get(within(t), "a-1"); err != nil || string(e.Value()) != "100" {
		t.Errorf("a-1 is %v, %v", e, err)
	}
	if _, err := bucket.Get(within(t), "a-2"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a-2: %v", err)
	}
	if keys, err := bucket.Keys(within(t)); err != nil || len(keys) != 1 {
		t.Errorf("keys %v, %v", keys, err)
	}
	watch, err := bucket.WatchAll(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	legacy, err := nc.JetStream(nats.MaxWait(patient))
	if err != nil {
		t.Fatal(err)
	}
	old, err := legacy.KeyValue(balances)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := old.Get("a-1"); err != nil || string(e.Value()) != "100" {
		t.Errorf("a-1 is %v, %v", e, err)
	}
	oldWatch, err := old.WatchAll(nats.Context(within(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer oldWatch.Stop()
	put("a-1", "250")
	for _, want := range []string{"100", "", "250"} {
		if e := receive(t, watch.Updates()); shown(e == nil, e) != want {
			t.Errorf("got %v, want %q", e, want)
		}
		if e := receive(t, oldWatch.Updates()); shown(e == nil, e) != want {
			t.Errorf("the older one: got %v, want %q", e, want)
		}
	}
	if err := s.view.Delete(within(t), "a-1"); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, watch.Updates()); e.Operation() != jetstream.KeyValueDelete {
		t.Errorf("got %v, want the end of a-1", e)
	}
}

// shown is the value of an entry; "" of none, which ends what was there before.
func shown(none bool, e interface{ Value() []byte }) string {
	if none {
		return ""
	}
	return string(e.Value())
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-within(t).Done():
		t.Fatal("nothing has come")
		panic("unreachable")
	}
}
