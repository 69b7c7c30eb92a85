package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// lasting connects to a server over TCP, again and again, whatever its password is.
func (s *servers) lasting(t testing.TB, i int) *nats.Conn {
	t.Helper()
	cfg := s.list[i].Config()
	return dial(t, "nats://"+cfg.Listen,
		nats.UserInfoHandler(func() (user, password string) {
			admin, err := natsd.ReadAdmin(cfg.DataDir)
			if err != nil {
				return "not", "yet"
			}
			return admin.User, admin.Password
		}), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// A crowd of writers appends until it is stopped, whatever becomes of the servers.
type crowd struct {
	store   *jetstream.Store
	refs    []holdfast.Ref
	written atomic.Int64 // commits
	over    chan struct{}
	done    sync.WaitGroup
}

func startCrowd(t testing.TB, store *jetstream.Store, name string, size int) *crowd {
	t.Helper()
	c := &crowd{store: store, over: make(chan struct{})}
	for i := range 6 {
		ref := holdfast.Ref{Type: "crowd", ID: fmt.Sprint(name, i)}
		c.refs = append(c.refs, ref)
		c.done.Go(func() { c.write(t, ref, make([]byte, size)) })
	}
	t.Cleanup(c.stop)
	return c
}

func (c *crowd) stop() {
	select {
	case <-c.over:
	default:
		close(c.over)
	}
	c.done.Wait()
}

func (c *crowd) write(t testing.TB, ref holdfast.Ref, data []byte) {
	type answer struct {
		head persistence.Head
		err  error
	}
	answers := make(chan answer, 1)
	var h persistence.Head
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-c.over:
			return
		case <-pace.C:
		}
		changes := []*messages.Change{{CommandId: "c", Events: []*messages.Event{{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: data}}}}
		c.store.Append(ref, h, changes, func(h persistence.Head, err error) { answers <- answer{h, err} })
		a := <-answers
		switch {
		case a.err == nil:
			h = a.head
			c.written.Add(1)
		case errors.Is(a.err, holdfast.ErrUncertain), errors.Is(a.err, holdfast.ErrConflict):
			if l, err := c.load(ref); err == nil {
				h = l.Head
			}
		case !errors.Is(a.err, holdfast.ErrUnavailable):
			t.Error(a.err)
			return
		}
	}
}

func (c *crowd) load(ref holdfast.Ref) (persistence.Loaded, error) {
	for {
		l, err := c.store.Load(context.Background(), ref, "")
		if !errors.Is(err, holdfast.ErrUnavailable) {
			return l, err
		}
		select {
		case <-c.over:
			return l, err
		default:
		}
	}
}

// await returns when so many more commits have been written.
func (c *crowd) await(t testing.TB, n int64) {
	t.Helper()
	deadline, tick := time.Now().Add(long), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for until := c.written.Load() + n; c.written.Load() < until; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("nothing is written any more")
		}
	}
}

// wantGiven ends the writing, and checks that all that is in the log is given.
func (c *crowd) wantGiven(t testing.TB, all ...*persistencetest.Following) {
	t.Helper()
	c.stop()
	bodies := map[holdfast.Position][]byte{}
	var end holdfast.Position
	for _, ref := range c.refs {
		for _, commit := range mustLoad(t, c.store, ref).Commits {
			bodies[commit.Position] = commit.Body
			if !commit.Position.Before(end) {
				end = commit.Position
			}
		}
	}
	if n := c.written.Load(); int64(len(bodies)) < n {
		t.Fatalf("%d commits are in the log, %d were acknowledged", len(bodies), n)
	}
	for _, f := range all {
		for _, r := range f.Until(t, end) {
			if body, ok := bodies[r.Position]; !ok || !bytes.Equal(body, r.Body) {
				t.Fatalf("the record at %s is given as %d bytes, %v, and has %d", r.Position, len(r.Body), ok, len(body))
			}
		}
	}
	t.Logf("%d records", len(bodies))
}

var begin = holdfast.NewPosition(0, 0)

