package door_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// stored tells what the streams of an account hold, and their settings.
func stored(t *testing.T, js jetstream.JetStream) map[string]string {
	t.Helper()
	out := map[string]string{}
	all := js.ListStreams(within(t))
	for info := range all.Info() {
		config, err := json.Marshal(info.Config)
		if err != nil {
			t.Fatal(err)
		}
		out[info.Config.Name] = fmt.Sprintf("%d to %d, %d left, %s", info.State.FirstSeq, info.State.LastSeq, info.State.Msgs, config)
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// untouched expects the streams to be as they were, once what has been sent is settled.
func (s stage) untouched(t *testing.T) func() {
	t.Helper()
	public, core := stored(t, s.public), stored(t, s.core)
	return func() {
		t.Helper()
		for i, js := range []jetstream.JetStream{s.public, s.core} {
			before := []map[string]string{public, core}[i]
			now := stored(t, js)
			for name := range now {
				if now[name] != before[name] {
					t.Errorf("%s was %s\nis %s", name, before[name], now[name])
				}
			}
			if len(now) != len(before) {
				t.Errorf("there were %d streams, there are %d", len(before), len(now))
			}
		}
	}
}

// TestForbiddenSubjects: a client may publish to nothing that is stored, nor answer
// anybody, nor go around the door.
func TestForbiddenSubjects(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 2)
	unchanged := s.untouched(t)
	refused := make(chan error, 64)
	nc := client(t, s.server, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, subject := range []string{
		event(1), "demo.evt.x", "demo.outcome.c-1", "$KV." + balances + ".a-1", "demo.log.0.account.a-1",
		natsd.DoorPrefix + ".CREATE.DEMO_FEED.c", "_PUBLISHER.x", "_INBOX.x", "$JS.EVENT.ADVISORY.X", "$O.x.C.y", "demo.views.x",
	} {
		if err := nc.PublishRequest(subject, nc.NewInbox(), []byte("forged")); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, refused); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	unchanged()
}

// TestForbiddenInterface: what a reader does not need has nobody who answers it.
func TestForbiddenInterface(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 2)
	if _, err := s.public.CreateConsumer(within(t), feed, jetstream.ConsumerConfig{Durable: "c"}); err != nil {
		t.Fatal(err)
	}
	unchanged := s.untouched(t)
	nc := client(t, s.server)
	for _, request := range []string{
		"STREAM.CREATE.X", "STREAM.UPDATE.DEMO_FEED", "STREAM.DELETE.DEMO_FEED", "STREAM.PURGE.DEMO_FEED", "STREAM.MSG.DELETE.DEMO_FEED",
		"STREAM.SNAPSHOT.DEMO_FEED", "STREAM.RESTORE.DEMO_FEED", "STREAM.PEER.REMOVE.DEMO_FEED", "STREAM.LEADER.STEPDOWN.DEMO_FEED", "STREAM.LIST",
		"STREAM.DELETE.KV_" + balances, "STREAM.PURGE.KV_" + balances, "STREAM.DELETE.DEMO_LOG_0", "STREAM.TEMPLATE.CREATE.X",
		"CONSUMER.PAUSE.DEMO_FEED.c", "CONSUMER.UNPIN.DEMO_FEED.c", "CONSUMER.RESET.DEMO_FEED.c", "CONSUMER.LEADER.STEPDOWN.DEMO_FEED.c",
		"ACCOUNT.PURGE.PUBLIC", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "STREAM.INFO", "STREAM.INFO.DEMO_FEED.x", "CONSUMER.DELETE.DEMO_FEED",
		"CONSUMER.MSG.NEXT.DEMO_LOG_0.c", "DIRECT.GET.DEMO_LOG_0",
	} {
		body := `{"name":"X","subjects":["demo.evt.>"],"seq":1,"deliver_subject":"demo.evt.x"}`
		if m, err := nc.RequestWithContext(within(t), "$JS.API."+request, []byte(body)); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: %v, %v", request, m, err)
		}
	}
	if _, err := js(t, nc).CreateStream(within(t), jetstream.StreamConfig{Name: "X"}); !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		t.Errorf("a stream is made: %v", err)
	}
	unchanged()
}

