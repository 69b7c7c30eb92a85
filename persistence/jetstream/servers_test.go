package jetstream_test

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/leaktest"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // they wait for elections more than they compute
	leaktest.Main(m)
}

// quick is a timeout for tests in which answers are lost.
const quick = 300 * time.Millisecond

// servers are one nats-server, or three that form a cluster.
type servers struct {
	list []*natsd.Server
	tcp  []*nats.Conn // their password does not outlive the server
}

func startServers(t testing.TB, n int, change ...func(*natsd.Config)) *servers {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg := natsd.Config{DataDir: t.TempDir(), Context: "unused", Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&cfg)
	}
	list, err := natsd.StartCluster(ctx, n, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{list: list}
	t.Cleanup(s.stop)
	return s
}

func (s *servers) stop() {
	var all sync.WaitGroup
	for _, one := range s.list {
		all.Go(one.Stop)
	}
	all.Wait()
}

// restart stops all servers, lets between happen, and starts them again.
func (s *servers) restart(t testing.TB, between func()) {
	t.Helper()
	for _, nc := range s.tcp {
		nc.Close()
	}
	s.tcp = nil
	s.stop()
	between()
	var all sync.WaitGroup
	for i := range s.list {
		all.Go(func() {
			one, err := startAgain(t, s.list[i])
			if err != nil {
				t.Error(err)
				return
			}
			s.list[i] = one
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func startAgain(t testing.TB, s *natsd.Server) (*natsd.Server, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return natsd.Start(ctx, s.Config())
}

func (s *servers) connect(t testing.TB, i int) *nats.Conn {
	t.Helper()
	nc, err := s.list[i%len(s.list)].Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// connectThrough connects to the first server over TCP by way of an address, as the
// operator's commands do.
func (s *servers) connectThrough(t testing.TB, address string) *nats.Conn {
	t.Helper()
	admin, err := natsd.ReadAdmin(s.list[0].Config().DataDir)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+address, nats.UserInfo(admin.User, admin.Password), nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s.tcp = append(s.tcp, nc)
	return nc
}

func (s *servers) address(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(s.list[0].ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// open opens a store on the servers; of the config it fills in what is needed.
func (s *servers) open(t testing.TB, cfg jetstream.Config) *jetstream.Store {
	t.Helper()
	store, err := s.tryOpen(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (s *servers) tryOpen(t testing.TB, cfg jetstream.Config) (*jetstream.Store, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if cfg.Publish == nil {
		cfg.Publish = s.connect(t, 0)
	}
	if cfg.Read == nil {
		cfg.Read = []*nats.Conn{s.connect(t, 1), s.connect(t, 2)}
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = len(s.list)
	}
	store, err := jetstream.Open(ctx, cfg)
	if err == nil {
		t.Cleanup(store.Close)
	}
	return store, err
}

// log makes a log of its own on the servers for the conformance suite.
func (s *servers) log(t testing.TB, cfg jetstream.Config) *persistencetest.Log {
	t.Helper()
	store := s.open(t, cfg)
	other := cfg
	other.Publish, other.Read = s.connect(t, 1), []*nats.Conn{s.connect(t, 2)}
	l := &persistencetest.Log{
		Context: cfg.Context,
		Store:   store,
		Others:  []persistence.Store{s.open(t, other)},
		Put: func(t testing.TB, ref holdfast.Ref, body []byte) holdfast.Position {
			t.Helper()
			sub := logSubject(t, cfg.Context, ref, store.Partitions())
			return holdfast.NewPosition(sub.Partition, publish(t, s.connectedOf(t), sub.String(), body))
		},
		PutSnapshot: func(t testing.TB, ref holdfast.Ref, body []byte) {
			t.Helper()
			sub := logSubject(t, cfg.Context, ref, 1)
			sub.Kind = messages.KindSnapshot
			publish(t, s.connectedOf(t), sub.String(), body)
		},
	}
	l.Reopen = func(t testing.TB) persistence.Store {
		l.Store.(*jetstream.Store).Close()
		s.restart(t, func() {})
		return s.open(t, cfg)
	}
	proxy := persistencetest.NewProxy(t, s.address(t))
	faulty := cfg
	faulty.Publish, faulty.Read, faulty.AppendTimeout = s.connectThrough(t, proxy.Address()), []*nats.Conn{s.connect(t, 1)}, quick
	l.Faulty = &persistencetest.Faulty{Store: s.open(t, faulty), Line: proxy}
	return l
}

// connectedOf gives a connection that is closed with the test that asks for it.
func (s *servers) connectedOf(t testing.TB) *nats.Conn { return s.connect(t, 0) }

func logSubject(t testing.TB, c messages.Context, ref holdfast.Ref, partitions uint32) messages.Subject {
	t.Helper()
	sub, err := persistence.LogSubject(c, ref, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// publish stores a message around the store and gives its sequence.
func publish(t testing.TB, nc *nats.Conn, subject string, body []byte) uint64 {
	t.Helper()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(subject, body)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// flip changes a byte in the middle of a message where it lies on a server's disk. The
// server must not run.
func flip(t testing.TB, dataDir string, message []byte) {
	t.Helper()
	flipped := 0
	err := filepath.WalkDir(dataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".blk") || !strings.Contains(path, "streams") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at := bytes.Index(b, message); at >= 0 {
			b[at+len(message)/2] ^= 0x10
			flipped++
			return os.WriteFile(path, b, 0o600)
		}
		return nil
	})
	if err != nil || flipped != 1 {
		t.Fatalf("flipped %d bytes, %v", flipped, err)
	}
}

// mustAppend appends a commit of one event.
func mustAppend(t testing.TB, s persistence.Store, ref holdfast.Ref, after persistence.Head) persistence.Head {
	t.Helper()
	h, err := tryAppend(t, s, ref, after)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func tryAppend(t testing.TB, s persistence.Store, ref holdfast.Ref, after persistence.Head) (persistence.Head, error) {
	t.Helper()
	type answer struct {
		head persistence.Head
		err  error
	}
	answers := make(chan answer, 2)
	changes := []*messages.Change{{CommandId: "c", Events: []*messages.Event{{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: []byte(ref.ID)}}}}
	s.Append(ref, after, changes, func(h persistence.Head, err error) { answers <- answer{h, err} })
	select {
	case a := <-answers:
		return a.head, a.err
	case <-time.After(30 * time.Second):
		t.Fatalf("append to %s: no answer", ref)
		panic("unreachable")
	}
}