// TestFollowOverRestarts of the only server.
func TestFollowOverRestarts(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen, c.RelaxedSync = "127.0.0.1:0", true })
	store := s.open(t, jetstream.Config{
		Context: "restarts", ReadTimeout: time.Second, AppendTimeout: time.Second,
		Publish: s.lasting(t, 0), Read: []*nats.Conn{s.lasting(t, 0)},
	})
	idle := persistencetest.Follow(t, store, begin)
	c := startCrowd(t, store, "w", 100)
	busy := persistencetest.Follow(t, store, begin)
	for range 3 {
		c.await(t, 100)
		s.restart(t, func() {})
	}
	c.await(t, 100)
	c.wantGiven(t, idle, busy)
}

// TestFollowOverABrokenLine, and over one that is silent without being broken.
func TestFollowOverABrokenLine(t *testing.T) {
	t.Parallel()
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen, c.RelaxedSync = "127.0.0.1:0", true })
	c := startCrowd(t, s.open(t, jetstream.Config{Context: "line"}), "w", 10_000)
	proxy := persistencetest.NewProxy(t, s.address(t))
	store := s.open(t, jetstream.Config{Context: "line", Read: []*nats.Conn{s.connectThrough(t, proxy.Address())}, ReadTimeout: time.Second})
	f := persistencetest.Follow(t, store, begin)
	for range 10 {
		c.await(t, 50)
		proxy.Break()
	}
	for _, lose := range []func(){proxy.LoseAnswers, proxy.LoseRequests} {
		c.await(t, 50)
		f.Next(t, 100)
		lose()
		<-time.After(2 * time.Second) // for longer than it takes to miss it
		c.await(t, 50)
		proxy.Break()
	}
	c.await(t, 50)
	c.wantGiven(t, f)
}

// TestFollowKeepsLittleOnItsWay to one who is busy, for so long that its consumer goes.
func TestFollowKeepsLittleOnItsWay(t *testing.T) {
	const commits, size, bound = 800, 100 << 10, 1 << 20
	s := startServers(t, 1, func(c *natsd.Config) { c.RelaxedSync = true })
	read := s.connect(t, 0)
	writer := s.open(t, jetstream.Config{Context: "slow"})
	store := s.open(t, jetstream.Config{Context: "slow", Read: []*nats.Conn{read}})
	mustAppend(t, writer, holdfast.Ref{Type: "first", ID: "a"}, persistence.Head{})
	enough := errors.New("enough")
	for tries := 1; ; tries++ {
		before, taken, most, n := int64(read.Stats().InBytes), int64(0), int64(0), 0
		err := store.Follow(t.Context(), begin, func(r persistence.Record) error {
			taken += int64(len(r.Body))
			if n++; r.Position.Sequence() != uint64(n) {
				t.Errorf("record %s comes as the %d", r.Position, n)
			}
			switch {
			case n == 1 && tries == 1:
				appendMany(t, writer, commits-1, make([]byte, size))
				atRest(read)
			case n == 3:
				atRest(read)
				deleteConsumers(t, s, "SLOW_LOG_0")
			case n == commits:
				return enough
			}
			most = max(most, int64(read.Stats().InBytes)-before-taken)
			return nil
		})
		if !errors.Is(err, enough) || n != commits {
			t.Fatalf("%d of %d records are given: %v", n, commits, err)
		}
		if t.Logf("%d bytes were on their way", most); most <= bound {
			return
		}
		if tries == 5 { // whenever this process stands still, some comes twice
			t.Fatalf("%d bytes were on their way, want %d at the most", most, bound)
		}
	}
}

// deleteConsumers takes a stream's consumers away from those who read, as its server does
// when they have not asked for long.
func deleteConsumers(t *testing.T, s *servers, stream string) {
	t.Helper()
	js := streams(t, s)
	all := consumers(t, js, stream)
	if len(all) == 0 {
		t.Error("there are no consumers")
	}
	for _, c := range all {
		if err := js.DeleteConsumer(t.Context(), stream, c.Name); err != nil && !errors.Is(err, natsjs.ErrConsumerNotFound) {
			t.Error(err)
		}
	}
}