// TestLogStaysUnseen: what lies in CORE is as if it were not there.
func TestLogStaysUnseen(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.core.Publish(within(t), "demo.log.0.account.a-1", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.core.CreateConsumer(within(t), "DEMO_LOG_0", jetstream.ConsumerConfig{Durable: "c"}); err != nil {
		t.Fatal(err)
	}
	unchanged := s.untouched(t)
	nc := client(t, s.server)
	reader := js(t, nc)
	if _, err := reader.Stream(within(t), "DEMO_LOG_0"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream is shown: %v", err)
	}
	if _, err := reader.Consumer(within(t), "DEMO_LOG_0", "c"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("its consumer is shown: %v", err)
	}
	if err := reader.DeleteConsumer(within(t), "DEMO_LOG_0", "c"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("its consumer is deleted: %v", err)
	}
	if m, err := nc.RequestWithContext(within(t), "$JS.API.STREAM.MSG.GET.DEMO_LOG_0", []byte(`{"seq":1}`)); err != nil || !strings.Contains(string(m.Data), "stream not found") {
		t.Errorf("its message is shown: %s, %v", m.Data, err)
	}
	m, err := nc.RequestWithContext(within(t), "$JS.API.STREAM.NAMES", nil)
	if err != nil || strings.Contains(string(m.Data), "LOG") || !strings.Contains(string(m.Data), feed) {
		t.Errorf("the streams are %s, %v", m.Data, err)
	}
	_, err = reader.CreateConsumer(within(t), "DEMO_LOG_0", jetstream.ConsumerConfig{Durable: "mine"})
	if err == nil || !strings.Contains(err.Error(), `"DEMO_LOG_0" is not one for clients`) {
		t.Errorf("a consumer is made: %v", err)
	}
	unchanged()
}

// TestForgingConsumer: a consumer that would deliver into a stream is not made, however it
// is asked for, and the client hears why.
func TestForgingConsumer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 3)
	unchanged := s.untouched(t)
	nc := client(t, s.server)
	old, err := nc.JetStream(nats.MaxWait(patient))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"demo.evt.account.a-9.Deposited", "demo.outcome.c-9", "$KV." + balances + ".a-9"} {
		_, err := js(t, nc).CreatePushConsumer(within(t), feed, jetstream.ConsumerConfig{Durable: "c", DeliverSubject: target})
		if err == nil || !strings.Contains(err.Error(), "deliver_subject is \""+target+"\": it has to be an inbox") {
			t.Errorf("to %s: %v", target, err)
		}
		if _, err := old.AddConsumer(feed, &nats.ConsumerConfig{Durable: "c", DeliverSubject: target}); err == nil || !strings.Contains(err.Error(), "deliver_subject") {
			t.Errorf("the older way to %s: %v", target, err)
		}
		body := fmt.Sprintf(`{"stream_name":%q,"config":{"durable_name":"oldest","deliver_subject":%q}}`, feed, target)
		if m, err := nc.RequestWithContext(within(t), "$JS.API.CONSUMER.DURABLE.CREATE.DEMO_FEED.oldest", []byte(body)); err != nil || !strings.Contains(string(m.Data), "it has to be an inbox") {
			t.Errorf("the oldest way to %s: %v, %v", target, m, err)
		}
		body = fmt.Sprintf(`{"stream_name":%q,"config":{"durable_name":"both","deliver_subject":%q},"config":{"durable_name":"both"}}`, feed, target)
		for _, request := range []string{"CREATE.DEMO_FEED.both", "DURABLE.CREATE.DEMO_FEED.both"} {
			if _, err := nc.RequestWithContext(within(t), "$JS.API.CONSUMER."+request, []byte(body)); err != nil {
				t.Error(err)
			}
		}
	}
	// That with two configs was made as the second says, and delivers nowhere.
	c, err := js(t, nc).Consumer(within(t), feed, "both")
	if err != nil || c.CachedInfo().Config.DeliverSubject != "" {
		t.Errorf("the consumer delivers to %q, %v", c.CachedInfo().Config.DeliverSubject, err)
	}
	unchanged()
}

