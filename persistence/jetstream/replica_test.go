package jetstream_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// onReplicas are tests that share three servers, each of which has a replica.
var onReplicas = []struct {
	name string
	test func(*testing.T, *servers)
}{
	{"each is read", testEachReplica},
	{"there is one", testOneReplica},
	{"while leaders change", testReplicasWhileLeadersChange},
	{"one comes back empty", testReplicaComesBackEmpty},
	{"one goes", testReplicaGoes},
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	for _, c := range onReplicas {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}

// reader opens a log for reading, by way of one server.
func (s *servers) reader(t *testing.T, cfg jetstream.Config, i int) *jetstream.Store {
	t.Helper()
	cfg.Existing, cfg.Read, cfg.ReadTimeout = true, []*nats.Conn{s.connect(t, i)}, cmp.Or(cfg.ReadTimeout, patient)
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	store, err := jetstream.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// verifyInTime verifies what one replica has, as soon as that can be reached.
func verifyInTime(t *testing.T, store *jetstream.Store, cfg jetstream.Config, replica string, filter persistence.Filter) (v persistence.Verified, found []persistence.Finding, err error) {
	t.Helper()
	err = patiently(func() (err error) {
		v, found, err = verify(t, store, cfg, replica, filter)
		return err
	})
	return v, found, err
}

// verify verifies what one replica has.
func verify(t *testing.T, store *jetstream.Store, cfg jetstream.Config, replica string, filter persistence.Filter) (persistence.Verified, []persistence.Finding, error) {
	t.Helper()
	var found []persistence.Finding
	v, err := persistence.Verify(t.Context(), store, persistence.VerifyConfig{
		Context: cfg.Context, Filter: filter, Replica: replica,
		Report: func(f persistence.Finding) { found = append(found, f) },
	})
	return v, found, err
}

func described(t *testing.T, store *jetstream.Store) []string {
	t.Helper()
	var partitions []persistence.Partition
	err := patiently(func() (err error) {
		partitions, err = store.Describe(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range partitions[1:] {
		if !slices.Equal(p.Replicas, partitions[0].Replicas) {
			t.Fatalf("%+v differ in their replicas", partitions)
		}
	}
	return partitions[0].Replicas
}

// testEachReplica has bytes flipped on one server's disk, in the midst of the log and at its
// end: they are found on that replica, and the others have nothing of it.
func testEachReplica(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "each"}
	store := s.open(t, cfg)
	const commits = 20
	refs := []holdfast.Ref{{Type: "each", ID: "a"}, {Type: "each", ID: "b"}, {Type: "each", ID: "last"}}
	heads := make([]persistence.Head, len(refs))
	for range commits {
		for i, ref := range refs {
			heads[i] = mustAppend(t, store, ref, heads[i])
		}
	}
	l, end := mustLoad(t, store, refs[0]), mustLoad(t, store, refs[2])
	damaged := []persistence.Commit{l.Commits[10], end.Commits[commits-1]}
	store.Close()
	const bad = 1
	s.damage(t, bad, slices.Values(damaged))
	store = s.reader(t, cfg, 0)
	replicas := described(t, store)
	if len(replicas) != len(s.list) {
		t.Fatalf("the log is kept on %v", replicas)
	}
	for i, one := range s.list {
		name := one.Config().Name
		if replicas[i] != name {
			t.Errorf("replica %d is %s, want %s", i, replicas[i], name)
		}
		for _, c := range []struct {
			filter          persistence.Filter
			missing, beyond int // commits
		}{
			{persistence.Filter{}, 2, len(refs) * commits},
			{persistence.Filter{Type: "each"}, 2, len(refs) * commits},
			{persistence.Filter(refs[0]), 1, commits},
			{persistence.Filter(refs[1]), 0, commits},
			{persistence.Filter(refs[2]), 1, commits},
		} {
			if i != bad {
				c.missing = 0
			}
			v, found, err := verifyInTime(t, store, cfg, name, c.filter)
			if err != nil || len(found) != c.missing || int(v.Commits) != c.beyond-c.missing {
				t.Errorf("%s, %+v: verified %+v with the findings %+v, %v, want %d", name, c.filter, v, found, err, c.missing)
			}
			if c.filter.All() && len(found) == len(damaged) && (found[0].Position != damaged[0].Position || found[1].Position != damaged[1].Position) {
				t.Errorf("%s: found at %s and %s", name, found[0].Position, found[1].Position)
			}
		}
	}
	left, js := 1, streams(t, s)
	for deadline := time.Now().Add(long); left > 0 && time.Now().Before(deadline); { // not all are gone at once
		if info, err := streamInfo(t.Context(), js, "EACH_LOG_0"); err == nil {
			left = info.State.Consumers
		}
	}
	if left > 0 {
		t.Errorf("%d consumers are left", left)
	}
	err := patiently(func() error {
		_, err := store.Scan(t.Context(), persistence.ScanOptions{Replica: "holdfast-4"}, nil)
		return err
	})
	if !errors.Is(err, holdfast.ErrMalformed) || !strings.Contains(err.Error(), "holdfast-4") {
		t.Errorf("a replica that is not there: %v, want malformed", err)
	}
}

// testOneReplica reads the only copy by its name.
func testOneReplica(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "copy", Replicas: 1}
	store := s.open(t, cfg)
	const commits = 30
	appendMany(t, store, commits, nil)
	replicas := described(t, store)
	if len(replicas) != 1 {
		t.Fatalf("it is kept on %v", replicas)
	}
	for _, one := range s.list {
		name := one.Config().Name
		v, found, err := verifyInTime(t, store, cfg, name, persistence.Filter{})
		switch kept := name == replicas[0]; {
		case kept && (err != nil || len(found) > 0 || v.Commits != commits):
			t.Errorf("verified %+v with the findings %+v, %v", v, found, err)
		case !kept && !errors.Is(err, holdfast.ErrMalformed):
			t.Errorf("%s has nothing of it: %v", name, err)
		}
	}
}

// testReplicasWhileLeadersChange has the leader step down time and again.
func testReplicasWhileLeadersChange(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "leaders"}
	store := s.open(t, cfg)
	const commits = 2000
	appendMany(t, store, commits, make([]byte, 10_000))
	nc := s.connect(t, 0)
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		pause := time.NewTicker(200 * time.Millisecond)
		defer pause.Stop()
		n := 0
		for {
			select {
			case <-stop:
				stopped <- n
				return
			case <-pause.C: // refused while there is no leader
				if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.LEADERS_LOG_0", nil, time.Second); err == nil {
					n++
				}
			}
		}
	}()
	for range 3 {
		for _, name := range described(t, store) {
			v, found, err := verifyInTime(t, store, cfg, name, persistence.Filter{})
			if err != nil || len(found) > 0 || v.Commits != commits {
				t.Errorf("%s: verified %+v with the findings %+v, %v", name, v, found, err)
			}
		}
	}
	close(stop)
	t.Logf("%d leaders have stepped down", <-stopped)
}

