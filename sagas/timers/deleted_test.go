package timers_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/sagas/timers"
)

// TestOpenWhileItsConsumerIsDeleted: the server may be asked for a consumer while it is still
// at removing the last one of that name, which it then says it cannot make.
func TestOpenWhileItsConsumerIsDeleted(t *testing.T) {
	s := startServers(t, 1)
	cfg := timers.Config{Conn: s.connect(t, 0)}
	s.open(t, cfg)
	js, ctx := s.jetStream(t), within(t, long)
	var opening sync.WaitGroup
	for range 4 {
		opening.Go(func() {
			for range 50 {
				if _, err := s.tryOpen(t, cfg); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		opening.Wait()
	}()
	for {
		if err := js.DeleteConsumer(ctx, "SHOP_TIMERS", "due"); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
		select {
		case <-opened:
			return
		default:
		}
	}
}