// TestForgingReply: what a client asks for does not arrive on a subject of its choosing.
func TestForgingReply(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 3)
	c, err := s.public.CreateConsumer(within(t), feed, jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	unchanged := s.untouched(t)
	nc := client(t, s.server)
	// JetStream hands nothing out to where nobody listens.
	if _, err := nc.SubscribeSync("demo.evt.>"); err != nil {
		t.Fatal(err)
	}
	targets := []string{"demo.evt.account.a-9.Deposited", "$KV." + balances + ".a-9"}
	for _, target := range targets {
		for subject, body := range map[string]string{
			"$JS.API.INFO":                                "",
			"$JS.API.STREAM.INFO.DEMO_FEED":               "",
			"$JS.API.STREAM.NAMES":                        "",
			"$JS.API.STREAM.MSG.GET.DEMO_FEED":            `{"seq":1}`,
			"$JS.API.DIRECT.GET.DEMO_FEED":                `{"seq":1}`,
			"$JS.API.DIRECT.GET.DEMO_FEED." + event(1):    "",
			"$JS.API.CONSUMER.INFO.DEMO_FEED.c":           "",
			"$JS.API.CONSUMER.MSG.NEXT.DEMO_FEED.c":       "1",
			"$JS.API.CONSUMER.CREATE.DEMO_FEED.d":         `{"stream_name":"DEMO_FEED","config":{"name":"d","inactive_threshold":3600000000000}}`,
			"$JS.API.CONSUMER.DURABLE.CREATE.DEMO_FEED.d": `{}`,
			"demo.inbox.account.a-1.Deposit":              `{}`,
			"demo.view.balances.a-1":                      "",
		} {
			if err := nc.PublishRequest(subject, target, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	retry(t, "see that messages were handed out", func(ctx context.Context) error {
		info, err := c.Info(ctx)
		if err == nil && info.NumAckPending == 0 {
			err = errors.New("none are")
		}
		return err
	})
	retry(t, "see that the consumer was made", func(ctx context.Context) error {
		_, err := s.public.Consumer(ctx, feed, "d")
		return err
	})
	unchanged()
}

// TestReservedReply: a reply subject that the server would not rename is refused.
func TestReservedReply(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.publish(t, 1)
	unchanged := s.untouched(t)
	refused := make(chan error, 64)
	nc := client(t, s.server, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, reply := range []string{"$JS.ACK.DEMO_FEED.c.1.1.1.1.0", "_R_.x"} {
		if err := nc.PublishRequest("$JS.API.DIRECT.GET.DEMO_FEED", reply, []byte(`{"seq":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, refused); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", reply, err)
		}
	}
	unchanged()
}

// TestDoorAnswersClientsOnly: who connects in the account itself chooses the reply subject,
// and gets none.
func TestDoorAnswersClientsOnly(t *testing.T) {
	t.Parallel()
	s := start(t)
	unchanged := s.untouched(t)
	inside := connect(t, s.server, natsd.Publisher)
	for _, body := range []string{`{}`, `{"stream_name":"DEMO_FEED","config":{"name":"c"}}`} {
		if err := inside.PublishRequest(natsd.DoorPrefix+".CREATE.DEMO_FEED.c", event(9), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := inside.Flush(); err != nil {
		t.Fatal(err)
	}
	// The door takes one request after the other.
	if _, err := js(t, client(t, s.server)).CreateConsumer(within(t), feed, jetstream.ConsumerConfig{Name: "d"}); err != nil {
		t.Fatal(err)
	}
	unchanged()
	if _, err := s.public.Consumer(within(t), feed, "c"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the consumer was made: %v", err)
	}
}

// TestPublisherIsNotOverheard: its answers are not among what clients can subscribe to, so
// that no consumer of theirs can deliver one either.
func TestPublisherIsNotOverheard(t *testing.T) {
	t.Parallel()
	s := start(t)
	spy, err := client(t, s.server).SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 64)
	nc := client(t, s.server, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, subject := range []string{"_PUBLISHER.>", ">", "_R_.>", "$KV.>", "$JS.>", "_DOOR.>", "demo.>", "demo.inbox.>", "demo.view.>"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, refused); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	inside := connect(t, s.server, natsd.Publisher)
	if inbox := inside.NewInbox(); !strings.HasPrefix(inbox, "_PUBLISHER.") {
		t.Errorf("its inbox is %s", inbox)
	}
	if _, err := inside.RequestWithContext(within(t), "$JS.API.STREAM.INFO.DEMO_FEED", nil); err != nil {
		t.Fatal(err)
	}
	// What is heard after it would have been heard after that. The server delivers where
	// somebody listens for that very subject.
	listener := client(t, s.server)
	if _, err := listener.SubscribeSync("_INBOX.last"); err != nil {
		t.Fatal(err)
	}
	if err := listener.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	c, err := s.public.CreatePushConsumer(within(t), feed, jetstream.ConsumerConfig{DeliverSubject: "_INBOX.last"})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(t, 1)
	if m, err := spy.NextMsgWithContext(within(t)); err != nil || m.Subject != event(1) {
		t.Errorf("the spy heard %v, %v", m, err)
	}
	if err := s.public.DeleteConsumer(within(t), feed, c.CachedInfo().Name); err != nil {
		t.Error(err)
	}
}

// TestTwoDoors share the requests, and one that stops leaves them to the other.
func TestTwoDoors(t *testing.T) {
	t.Parallel()
	s := start(t)
	second := openDoor(t, s.server)
	reader := js(t, client(t, s.server))
	ask := func(name string) error {
		_, err := reader.CreateConsumer(within(t), feed, jetstream.ConsumerConfig{Name: name, InactiveThreshold: time.Minute})
		return err
	}
	failed := make(chan error, 100)
	for i := range 100 {
		go func() { failed <- ask(fmt.Sprint("c", i)) }()
		if i == 50 {
			stop(t, second)
			stop(t, second)
		}
	}
	for range 100 {
		if err := receive(t, failed); err != nil {
			t.Error(err)
		}
	}
	info, err := s.public.Stream(within(t), feed)
	if err != nil || info.CachedInfo().State.Consumers != 100 {
		t.Errorf("%d consumers, %v", info.CachedInfo().State.Consumers, err)
	}
	if names := slices.Collect(maps.Keys(stored(t, s.public))); len(names) != 3 {
		t.Errorf("the streams are %v", names)
	}
}