// testReplicaComesBackEmpty has a server lose its replica while it is away, and get it
// back from the others. JetStream says for some seconds that it does not lag.
func testReplicaComesBackEmpty(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "empty", ReadTimeout: time.Second}
	store := s.open(t, cfg)
	const commits, away = 300, 2
	appendMany(t, store, commits, make([]byte, 1000))
	lead(t, s, streams(t, s), "EMPTY_LOG_0", s.list[away].Config().DataDir)
	s.list[away].Stop()
	if err := os.RemoveAll(filepath.Join(s.list[away].Config().DataDir, "jetstream", "CORE", "streams", "EMPTY_LOG_0")); err != nil {
		t.Fatal(err)
	}
	back, err := startAgain(t, s.list[away])
	if err != nil {
		t.Fatal(err)
	}
	s.list[away] = back
	begin := time.Now()
	for _, filter := range []persistence.Filter{{Type: "t"}, {}} {
		v, found, err := verifyInTime(t, s.reader(t, cfg, 0), cfg, back.Config().Name, filter)
		if err != nil || len(found) > 0 || v.Commits != commits {
			t.Errorf("%+v: verified %+v with the findings %+v, %v", filter, v, found, err)
		}
		t.Logf("verified after %v", time.Since(begin))
	}
}

// testReplicaGoes has the leader stop while its replica is read: what follows is no finding,
// and the others can still be read.
func testReplicaGoes(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "goes", ReadTimeout: time.Second}
	store := s.open(t, cfg)
	const commits, gone = 3000, 1
	appendMany(t, store, commits, make([]byte, 10_000))
	name := s.list[gone].Config().Name
	lead(t, s, streams(t, s), "GOES_LOG_0", s.list[0].Config().DataDir)
	reader := s.reader(t, cfg, 0)
	n := 0
	begin := time.Now()
	_, err := reader.Scan(t.Context(), persistence.ScanOptions{Replica: name}, func(persistence.Record) error {
		if n++; n == 100 {
			s.list[gone].Stop()
		}
		return nil
	})
	t.Logf("%d records, %v, after %v", n, err, time.Since(begin))
	if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), name+": its server is offline") {
		t.Errorf("error is %v, want that %s is offline", err, name)
	}
	if n == commits {
		t.Fatal("it had all before the server stopped")
	}
	for _, replica := range described(t, reader) {
		check := verifyInTime
		if replica == name {
			check = verify
		}
		_, found, err := check(t, reader, cfg, replica, persistence.Filter{})
		if len(found) > 0 || (err != nil) != (replica == name) {
			t.Errorf("%s: findings %+v, %v", replica, found, err)
		}
	}
	t.Logf("all verified after %v", time.Since(begin))
	back, err := startAgain(t, s.list[gone])
	if err != nil {
		t.Fatal(err)
	}
	s.list[gone] = back
	if v, found, err := verifyInTime(t, reader, cfg, name, persistence.Filter{}); err != nil || len(found) > 0 || v.Commits != commits {
		t.Errorf("when it is back: verified %+v with the findings %+v, %v", v, found, err)
	}
}

