package door_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/door"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

const (
	demo     = messages.Context("demo")
	feed     = "DEMO_FEED"
	balances = "demo_view_balances_1"
	patient  = 60 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	t.Cleanup(cancel)
	return ctx
}

// A stage is a server with what clients may read, and what they may not.
type stage struct {
	server *natsd.Server
	public jetstream.JetStream // of the publisher, in PUBLIC
	core   jetstream.JetStream // of the node, in CORE
	view   jetstream.KeyValue
}

func start(t *testing.T) stage {
	t.Helper()
	s, err := natsd.Start(within(t), natsd.Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: string(demo), RelaxedSync: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return furnish(t, s, 1)
}

func furnish(t *testing.T, s *natsd.Server, replicas int) stage {
	t.Helper()
	out := stage{server: s, public: js(t, connect(t, s, natsd.Publisher)), core: js(t, connect(t, s, natsd.Node))}
	makeStream(t, out.core, demo.LogStream(0), "demo.log.0.>", replicas)
	makeStream(t, out.public, feed, demo.FeedSubjects(), replicas)
	makeStream(t, out.public, demo.OutcomeStream(), demo.OutcomeSubjects(), replicas)
	retry(t, "make the bucket", func(ctx context.Context) (err error) {
		out.view, err = out.public.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: balances, Replicas: replicas})
		return err
	})
	openDoor(t, s)
	return out
}

func openDoor(t *testing.T, s *natsd.Server) *door.Door {
	t.Helper()
	d, err := door.Start(door.Config{
		Context: demo, Conn: connect(t, s, natsd.Publisher), Prefix: natsd.DoorPrefix, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, d) })
	return d
}

func stop(t *testing.T, d *door.Door) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patient)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func makeStream(t *testing.T, js jetstream.JetStream, name, subjects string, replicas int) {
	t.Helper()
	retry(t, "make "+name, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{subjects}, Replicas: replicas, AllowDirect: true,
		})
		return err
	})
}

// retry is for what an election may be in the way of.
func retry(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	ctx := within(t)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func connect(t *testing.T, s *natsd.Server, role natsd.Role) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// client is one of the account EDGE.
func client(t *testing.T, s *natsd.Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := natsd.Dial(s.ClientURL(), append(opts, nats.IgnoreDiscoveredServers(), nats.Timeout(patient))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func js(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish puts events 1 to n into the feed.
func (s stage) publish(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.public.Publish(within(t), event(i+1), []byte(fmt.Sprint(i+1))); err != nil {
			t.Fatal(err)
		}
	}
}

func event(i int) string { return fmt.Sprintf("demo.evt.account.a-%d.Deposited", i) }
