package timers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

func TestConfig(t *testing.T) {
	s := startServers(t, 1)
	nc := s.connect(t, 0)
	for _, tt := range []struct {
		cfg  timers.Config
		want string
	}{
		{timers.Config{Conn: nc}, `Context: context ""`},
		{timers.Config{Context: "Shop", Conn: nc}, `Context: context "Shop"`},
		{timers.Config{Context: "shop"}, "Conn: a connection is needed"},
		{timers.Config{Context: "shop", Conn: nc, Replicas: 2}, "Replicas is 2: choose 1 or 3"},
		{timers.Config{Context: "shop", Conn: nc, Workers: -1}, "Workers is -1: choose 1 to 4096"},
		{timers.Config{Context: "shop", Conn: nc, Workers: 5000}, "Workers is 5000: choose 1 to 4096"},
		{timers.Config{Context: "shop", Conn: nc, Timeout: -1}, "Timeout is -1ns: give at least 1ms"},
	} {
		if _, err := timers.Open(within(t, long), tt.cfg); err == nil || !strings.Contains(err.Error(), "open timers: config: "+tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// TestOpenTogether: whoever comes first makes the stream, and all use it, unless it is too
// weak for them.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		s := startServers(t, n)
		for round := range 5 {
			var together sync.WaitGroup
			for i := range 6 {
				cfg := timers.Config{Context: messages.Context(fmt.Sprint("shop", round)), Conn: s.connect(t, i), Replicas: 1 + i%2*(n-1)}
				together.Go(func() {
					_, err := s.tryOpen(t, cfg)
					if weaker, ok := errors.AsType[*timers.SettingError](err); err != nil && (!ok || weaker.Setting != "num_replicas") {
						t.Errorf("%d servers: %v", n, err)
					}
				})
			}
			together.Wait()
		}
	}
}

// made is the stream and its consumer as Open makes them.
func made(t *testing.T, s *servers) (jetstream.StreamConfig, jetstream.ConsumerConfig) {
	t.Helper()
	s.open(t, timers.Config{})
	js, ctx := s.jetStream(t), within(t, long)
	stream, err := js.Stream(ctx, "SHOP_TIMERS")
	if err != nil {
		t.Fatal(err)
	}
	due, err := js.Consumer(ctx, "SHOP_TIMERS", "due")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config, due.CachedInfo().Config
}

func TestOpenRefusesAWeakerStream(t *testing.T) {
	s := startServers(t, 1)
	cfg, _ := made(t, s)
	js, ctx := s.jetStream(t), within(t, long)
	for i, tt := range []struct {
		weaken func(c *jetstream.StreamConfig)
		want   string
	}{
		{func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[1:] }, "subjects is shop.timer.>, but must be shop.due.>, shop.timer.>"},
		{func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention is workqueue, but must be limits"},
		{func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention is interest, but must be limits"},
		{func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage is memory, but must be file"},
		{func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = false }, "allow_msg_schedules is false, but must be true"},
		{func(c *jetstream.StreamConfig) { c.AllowDirect = false }, "allow_direct is false, but must be true"},
		{func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic is false, but must be true"},
		{func(c *jetstream.StreamConfig) {
			c.AllowAtomicPublish, c.PersistMode = false, jetstream.AsyncPersistMode
		}, "persist_mode is async, but must be default"},
		{func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }, "max_msgs is 1000, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }, "max_bytes is 1073741824, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age is 3600000000000, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject is 1, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1024 }, "max_msg_size is 1024, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl is true, but must be false"},
		{func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Minute }, "subject_delete_marker_ttl is 60000000000, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.DenyDelete = true }, "deny_delete is true, but must be false"},
		{func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack is true, but must be false"},
		{func(c *jetstream.StreamConfig) { c.Sealed = true }, "sealed is true, but must be false"},
		{func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		}, "subject_transform is true, but must be false"},
		{func(c *jetstream.StreamConfig) { c.Metadata = nil }, "metadata holdfast-format is missing, but must be 1"},
		{func(c *jetstream.StreamConfig) { c.Metadata["holdfast-format"] = "2" }, "metadata holdfast-format is 2, but must be 1"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			weaker := cfg
			weaker.Metadata = map[string]string{"holdfast-format": "1"}
			tt.weaken(&weaker)
			// Each has a context of its own: a stream cannot always be made anew at once.
			name := fmt.Sprintf("shop%d", i)
			weaker.Name = strings.ToUpper(name) + "_TIMERS"
			weaker.Subjects = slices.Clone(weaker.Subjects)
			for i, subject := range weaker.Subjects {
				weaker.Subjects[i] = strings.Replace(subject, "shop", name, 1)
			}
			sealed := weaker.Sealed // which one can only become
			weaker.Sealed = false
			if _, err := js.CreateStream(ctx, weaker); err != nil {
				t.Fatal(err)
			}
			if weaker.Sealed = sealed; sealed {
				if _, err := js.UpdateStream(ctx, weaker); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.tryOpen(t, timers.Config{Context: messages.Context(name)})
			want := "stream " + weaker.Name + ": its setting " + strings.ReplaceAll(tt.want, "shop", name)
			if _, ok := errors.AsType[*timers.SettingError](err); !ok || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func TestOpenRefusesFewerReplicas(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	s.open(t, timers.Config{Replicas: 1})
	_, err := s.tryOpen(t, timers.Config{Replicas: 3})
	if err == nil || !strings.HasSuffix(err.Error(), "its setting num_replicas is 1, but must be 3") {
		t.Errorf("got %v", err)
	}
	s.open(t, timers.Config{Context: "bank", Replicas: 3})
	if _, err := s.tryOpen(t, timers.Config{Context: "bank", Replicas: 1}); err != nil {
		t.Errorf("more than wanted: %v", err)
	}
}

func TestOpenRefusesAWeakerConsumer(t *testing.T) {
	s := startServers(t, 1)
	_, cfg := made(t, s)
	js, ctx := s.jetStream(t), within(t, long)
	for _, tt := range []struct {
		weaken func(c *jetstream.ConsumerConfig)
		want   string
	}{
		{func(c *jetstream.ConsumerConfig) { c.FilterSubject = "shop.due.order.>" }, "has the setting filter_subject of shop.due.order.>, but must have shop.due.>"},
		{func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy }, "has the setting deliver_policy of new, but must have all"},
		{func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy }, "has the setting ack_policy of AckAll, but must have AckExplicit"},
		{func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 }, "has the setting max_deliver of 5, but must have unlimited"},
		{func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 100 }, "has the setting max_ack_pending of 100, but must have unlimited"},
		{func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour }, "has the setting inactive_threshold of 3600000000000, but must have unlimited"},
		{func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Second} }, "has the setting backoff of true, but must have false"},
		{func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true }, "has the setting headers_only of true, but must have false"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if err := js.DeleteConsumer(ctx, "SHOP_TIMERS", cfg.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Fatal(err)
			}
			weaker := cfg
			tt.weaken(&weaker)
			await(t, "the weaker one is made", func() bool { // the server may still be removing the last one
				_, err := js.CreateConsumer(ctx, "SHOP_TIMERS", weaker)
				return err == nil
			})
			_, err := s.tryOpen(t, timers.Config{})
			if _, ok := errors.AsType[*timers.SettingError](err); !ok || !strings.Contains(err.Error(), "stream SHOP_TIMERS: its consumer due "+tt.want+": delete the consumer") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestOpenGivesUp: nobody answers.
func TestOpenGivesUp(t *testing.T) {
	s := startServers(t, 1)
	// It may not ask JetStream, and nobody tells it.
	gateway, err := s.list[0].Connect(natsd.Gateway, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Close)
	_, err = timers.Open(within(t, 300*time.Millisecond), timers.Config{Context: "shop", Conn: gateway})
	if !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
