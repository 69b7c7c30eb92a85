package jetstream_test

import (
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
)

var staleLoads = flag.Int("stale.loads", 3000, "how many loads TestLoadIsNotStale makes")

// A commit that has been acknowledged is in whatever another node loads from that moment
// on, though the replica that it asks may not have it yet.
func TestLoadIsNotStale(t *testing.T) {
	s := startServers(t, 3)
	writer := s.open(t, jetstream.Config{Context: "stale", Publish: s.connect(t, 0), Read: []*nats.Conn{s.connect(t, 0)}})
	var readers []*jetstream.Store
	for i := range 3 {
		readers = append(readers, s.open(t, jetstream.Config{Context: "stale", Publish: s.connect(t, i), Read: []*nats.Conn{s.connect(t, i), s.connect(t, i)}}))
	}
	for i, r := range readers {
		mustAppend(t, r, holdfast.Ref{Type: "account", ID: fmt.Sprint("of-", i)}, persistence.Head{}) // which it knows then
	}
	most := int64(*staleLoads)
	if testing.Short() {
		most /= 5
	}
	deadline := time.Now().Add(2 * long)
	var loads, stale, asked atomic.Int64
	var wg sync.WaitGroup
	for worker := range 4 { // with more, a replica has caught up until one of them is scheduled
		wg.Go(func() {
			var ref holdfast.Ref
			var head persistence.Head
			for n := 0; loads.Add(1) <= most && time.Now().Before(deadline); n++ {
				if n%10 == 0 {
					ref, head = holdfast.Ref{Type: "account", ID: fmt.Sprintf("a-%d-%d", worker, n)}, persistence.Head{}
					// So that it expects the next one to be new as well.
					if _, err := readers[n%3].Load(t.Context(), holdfast.Ref{Type: "account", ID: "none-of-" + ref.ID}, ""); err != nil && !late(err) {
						t.Errorf("load what is new: %v", err)
					}
				}
				appended := make(chan error, 1)
				change := &messages.Change{Command: "Deposit", CommandId: fmt.Sprint("c-", n), Events: []*messages.Event{{Type: "test.v1.Deposited"}}}
				writer.Append(ref, head, []*messages.Change{change}, func(h persistence.Head, err error) {
					head = h
					appended <- err
				})
				if err := <-appended; errors.Is(err, holdfast.ErrConflict) || late(err) {
					n += 9 - n%10 // to another aggregate
					loads.Add(-1)
					continue // a busy server is still at the one before, in spite of its acknowledgement
				} else if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				var l persistence.Loaded
				err := patiently(func() (err error) {
					l, err = readers[n%3].Load(t.Context(), ref, "")
					return err
				})
				asked.Add(1)
				if err != nil {
					t.Errorf("load: %v", err)
				} else if l.Head.Position != head.Position {
					stale.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d loads were stale", stale.Load(), asked.Load())
	if stale.Load() > 0 || asked.Load() < most*99/100 {
		t.Errorf("%d of %d loads were stale", stale.Load(), asked.Load())
	}
}
