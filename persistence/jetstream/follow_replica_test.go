package jetstream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// several is how many follow, so that some are on each of three servers.
const several = 6

func followAll(t *testing.T, store *jetstream.Store) []*persistencetest.Following {
	t.Helper()
	var all []*persistencetest.Following
	for range several {
		all = append(all, persistencetest.Follow(t, store, begin))
	}
	return all
}

// TestFollowReplicas follows on three servers.
func TestFollowReplicas(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	for _, c := range []struct {
		name string
		test func(*testing.T, *servers)
	}{
		{"while leaders change", testFollowWhileLeadersChange},
		{"while servers stop", testFollowWhileServersStop},
		{"there is one, and its server stops", testFollowTheOnlyReplica},
		{"one is damaged", testFollowADamagedReplica},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}

// testFollowWhileLeadersChange has the leader step down time and again.
func testFollowWhileLeadersChange(t *testing.T, s *servers) {
	store := s.open(t, jetstream.Config{Context: "elects"})
	all := followAll(t, store)
	c := startCrowd(t, store, "w", 100)
	nc := s.connect(t, 0)
	pause := time.NewTicker(300 * time.Millisecond)
	defer pause.Stop()
	for n := 0; n < 8; <-pause.C {
		if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.ELECTS_LOG_0", nil, time.Second); err == nil {
			n++
		}
	}
	c.await(t, 100)
	c.wantGiven(t, all...)
}

// testFollowWhileServersStop has each server stop for a while, also that by which the
// others are reached.
func testFollowWhileServersStop(t *testing.T, s *servers) {
	store := s.open(t, jetstream.Config{
		Context: "stops", ReadTimeout: 2 * time.Second, AppendTimeout: 2 * time.Second,
		Publish: s.lasting(t, 0), Read: []*nats.Conn{s.lasting(t, 0)},
	})
	all := followAll(t, store)
	c := startCrowd(t, store, "w", 100)
	for i := range s.list {
		c.await(t, 200)
		lead(t, s, streams(t, s), "STOPS_LOG_0", s.list[i].Config().DataDir)
		begin := time.Now()
		s.list[i].Stop()
		if i > 0 {
			c.await(t, 200)
			written := time.Since(begin)
			var partitions []persistence.Partition
			err := patiently(func() (err error) {
				partitions, err = store.Describe(t.Context())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				f.Until(t, holdfast.NewPosition(0, partitions[0].Last))
			}
			t.Logf("without %s the writers go on after %s, those who follow after %s", s.list[i].Config().Name, written, time.Since(begin))
		}
		back, err := startAgain(t, s.list[i])
		if err != nil {
			t.Fatal(err)
		}
		s.list[i] = back
	}
	c.await(t, 200)
	c.wantGiven(t, all...)
}

// testFollowTheOnlyReplica has the server stop that has it.
func testFollowTheOnlyReplica(t *testing.T, s *servers) {
	store := s.open(t, jetstream.Config{
		Context: "alone", Replicas: 1, ReadTimeout: 2 * time.Second, AppendTimeout: 2 * time.Second,
		Publish: s.lasting(t, 0), Read: []*nats.Conn{s.lasting(t, 0)},
	})
	all := followAll(t, store)
	c := startCrowd(t, store, "w", 100)
	c.await(t, 200)
	at := described(t, store)
	for i, one := range s.list {
		if len(at) != 1 || one.Config().Name != at[0] {
			continue
		}
		one.Stop()
		<-time.After(2 * time.Second)
		back, err := startAgain(t, one)
		if err != nil {
			t.Fatal(err)
		}
		s.list[i] = back
		c.await(t, 200)
		c.wantGiven(t, all...)
		return
	}
	t.Fatalf("it is kept on %v", at)
}

// testFollowADamagedReplica has a byte flipped on one server's disk: others have it, also
// when it is the leader who has not.
func testFollowADamagedReplica(t *testing.T, s *servers) {
	cfg := jetstream.Config{Context: "damaged", ReadTimeout: 2 * time.Second}
	store := s.open(t, cfg)
	ref := holdfast.Ref{Type: "damaged", ID: "a"}
	var h persistence.Head
	for range 20 {
		h = mustAppend(t, store, ref, h)
	}
	l := mustLoad(t, store, ref)
	store.Close()
	damaged := s.list[0].Config().DataDir
	s.awaitOnDisk(t, 0, l.Commits[7].Body, l.Commits[8].Body, l.Commits[19].Body)
	s.restart(t, func() {
		flip(t, damaged, l.Commits[7].Body)
		flip(t, damaged, l.Commits[8].Body)
		flip(t, damaged, l.Commits[19].Body) // the last
	})
	store = s.open(t, cfg)
	for _, not := range []string{damaged, ""} {
		lead(t, s, streams(t, s), "DAMAGED_LOG_0", not)
		begun := time.Now()
		for _, f := range followAll(t, store) {
			for i, r := range f.Until(t, h.Position) {
				if want := l.Commits[i]; r.Position != want.Position || string(r.Body) != string(want.Body) || r.Subject == "" || time.Since(r.Time) > time.Hour {
					t.Fatalf("record %d is %+v, want that at %s", i, r, want.Position)
				}
			}
			f.Stop(t)
		}
		t.Logf("all are given after %s", time.Since(begun))
	}
}
