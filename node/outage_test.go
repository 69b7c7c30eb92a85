package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// A beat tells for how long nothing at all went on in this process.
type beat struct {
	mu    sync.Mutex
	last  time.Time
	stood time.Duration
}

const beatEvery = 10 * time.Millisecond

func startBeat(t *testing.T) *beat {
	b := &beat{last: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(beatEvery); ; {
			select {
			case <-tick.C:
				b.still()
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// still gives how long that was until now.
func (b *beat) still() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.stood += max(0, now.Sub(b.last)-2*beatEvery)
	b.last = now
	return b.stood
}

// NATS is away for longer than the lease: the node answers at once that it is, and serves
// again soon after it is back.
func TestOutage(t *testing.T) {
	t.Parallel()
	door, url := newDoor(t)
	c := config(t)
	external(&c, url)
	c.Lease = time.Second
	n := start(t, c)
	open(t, n)
	machine := startBeat(t)
	send := func(i int) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		begun, stood := time.Now(), machine.still()
		_, err := n.Sender().Send(ctx, holdfast.Ref{Type: "account", ID: fmt.Sprint("a-", i%50)}, &bankpb.OpenAccount{Owner: "Ada"}, holdfast.WithID(fmt.Sprint("d-", i)))
		return time.Since(begun) - (machine.still() - stood), err
	}
	poll(t, "it serves", func() bool { _, err := send(0); return err == nil })
	door.set(true)
	down := time.Now()
	var longest time.Duration
	requests := 0
	for i := 1; time.Since(down) < 3*time.Second; i++ {
		took, err := send(i)
		if !errors.Is(err, holdfast.ErrUnavailable) && !errors.Is(err, holdfast.ErrUncertain) {
			t.Fatalf("while NATS is away: %v", err)
		}
		longest = max(longest, took)
		requests++
		<-time.After(5 * time.Millisecond)
	}
	door.set(false)
	back := time.Now()
	for i := 10_000; ; i++ {
		if _, err := send(i); err == nil || holdfast.CodeOf(err) == holdfast.CodeRejected {
			break
		}
		if time.Since(back) > time.Minute {
			t.Fatal("it does not serve again")
		}
		<-time.After(5 * time.Millisecond)
	}
	if longest > time.Second {
		t.Errorf("the slowest refusal took %v", longest)
	}
	t.Logf("%d requests were refused, the slowest in %v; served again %v after NATS was back", requests, longest, time.Since(back))
}
