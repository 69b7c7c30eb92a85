package jetstream_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

// TestScanWhileAReplicaCatchesUp scans for a commit that one of the servers does not have
// yet: a scan gives it, or says that it cannot, whichever server it reads from.
func TestScanWhileAReplicaCatchesUp(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3, func(c *natsd.Config) { c.RelaxedSync = true }) // or a busy disk has them elect a leader
	store := s.open(t, jetstream.Config{Context: "behind", Read: []*nats.Conn{s.connect(t, 0), s.connect(t, 1)}})
	lead(t, s, streams(t, s), "BEHIND_LOG_0", s.list[2].Config().DataDir)
	s.list[2].Stop()
	const aggregates, rounds = 64, 20
	heads, lives := make([]persistence.Head, aggregates), make([]int, aggregates)
	for range rounds {
		answers := make(chan int, aggregates)
		for i := range aggregates {
			changes := []*messages.Change{{Events: []*messages.Event{{Type: "t", Data: bytes.Repeat([]byte("x"), 100_000)}}}}
			store.Append(holdfast.Ref{Type: "bulk", ID: fmt.Sprintf("%d-%d", i, lives[i])}, heads[i], changes, func(h persistence.Head, err error) {
				if heads[i] = h; err != nil { // a busy machine elects a leader: another aggregate then
					t.Log(err)
					heads[i] = persistence.Head{}
					lives[i]++
				}
				answers <- i
			})
		}
		for range aggregates {
			<-answers
		}
	}
	ref := holdfast.Ref{Type: "late", ID: "a"}
	h := mustAppend(t, store, ref, persistence.Head{})
	started := make(chan error, 1)
	go func() {
		back, err := startAgain(t, s.list[2])
		if err == nil {
			s.list[2] = back
		}
		started <- err
	}()
	scan := func() {
		t.Helper()
		found := false
		unread, err := store.Scan(t.Context(), persistence.ScanOptions{Filter: persistence.Filter(ref)}, func(r persistence.Record) error {
			found = found || r.Position == h.Position
			return nil
		})
		if err == nil && !found && unread == 0 {
			t.Fatal("a scan does not give a commit that is in the log, and does not say so")
		}
	}
	for len(started) == 0 {
		scan()
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for range 200 {
		scan()
	}
}
