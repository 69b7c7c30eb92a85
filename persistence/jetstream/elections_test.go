package jetstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// A new leader answers nothing that the last one was asked. It is asked anew at once, and
// not when the time is up.
func TestElection(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	for deadline := time.Now().Add(long); !elect(t, s); { // a busy machine may take too long for it
		if time.Now().After(deadline) {
			t.Fatal("what the last leader was asked waits for it")
		}
	}
}

// elect reports whether all is asked anew before the server finds that the connections are
// silent.
func elect(t *testing.T, s *servers) bool {
	t.Helper()
	appends, reads := persistencetest.NewProxy(t, s.address(t)), persistencetest.NewProxy(t, s.address(t))
	store := s.open(t, jetstream.Config{
		Context: "elected", Publish: s.connectThrough(t, appends.Address()), Read: []*nats.Conn{s.connect(t, 1), s.connectThrough(t, reads.Address())},
		AppendTimeout: 20 * time.Second, ReadTimeout: 20 * time.Second,
	})
	ref := holdfast.Ref{Type: "account", ID: "a-1"}
	before := mustLoad(t, store, ref).Head
	appends.LoseRequests()
	reads.LoseRequests()
	over := make(chan error, 3)
	change := &messages.Change{Command: "Open", CommandId: "c-1", Events: []*messages.Event{{Type: "test.v1.Opened"}}}
	store.Append(ref, before, []*messages.Change{change}, func(_ persistence.Head, err error) { over <- err })
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	for range 2 { // one over each connection
		go func() {
			_, err := store.Load(ctx, ref, "")
			over <- err
		}()
	}
	nc := s.connect(t, 0)
	elect := time.NewTicker(500 * time.Millisecond)
	defer elect.Stop()
	uncertain := 0
	for done := 0; done < 3; {
		select {
		case err := <-over:
			done++
			if errors.Is(err, holdfast.ErrUncertain) {
				uncertain++
			} else if ctx.Err() != nil {
				return false
			} else if err != nil {
				t.Error(err)
			}
		case <-elect.C:
			_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.ELECTED_LOG_0", nil, time.Second) // or there is none just now
		case <-ctx.Done():
			return false
		}
	}
	if uncertain != 1 {
		t.Errorf("%d answers are uncertain, want that of the append", uncertain)
	}
	return true
}
