package tests

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// A followed log is on three servers, each a process.
type followedLog struct {
	t       *testing.T
	servers []*natsServer
	store   *jetstream.Store
	refs    []holdfast.Ref
	written atomic.Int64 // commits that are acknowledged
	stop    chan struct{}
	writers sync.WaitGroup
}

func newFollowedLog(t *testing.T) *followedLog {
	t.Helper()
	root := t.TempDir()
	l := &followedLog{t: t, servers: startNATS(t, 3, func(name string) string { return filepath.Join(root, name) })}
	l.store = l.open(0)
	return l
}

// open opens a store, whose connections prefer one of the servers.
func (l *followedLog) open(preferred int) *jetstream.Store {
	l.t.Helper()
	var urls []string
	for i := range l.servers {
		urls = append(urls, l.servers[(preferred+i)%len(l.servers)].url())
	}
	connect := func() *nats.Conn {
		return dial(l.t, strings.Join(urls, ","), nats.DontRandomize(), nats.Timeout(time.Second), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2))
	}
	store, err := jetstream.Open(l.t.Context(), jetstream.Config{
		Context: "followed", Replicas: 3, Publish: connect(), Read: []*nats.Conn{connect(), connect()},
		AppendTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(store.Close)
	return store
}

// write has so many writers append until they are stopped.
func (l *followedLog) write(name string, n int) {
	l.stop = make(chan struct{})
	for i := range n {
		ref := holdfast.Ref{Type: "followed", ID: fmt.Sprint(name, i)}
		l.refs = append(l.refs, ref)
		l.writers.Go(func() { l.writeTo(ref, l.stop) })
	}
}

func (l *followedLog) writeTo(ref holdfast.Ref, stop <-chan struct{}) {
	type answer struct {
		head persistence.Head
		err  error
	}
	var h persistence.Head
	answers := make(chan answer, 1)
	changes := []*messages.Change{{CommandId: "c", Events: []*messages.Event{{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: make([]byte, 100)}}}}
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		l.store.Append(ref, h, changes, func(h persistence.Head, err error) { answers <- answer{h, err} })
		a := <-answers
		switch {
		case a.err == nil:
			h = a.head
			l.written.Add(1)
		case errors.Is(a.err, holdfast.ErrUncertain), errors.Is(a.err, holdfast.ErrConflict):
			if loaded, err := l.store.Load(l.t.Context(), ref, ""); err == nil {
				h = loaded.Head
			}
		case !errors.Is(a.err, holdfast.ErrUnavailable):
			l.t.Error(a.err)
			return
		}
	}
}

// more waits until so many more commits are acknowledged.
func (l *followedLog) more(n int64) {
	l.t.Helper()
	until := l.written.Load() + n
	waitFor(l.t, "more commits", func() bool { return l.written.Load() >= until })
}

// wantGiven ends the writing, and checks that what is in the log is what all were given.
func (l *followedLog) wantGiven(all ...*persistencetest.Following) {
	l.t.Helper()
	close(l.stop)
	l.writers.Wait()
	bodies, end := map[holdfast.Position][]byte{}, holdfast.NewPosition(0, 0)
	for _, ref := range l.refs {
		var loaded persistence.Loaded
		waitFor(l.t, "the log to be read", func() (ok bool) {
			var err error
			loaded, err = l.store.Load(l.t.Context(), ref, "")
			return err == nil
		})
		for _, c := range loaded.Commits {
			if bodies[c.Position] = c.Body; end.Before(c.Position) {
				end = c.Position
			}
		}
	}
	if n := l.written.Load(); int64(len(bodies)) < n || uint64(len(bodies)) != end.Sequence() {
		l.t.Fatalf("the log has %d commits up to %s, %d were acknowledged", len(bodies), end, n)
	}
	for _, f := range all {
		for _, r := range f.Until(l.t, end) {
			if !bytes.Equal(r.Body, bodies[r.Position]) {
				l.t.Fatalf("the record at %s is given as %q, and is %q", r.Position, r.Body, bodies[r.Position])
			}
		}
	}
	l.t.Logf("%d records", len(bodies))
}

// Each server is killed in turn, so that it can tell nobody that it goes.
func TestFollowKilledServers(t *testing.T) {
	t.Parallel()
	l := newFollowedLog(t)
	var all []*persistencetest.Following
	for i := range 6 {
		all = append(all, persistencetest.Follow(t, l.open(i), holdfast.NewPosition(0, 0)))
	}
	l.write("w", 6)
	for _, s := range l.servers {
		l.more(200)
		killed := time.Now()
		s.kill()
		l.more(20)
		served := time.Since(killed)
		l.more(20)
		var last uint64
		waitFor(t, "the log to be described", func() bool {
			partitions, err := l.store.Describe(t.Context())
			if err == nil {
				last = partitions[0].Last
			}
			return err == nil
		})
		for _, f := range all {
			f.Until(t, holdfast.NewPosition(0, last))
		}
		t.Logf("without %s the writers go on after %s, those who follow after %s", s.config.Name, served, time.Since(killed))
		s.start(t)
	}
	l.more(200)
	l.wantGiven(all...)
}

// A leader is alone with what it has been told, and dies: nobody was given that, not by the
// leader itself.
func TestFollowGivesNothingUncommitted(t *testing.T) {
	t.Parallel()
	l := newFollowedLog(t)
	core := dial(t, l.servers[0].url())
	waitFor(t, "s1 to lead", func() bool {
		leader := leaderOf(core, "FOLLOWED_LOG_0")
		if leader != "" && leader != "s1" {
			_, _ = core.Request("$JS.API.STREAM.LEADER.STEPDOWN.FOLLOWED_LOG_0", []byte(`{"placement":{"preferred":"s1"}}`), time.Second)
		}
		return leader == "s1"
	})
	var all []*persistencetest.Following
	for range 6 {
		all = append(all, persistencetest.Follow(t, l.store, holdfast.NewPosition(0, 0)))
	}
	l.write("w", 2)
	l.more(100)
	for _, s := range l.servers[1:] {
		s.kill()
	}
	for i := range 50 { // it writes them down, and waits for the others
		if err := core.Publish(fmt.Sprintf("followed.log.0.lost.%d", i), []byte("uncommitted")); err != nil {
			t.Fatal(err)
		}
	}
	if err := core.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "s1 to say that it leads", func() bool { return leaderOf(core, "FOLLOWED_LOG_0") == "s1" }) // nobody could elect it again
	<-time.After(3 * time.Second)
	l.servers[0].kill()
	for _, s := range l.servers[1:] {
		s.start(t)
	}
	l.more(100)
	l.servers[0].start(t)
	l.more(100)
	l.wantGiven(all...)
}
