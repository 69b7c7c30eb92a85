package feed_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/feed"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

var quiet = slog.New(slog.DiscardHandler)

// A fleet are nodes that write one feed of a log with two partitions.
type fleet struct {
	t       *testing.T
	servers []*natsd.Server
	store   *jetstream.Store

	heads map[holdfast.Ref]persistence.Head
	want  map[uint32][]string // by partition, the ids of its events
}

func startFleet(t *testing.T, n int) *fleet {
	t.Helper()
	list, err := natsd.StartCluster(within(t), n, natsd.Config{DataDir: t.TempDir(), Context: "shop", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, s := range list {
			all.Go(s.Stop)
		}
		all.Wait()
	})
	f := &fleet{t: t, servers: list, heads: map[holdfast.Ref]persistence.Head{}, want: map[uint32][]string{}}
	f.store = f.open(0)
	return f
}

func (f *fleet) connect(i int) *nats.Conn {
	f.t.Helper()
	nc, err := f.servers[i%len(f.servers)].Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	return nc
}

func (f *fleet) open(i int) *jetstream.Store {
	f.t.Helper()
	s, err := jetstream.Open(within(f.t), jetstream.Config{
		Context: "shop", Partitions: 2, Replicas: len(f.servers), Publish: f.connect(i), Read: []*nats.Conn{f.connect(i)}, Logger: quiet,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

// A member takes its part in writing the feed. To kill it is to cut it off.
type member struct {
	feed  *feed.Feed
	seats *nats.Conn
	conn  *nats.Conn
}

func (m *member) kill() {
	m.seats.Close()
	m.conn.Close()
	m.feed.Stop()
}

func (f *fleet) member(i int, name string) *member {
	f.t.Helper()
	ctx := within(f.t)
	m := &member{seats: f.connect(i), conn: f.connect(i)}
	seats, err := follow.Open(ctx, follow.Config{Context: "shop", Conn: m.seats, Replicas: len(f.servers), Node: name, Lease: time.Second, Log: quiet})
	if err != nil {
		f.t.Fatal(err)
	}
	m.feed, err = feed.Start(ctx, feed.Config{
		Context: "shop", Types: []holdfast.Definition{purse}, Log: f.store, Seats: seats, Public: m.conn, Replicas: len(f.servers), Logger: quiet,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(m.feed.Stop)
	return m
}

// append records a commit of two deposits for one of some aggregates.
func (f *fleet) append(i int) {
	f.t.Helper()
	to := ref(fmt.Sprintf("p-%d", i%7))
	var h persistence.Head
	doubt := false
	await(f.t, "the commit is recorded", func() bool { // a busy log may have to be asked again
		var err error
		switch h, err = f.try(to); {
		case errors.Is(err, holdfast.ErrUncertain):
			doubt = true
		case errors.Is(err, holdfast.ErrConflict) && doubt: // that one was recorded
			var l persistence.Loaded
			l, err = f.store.Load(within(f.t), to, "")
			h = l.Head
		case err != nil && !errors.Is(err, holdfast.ErrUnavailable):
			f.t.Fatal(err)
		}
		return err == nil
	})
	f.heads[to] = h
	p := h.Position.Partition()
	f.want[p] = append(f.want[p], fmt.Sprintf("%s@%d", to, h.Version-1), fmt.Sprintf("%s@%d", to, h.Version))
}

func (f *fleet) try(to holdfast.Ref) (h persistence.Head, err error) {
	f.t.Helper()
	change := &messages.Change{CommandId: "c", Time: time.Now().UnixNano(), Events: encode(f.t, &pb.Deposited{Amount: 1}, &pb.Deposited{Amount: 2})}
	done := make(chan struct{})
	f.store.Append(to, f.heads[to], []*messages.Change{change}, func(head persistence.Head, failed error) {
		h, err = head, failed
		close(done)
	})
	<-done
	return h, err
}

// awaitEvents waits until the feed has all, and judges their order in each partition.
func (f *fleet) awaitEvents(says *feed.Feed) {
	f.t.Helper()
	await(f.t, "the feed has all", func() bool {
		all, err := says.Status(f.t.Context())
		return err == nil && !slices.ContainsFunc(all, func(s feed.Status) bool {
			return s.Behind > 0 || s.Late > 0 || s.Holder == ""
		})
	})
	js, err := natsjs.New(f.connect(0))
	if err != nil {
		f.t.Fatal(err)
	}
	var got map[uint32][]string
	await(f.t, "the events are read", func() bool { // around an election it may take another time
		var err error
		if got, err = f.read(js, len(f.want[0])+len(f.want[1])); err != nil {
			f.t.Log(err)
		}
		return err == nil
	})
	for p := range f.want {
		if !slices.Equal(got[p], f.want[p]) {
			f.t.Errorf("partition %d has\n%s\nwant\n%s", p, strings.Join(got[p], " "), strings.Join(f.want[p], " "))
		}
	}
	if len(f.want) != 2 {
		f.t.Errorf("the test is of %d partitions", len(f.want))
	}
}

// read reads so many events, and what there is beyond them, by partition.
func (f *fleet) read(js natsjs.JetStream, want int) (map[uint32][]string, error) {
	f.t.Helper()
	consumer, err := js.OrderedConsumer(within(f.t), "SHOP_FEED", natsjs.OrderedConsumerConfig{FilterSubjects: []string{"shop.evt.>"}})
	if err != nil {
		return nil, err
	}
	list, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer list.Stop()
	got := map[uint32][]string{}
	for i := 0; ; i++ {
		wait := 20 * time.Second // a replica that is behind has the rest later
		if i >= want {
			wait = 200 * time.Millisecond // there should be no other
		}
		m, err := list.Next(natsjs.NextMaxWait(wait))
		switch {
		case err != nil && i >= want:
			return got, nil
		case err != nil:
			return nil, fmt.Errorf("after %d of %d events: %w", i, want, err)
		}
		at, err := holdfast.ParsePosition(m.Headers().Get("ce-position"))
		if err != nil {
			f.t.Fatal(err)
		}
		got[at.Partition()] = append(got[at.Partition()], m.Headers().Get("ce-id"))
	}
}

// TestPartitions: nodes that are cut off, and others that take over.
func TestPartitions(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1)
	a, b := f.member(0, "a"), f.member(0, "b")
	await(t, "both partitions are held", func() bool {
		all, err := a.feed.Status(t.Context())
		return err == nil && len(all) == 2 && all[0].Holder != "" && all[1].Holder != ""
	})
	var c *member
	for i := range 60 {
		f.append(i)
		switch i {
		case 20:
			a.kill()
		case 40:
			b.feed.Stop()
			c = f.member(0, "c")
		}
	}
	f.awaitEvents(c.feed)
}

// TestElections: the stream of the feed has one leader after the other.
func TestElections(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3)
	m := f.member(0, "a")
	f.member(1, "b")
	operator := f.connect(2)
	for i := range 120 {
		f.append(i)
		if i%30 == 10 {
			if _, err := operator.Request("$JS.API.STREAM.LEADER.STEPDOWN.SHOP_FEED", nil, 5*time.Second); err != nil {
				t.Log(err)
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	f.awaitEvents(m.feed)
}
