package natsd_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// lag says which replicas of the log do not have everything.
func lag(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), attempt)
	defer cancel()
	log, err := js.Stream(ctx, logName)
	if err != nil {
		return err
	}
	for _, r := range log.CachedInfo().Cluster.Replicas {
		if !r.Current || r.Lag > 0 {
			return fmt.Errorf("%s lags behind by %d", r.Name, r.Lag)
		}
	}
	return nil
}

// A member that starts has caught up with the others, so that the next one may be stopped.
func TestStartCatchesUp(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 3)
	js := stream(t, connect(t, servers[0], natsd.Node))
	makeLog(t, connect(t, servers[0], natsd.Node), 3)
	last := servers[2]
	var err error
	for range 5 { // a busy machine may take longer than it waits, or show so in this moment
		last.Stop()
		grow(t, js)
		last = start(t, last.Config())
		if err = lag(t, js); err == nil {
			return
		}
		t.Log(err)
	}
	t.Error(err)
}

// grow has the log take a while to catch up with.
func grow(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for range 300 {
		if _, err := js.PublishAsync(demo+".log.0.account.a-1", make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-within(t).Done():
		t.Fatal("the log does not grow")
	}
}
