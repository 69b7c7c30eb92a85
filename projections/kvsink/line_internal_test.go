package kvsink

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// An answer that never comes is not waited for until the end, and what is asked is asked again
// while servers elect; but not what is refused.
func TestPatiently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tries := 0
		err := patiently(ctx, func(ctx context.Context) error {
			switch tries++; tries {
			case 1:
				<-ctx.Done()
				return ctx.Err()
			case 2:
				return nats.ErrNoResponders
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Errorf("after %d tries it gives %v", tries, err)
		}
		refused := errors.New("no")
		if err := patiently(ctx, func(context.Context) error { return refused }); !errors.Is(err, refused) {
			t.Errorf("what is refused gives %v", err)
		}
		err = patiently(ctx, func(context.Context) error { return nats.ErrNoResponders })
		if !errors.Is(err, nats.ErrNoResponders) || ctx.Err() == nil {
			t.Errorf("in the end it gives %v", err)
		}
	})
}
