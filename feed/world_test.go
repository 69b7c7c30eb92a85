package feed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/feed"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// within is a context for what must end soon: without a deadline, JetStream's client has one of
// five seconds, for which a machine may stand still.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// purse is a type with all that upcasters may do: a withdrawal has become two deposits, one
// with an amount above 1,000 so many, an account's end nothing, and the opening of "boom"
// has an upcaster that panics.
var purse = holdfast.Define("purse",
	holdfast.Evolve(func(s struct{}, _ *pb.Deposited) struct{} { return s }),
	holdfast.Upcast[struct{}](func(e *pb.Withdrawn) holdfast.Events {
		out := holdfast.Events{&pb.Deposited{Amount: -e.Amount}, &pb.Deposited{}}
		for i := int64(1000); i < e.Amount; i++ {
			out = append(out, &pb.Deposited{Amount: i})
		}
		return out
	}),
	holdfast.Upcast[struct{}](func(*pb.AccountClosed) holdfast.Events { return nil }),
	holdfast.Upcast[struct{}](func(e *pb.AccountOpened) holdfast.Events {
		if e.Owner == "boom" {
			panic("boom")
		}
		return holdfast.Events{&pb.Deposited{}}
	}),
)

func ref(id string) holdfast.Ref { return holdfast.Ref{Type: "purse", ID: id} }

// seats are those of one node that always has them, or of several that all believe so.
type seats struct {
	mu    sync.Mutex
	seats map[string]follow.Seat
}

func (s *seats) Ensure(ctx context.Context, seat string, first func(context.Context) (uint64, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seats[seat]; ok {
		return nil
	}
	done, err := first(ctx)
	s.seats[seat] = follow.Seat{Done: done}
	return err
}

func (s *seats) Hold(ctx context.Context, seat string, _ func(context.Context) (uint64, error), work follow.Work) {
	s.mu.Lock()
	done := s.seats[seat].Done
	s.seats[seat] = follow.Seat{Done: done, Holder: "run", Node: "me"}
	s.mu.Unlock()
	_ = work(ctx, done, func(done uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seats[seat] = follow.Seat{Done: done, Holder: "run", Node: "me"}
	})
}

func (s *seats) List(context.Context) (map[string]follow.Seat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]follow.Seat{"feed.0": s.seats["feed.0"]}, nil
}

// A world is a log in memory, and a NATS server for the feed.
type world struct {
	t     *testing.T
	conn  *nats.Conn
	js    jetstream.JetStream
	store *memory.Store
	seats *seats
	heads map[holdfast.Ref]persistence.Head
	want  []string // the ids of the events, in their order
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := natsd.Start(within(t), natsd.Config{DataDir: t.TempDir(), Context: "shop", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	w := &world{t: t, store: memory.New("shop"), seats: &seats{seats: map[string]follow.Seat{}}, heads: map[holdfast.Ref]persistence.Head{}}
	if w.conn, err = s.Connect(natsd.Node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.conn.Close)
	if w.js, err = jetstream.New(w.conn); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config() feed.Config {
	return feed.Config{
		Context: "shop", Types: []holdfast.Definition{purse}, Log: w.store, Seats: w.seats, Public: w.conn,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) start(c feed.Config) *feed.Feed {
	w.t.Helper()
	f, err := feed.Start(within(w.t), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(f.Stop)
	return f
}

// encode gives events as they are recorded.
func encode(t *testing.T, events ...holdfast.Event) []*messages.Event {
	t.Helper()
	var out []*messages.Event
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, recorded)
	}
	return out
}

// append records changes of an aggregate as one commit.
func (w *world) append(to holdfast.Ref, changes ...*messages.Change) {
	w.t.Helper()
	w.store.Append(to, w.heads[to], changes, func(h persistence.Head, err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.heads[to] = h
	})
}

// deposit records a commit of so many deposits, which are to be in the feed.
func (w *world) deposit(id string, n int) {
	w.t.Helper()
	version := w.heads[ref(id)].Version
	c := &messages.Change{CommandId: "c", Time: time.Now().UnixNano()}
	for i := range n {
		c.Events = append(c.Events, encode(w.t, &pb.Deposited{Amount: int64(i)})...)
		encoded, err := messages.EncodeID(id)
		if err != nil {
			w.t.Fatal(err)
		}
		w.want = append(w.want, fmt.Sprintf("purse/%s@%d", encoded, int(version)+i+1))
	}
	w.append(ref(id), c)
}

// read gives all messages of the feed that are events.
func (w *world) read() (list []*jetstream.RawStreamMsg) {
	w.t.Helper()
	s := w.stream()
	info := s.CachedInfo().State
	for seq := info.FirstSeq; seq <= info.LastSeq; seq++ {
		m, err := s.GetMsg(within(w.t), seq)
		if err != nil && err != jetstream.ErrMsgNotFound { //nolint:errorlint // it is given as it is
			w.t.Fatal(err)
		}
		if err == nil && !bytes.HasPrefix([]byte(m.Subject), []byte("shop.fed.")) {
			list = append(list, m)
		}
	}
	return list
}

func ids(list []*jetstream.RawStreamMsg) []string {
	out := make([]string, 0, len(list))
	for _, m := range list {
		out = append(out, m.Header.Get(messages.HeaderEventID))
	}
	return out
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not in %v", what, patience)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// awaitEvents waits until the feed has as many messages as are wanted, and judges them.
func (w *world) awaitEvents() {
	w.t.Helper()
	s := w.stream()
	await(w.t, fmt.Sprintf("%d events", len(w.want)), func() bool {
		info, err := s.Info(within(w.t), jetstream.WithSubjectFilter("shop.evt.>"))
		if err != nil {
			w.t.Fatal(err)
		}
		n := 0
		for _, count := range info.State.Subjects {
			n += int(count)
		}
		return n >= len(w.want)
	})
	w.judge()
}

func (w *world) stream() (s jetstream.Stream) {
	w.t.Helper()
	s, err := w.js.Stream(within(w.t), "SHOP_FEED")
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// judge finds events that are missing, repeated or out of order.
func (w *world) judge() {
	w.t.Helper()
	got := ids(w.read())
	if slices.Equal(got, w.want) {
		return
	}
	for i := range got {
		if i >= len(w.want) || got[i] != w.want[i] {
			w.t.Fatalf("event %d of %d is %s; want %d, and this one to be %s", i, len(got), got[i], len(w.want), slices.Concat(w.want, []string{"none"})[min(i, len(w.want))])
		}
	}
	w.t.Fatalf("%d events, want %d", len(got), len(w.want))
}