// consumers are those of a stream.
func consumers(t testing.TB, js natsjs.JetStream, stream string) []*natsjs.ConsumerInfo {
	t.Helper()
	st, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var all []*natsjs.ConsumerInfo
	list := st.ListConsumers(t.Context())
	for c := range list.Info() {
		all = append(all, c)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFollowLeavesNothing behind, however it ends.
func TestFollowLeavesNothing(t *testing.T) {
	s := startServers(t, 1)
	read := s.connect(t, 0)
	store := s.open(t, jetstream.Config{Context: "ends", Read: []*nats.Conn{read}})
	appendMany(t, store, 2, nil)
	before := read.NumSubscriptions()
	enough := errors.New("enough")
	leavesNone(t, s, "ENDS_LOG_0", func() {
		if err := store.Follow(t.Context(), begin, func(persistence.Record) error { return enough }); !errors.Is(err, enough) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := store.Follow(ctx, begin, func(r persistence.Record) error {
			if r.Position.Sequence() == 2 {
				time.AfterFunc(10*time.Millisecond, cancel)
			}
			return nil
		})
		if cancel(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
	if n := read.NumSubscriptions(); n != before {
		t.Errorf("%d subscriptions are left, before there were %d", n, before)
	}
}

// leavesNone has what makes consumers leave none, ten times in a row. One whose making takes
// too long on a busy machine may be left to its server.
func leavesNone(t *testing.T, s *servers, stream string, use func()) {
	t.Helper()
	js, known := streams(t, s), map[string]bool{}
	var left int
	for range 5 {
		for range 10 {
			use()
		}
		left = 0
		for _, c := range consumers(t, js, stream) {
			if !known[c.Name] {
				known[c.Name] = true
				left++
			}
		}
		if left == 0 {
			return
		}
	}
	t.Errorf("%d consumers are left", left)
}

// TestFollowEndsWithItsStore, and with its connection.
func TestFollowEndsWithItsStore(t *testing.T) {
	s := startServers(t, 1)
	for name, end := range map[string]func(*jetstream.Store, *nats.Conn){
		"store":      func(store *jetstream.Store, _ *nats.Conn) { store.Close() },
		"connection": func(_ *jetstream.Store, nc *nats.Conn) { nc.Close() },
	} {
		read := s.connect(t, 0)
		store := s.open(t, jetstream.Config{Context: "closed", Read: []*nats.Conn{read}})
		f := persistencetest.Follow(t, store, begin)
		ref := holdfast.Ref{Type: "t", ID: "a"}
		f.Until(t, mustAppend(t, store, ref, mustLoad(t, store, ref).Head).Position)
		end(store, read)
		if err := f.End(t); !errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("with its %s it ends with %v, want unavailable", name, err)
		}
	}
}

// TestFollowALogThatLostItsEnd: what comes now takes the place of what was given.
func TestFollowALogThatLostItsEnd(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen = "127.0.0.1:0" })
	store := s.open(t, jetstream.Config{
		Context: "older", ReadTimeout: time.Second, Publish: s.lasting(t, 0), Read: []*nats.Conn{s.lasting(t, 0)},
	})
	f := persistencetest.Follow(t, store, begin)
	const kept, lost = 10, 5
	ref, h := holdfast.Ref{Type: "t", ID: "a"}, persistence.Head{}
	for range kept {
		h = mustAppend(t, store, ref, h)
	}
	data, old := filepath.Join(s.list[0].Config().DataDir, "jetstream"), t.TempDir()
	s.restart(t, func() {
		if err := os.CopyFS(old, os.DirFS(data)); err != nil {
			t.Fatal(err)
		}
	})
	for range lost {
		h = mustAppend(t, store, ref, h)
	}
	f.Until(t, h.Position)
	s.restart(t, func() {
		if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(old))); err != nil {
			t.Fatal(err)
		}
	})
	err := f.End(t)
	if !errors.Is(err, holdfast.ErrCorrupt) || !strings.Contains(err.Error(), "0-10, before 0-15") {
		t.Errorf("it ends with %v, want that the log ends at 0-%d", err, kept)
	}
}