// TestReplicaIsMoved has a replica be moved to another server while it is read.
func TestReplicaIsMoved(t *testing.T) {
	t.Parallel()
	s := startServers(t, 4, func(c *natsd.Config) { c.RelaxedSync = true })
	cfg := jetstream.Config{Context: "moved", Replicas: 3}
	store := s.open(t, cfg)
	const commits = 300
	appendMany(t, store, commits, make([]byte, 100_000))
	replicas := described(t, store)
	from := replicas[1]
	n := 0
	_, err := store.Scan(t.Context(), persistence.ScanOptions{Replica: from}, func(persistence.Record) error {
		if n++; n == 10 {
			m, err := s.connect(t, 0).Request("$JS.API.STREAM.PEER.REMOVE.MOVED_LOG_0", []byte(`{"peer":"`+from+`"}`), 30*time.Second)
			if err != nil {
				return err
			}
			t.Logf("%s", m.Data)
			for deadline := time.Now().Add(long); slices.Contains(described(t, store), from); {
				if time.Now().After(deadline) {
					return errors.New("it is not moved")
				}
			}
		}
		return nil
	})
	t.Logf("%d records of %s of %v, %v, now %v", n, from, replicas, err, described(t, store))
	if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), from+" keeps no replica any more") {
		t.Errorf("error is %v, want unavailable", err)
	}
}

// TestScanEndsWithoutAMajority has two of three servers stop in the midst of a scan.
func TestScanEndsWithoutAMajority(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3, func(c *natsd.Config) { c.RelaxedSync = true })
	cfg := jetstream.Config{Context: "alone", ReadTimeout: quick}
	store := s.open(t, cfg)
	appendMany(t, store, 5000, make([]byte, 10_000))
	reader, n := s.reader(t, cfg, 0), 0
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var err error
	for n < 10 && ctx.Err() == nil { // it may end before that on a busy machine
		_, err = reader.Scan(ctx, persistence.ScanOptions{}, func(persistence.Record) error {
			if n++; n == 10 {
				var all sync.WaitGroup
				for _, one := range s.list[1:] {
					all.Go(one.Stop)
				}
				all.Wait()
			}
			return nil
		})
	}
	t.Logf("%d records, %v, after %v", n, err, time.Since(begin))
	if n < 5000 && !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("error is %v, want unavailable", err)
	}
	_, err = reader.Scan(ctx, persistence.ScanOptions{}, nil)
	t.Logf("another: %v, after %v", err, time.Since(begin))
	if !errors.Is(err, holdfast.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("another: error is %v, want unavailable", err)
	}
}

// TestScanOverABrokenLine has messages get lost on their way.
func TestScanOverABrokenLine(t *testing.T) {
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen, c.RelaxedSync = "127.0.0.1:0", true })
	cfg := jetstream.Config{Context: "line"}
	const commits = 3000
	appendMany(t, s.open(t, cfg), commits, make([]byte, 10_000))
	proxy := persistencetest.NewProxy(t, s.address(t))
	read := s.connectThrough(t, proxy.Address())
	store := s.open(t, jetstream.Config{Context: "line", Read: []*nats.Conn{read}})
	n := 0
	unread, err := store.Scan(t.Context(), persistence.ScanOptions{}, func(r persistence.Record) error {
		if n++; r.Position.Sequence() != uint64(n) {
			return fmt.Errorf("record %d comes as the %d", r.Position.Sequence(), n)
		}
		if n%500 == 0 {
			proxy.Break()
		}
		return nil
	})
	if err != nil || unread != 0 || n != commits {
		t.Errorf("read %d of %d commits, %d unread: %v", n, commits, unread, err)
	}
}
