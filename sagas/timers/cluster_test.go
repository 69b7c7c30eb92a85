package timers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/sagas/timers"
)

// TestElections: the stream and the consumer have one leader after the other while timers
// are set, fall due and are handled; every one comes, and nothing is left.
func TestElections(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	cfg := timers.Config{Workers: 16}.Hurry(2*quick, hurry)
	cfg.Conn = s.connect(t, 0)
	one := s.open(t, cfg)
	cfg.Conn = s.connect(t, 1)
	other := s.open(t, cfg)
	var failed sync.Map
	handle := func(_ context.Context, one timers.Timer) error {
		if _, again := failed.LoadOrStore(one.Key, true); !again && strings.HasSuffix(one.Key, "7") {
			return errors.New("the first time")
		}
		return nil
	}
	a, b := start(t, one, handle), start(t, other, handle)

	const n = 40
	nc := s.connect(t, 2)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var elections atomic.Int64
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			subject := "$JS.API.STREAM.LEADER.STEPDOWN.SHOP_TIMERS"
			if i%3 == 2 {
				subject = "$JS.API.CONSUMER.LEADER.STEPDOWN.SHOP_TIMERS.due"
			}
			if _, err := nc.Request(subject, nil, time.Second); err == nil {
				elections.Add(1)
			}
			select {
			case <-stop:
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	ctx := within(t, 3*long)
	missing := map[string]bool{}
	for round := range n {
		list := batch(20, fmt.Sprint("r", round), time.Duration(round%5)*200*time.Millisecond)
		set := one
		if round%2 == 1 {
			set = other
		}
		if err := set.SetAll(ctx, list); err != nil {
			t.Fatal(err)
		}
		for _, timer := range list {
			missing[timer.Key] = true
		}
		<-time.After(50 * time.Millisecond)
	}
	again := 0
	deadline := time.After(2 * long)
	for len(missing) > 0 {
		var came arrival
		select {
		case came = <-a.came:
		case came = <-b.came:
		case <-deadline:
			t.Fatalf("%d timers have not come: %v", len(missing), missing)
		}
		if !missing[came.Key] {
			again++
		}
		delete(missing, came.Key)
	}
	close(stop)
	<-stopped
	awaitStatus(t, one, 0, 0)
	s.awaitSwept(t, 0)
	t.Logf("%d elections; %d of %d timers came again", elections.Load(), again+len(a.came)+len(b.came), 20*n)
}

// TestServersDie: one server after the other goes and comes back; whoever sets timers
// meanwhile only waits, and all timers come.
func TestServersDie(t *testing.T) {
	t.Parallel()
	s := startServers(t, 3)
	cfg := timers.Config{}.Hurry(2*quick, hurry)
	missing := map[string]bool{}
	all := s.open(t, cfg)
	for round := range 2 {
		down := (round + 1) % 3 // the connection is to the first
		list := batch(50, fmt.Sprint("r", round), 100*time.Millisecond)
		s.list[down].Stop()
		if err := all.SetAll(within(t, long), list); err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			missing[one.Key] = true
		}
		s.start(t, down)
	}
	r := start(t, all, nil)
	for len(missing) > 0 {
		delete(missing, r.next().Key)
	}
	awaitStatus(t, all, 0, 0)
	s.awaitSwept(t, 0)
}
