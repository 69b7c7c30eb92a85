package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

// quick is a timeout for tests in which answers are lost, and patient one for those in which
// none is: a busy machine may take long for one.
const quick, patient = 300 * time.Millisecond, 15 * time.Second

// long is more than anything takes that is awaited, also when servers elect leaders.
const long = 3 * time.Minute

// servers are one nats-server, or three that form a cluster.
type servers struct {
	list []*natsd.Server
	tcp  []*nats.Conn // their password does not outlive the server
}

func startServers(t testing.TB, n int, change ...func(*natsd.Config)) *servers {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
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
	ctx, cancel := context.WithTimeout(context.Background(), long)
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

// dial connects over TCP. On a busy machine the handshake may be cut short.
func dial(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append(opts, nats.Timeout(patient))
	nc, err := nats.Connect(url, opts...)
	for deadline := time.Now().Add(patient); err != nil && time.Now().Before(deadline); {
		nc, err = nats.Connect(url, opts...)
	}
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
	nc := dial(t, "nats://"+address, nats.UserInfo(admin.User, admin.Password), nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.IgnoreDiscoveredServers())
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
	ctx, cancel := context.WithTimeout(context.Background(), long)
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
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = patient
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
	for deadline := time.Now().Add(long); time.Now().Before(deadline); {
		var ack *nats.PubAck
		if ack, err = js.Publish(subject, body); err == nil {
			return ack.Sequence
		}
		for time.Now().Before(deadline) { // of an answer that gets lost in an election the stream tells
			var stream string
			var last *nats.RawStreamMsg
			if stream, err = js.StreamNameBySubject(subject); err == nil {
				last, err = js.GetLastMsg(stream, subject)
			}
			if err == nil && bytes.Equal(last.Data, body) {
				return last.Sequence
			}
			if err == nil || errors.Is(err, nats.ErrMsgNotFound) {
				break
			}
		}
	}
	t.Fatal(err)
	panic("unreachable")
}

// awaitOnDisk waits until messages lie on a server's disk, which may lag behind the others.
func (s *servers) awaitOnDisk(t testing.TB, server int, messages ...[]byte) {
	t.Helper()
	deadline, tick := time.Now().Add(long), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for _, m := range messages {
		for !slices.ContainsFunc(blocks(t, s.list[server].Config().DataDir), func(b block) bool { return bytes.Contains(b.data, m) }) {
			if <-tick.C; time.Now().After(deadline) {
				t.Fatal("the server does not come to have all messages")
			}
		}
	}
}

// A block is a file in which a server keeps messages.
type block struct {
	path string
	data []byte
}

// blocks are those of all streams. One that goes while it is read is left out.
func blocks(t testing.TB, dataDir string) (all []block) {
	t.Helper()
	err := filepath.WalkDir(dataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".blk") || !strings.Contains(path, "streams") {
			return ignoreMissing(err)
		}
		b, err := os.ReadFile(path)
		if err == nil {
			all = append(all, block{path, b})
		}
		return ignoreMissing(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// flip changes a byte in the middle of a message where it lies on a server's disk. The
// server must not run.
func flip(t testing.TB, dataDir string, message []byte) {
	t.Helper()
	flipped := 0
	for _, b := range blocks(t, dataDir) {
		at := bytes.Index(b.data, message)
		if at < 0 {
			continue
		}
		b.data[at+len(message)/2] ^= 0x10
		flipped++
		if err := os.WriteFile(b.path, b.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if flipped != 1 {
		t.Fatalf("flipped %d bytes", flipped)
	}
}

// late reports whether an error says that the log could not be reached, or not in time.
func late(err error) bool {
	return errors.Is(err, holdfast.ErrUnavailable) || errors.Is(err, holdfast.ErrUncertain)
}

// patiently tries until the log can be reached, and gives the error of the last try.
func patiently(try func() error) error {
	deadline := time.Now().Add(long)
	for {
		if err := try(); !late(err) || time.Now().After(deadline) {
			return err
		}
		<-time.After(5 * time.Millisecond)
	}
}

// mustLoad loads, also when servers elect a leader.
func mustLoad(t testing.TB, s persistence.Store, ref holdfast.Ref) (l persistence.Loaded) {
	t.Helper()
	err := patiently(func() (err error) {
		l, err = s.Load(t.Context(), ref, "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mustAppend appends a commit of one event. Of what a busy machine leaves open it finds out as
// the only writer does.
func mustAppend(t testing.TB, s persistence.Store, ref holdfast.Ref, after persistence.Head) persistence.Head {
	t.Helper()
	tries := 0
	var h persistence.Head
	err := patiently(func() (err error) {
		tries++
		if h, err = tryAppend(t, s, ref, after); late(err) || tries > 1 && errors.Is(err, holdfast.ErrConflict) {
			l, lost := s.Load(t.Context(), ref, "")
			if n := len(l.Commits); lost == nil && n > 0 && l.Commits[n-1].Previous == after.Position.Sequence() {
				h, err = l.Head, nil
			}
		}
		return err
	})
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
	case <-time.After(long):
		t.Fatalf("append to %s: no answer", ref)
		panic("unreachable")
	}
}
