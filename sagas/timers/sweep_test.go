package timers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// TestSweep: nothing is left of timers that were handled, and everything of others.
func TestSweep(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{}.Hurry(quick, hurry))
	set(t, all, batch(10, "pending", time.Hour)...)
	r := start(t, all, nil)
	set(t, all, batch(100, "k", 0)...)
	s.awaitSwept(t, 10)
	// The Run that ends sweeps as well, unless the server is too busy for it.
	swept := false
	for n := 0; !swept && n < 10; n++ {
		last := fmt.Sprint("last-", n)
		set(t, all, at("o-1", last, 0))
		for a := r.next(); a.Key != last; a = r.next() {
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if swept = s.messages(t) == 10; !swept {
			r = start(t, all, nil)
		}
	}
	if !swept {
		t.Error("what was handled in the end is left")
	}
	awaitStatus(t, all, 10, 0)
}

// messages is how many there are in the stream.
func (s *servers) messages(t *testing.T) uint64 {
	t.Helper()
	stream, err := s.jetStream(t).Stream(within(t, long), "SHOP_TIMERS")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// TestSweepOfWhatIsLeft: a Run sweeps what one before it handled, and had no time to.
func TestSweepOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	untilQuick(t, 1, sweepOfWhatIsLeft)
}

func sweepOfWhatIsLeft(t *testing.T, s *servers) error {
	t.Helper()
	cfg := timers.Config{}.Hurry(long, hurry) // the first sweep is after a second
	cfg.Conn = s.connect(t, 0)
	dying := s.open(t, cfg)
	set(t, dying, batch(20, "k", 0)...)
	awaitStatus(t, dying, 0, 20)
	r := start(t, dying, nil)
	for range 20 {
		r.next()
	}
	awaitStatus(t, dying, 0, 0)
	cfg.Conn.Close()
	if n := s.messages(t); n != 20 {
		return fmt.Errorf("the first sweep has left %d", n)
	}
	cfg.Conn = nil
	r = start(t, s.open(t, cfg), nil)
	s.awaitSwept(t, 0)
	r.quiet(hurry)
	return nil
}

// TestSweepOfWhatWasHeardLate: also a timer goes of which the server did not say in time that it
// has heard.
func TestSweepOfWhatWasHeardLate(t *testing.T) {
	t.Parallel()
	s := startServers(t, 1)
	admin, err := natsd.ReadAdmin(s.list[0].Config().DataDir)
	if err != nil {
		t.Fatal(err)
	}
	line := persistencetest.NewProxy(t, strings.TrimPrefix(admin.URL, "nats://"))
	nc, err := natsd.Dial("nats://"+line.Address(), nats.UserInfo(admin.User, admin.Password), nats.IgnoreDiscoveredServers(), nats.Timeout(long))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	late := make(chan slog.Record, 1000)
	all := s.open(t, timers.Config{Conn: nc, Logger: slog.New(records(late))}.Hurry(long, hurry))
	r := start(t, all, func(context.Context, timers.Timer) error {
		line.HoldRequests()
		return nil
	})
	set(t, s.open(t, timers.Config{}), at("o-1", "k", 0))
	r.next()
	for record := range late {
		if strings.Contains(record.Message, "may come again") {
			break
		}
	}
	line.Release()
	s.awaitSwept(t, 0)
}

// TestSweepTakesOnlyWhatIsHandled: of many timers some fail, some are slow, and two Runs
// begin and end; no timer is gone before a handle has returned nil.
func TestSweepTakesOnlyWhatIsHandled(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("servers=%d", n), func(t *testing.T) {
			s := startServers(t, n)
			cfg := timers.Config{Workers: 16}.Hurry(quick, hurry)
			all := s.open(t, cfg)
			const many = 1200
			var mu sync.Mutex
			calls, handled := map[string]int{}, map[string]bool{}
			done := make(chan struct{})
			handle := func(ctx context.Context, one timers.Timer) error {
				mu.Lock()
				calls[one.Key]++
				first := calls[one.Key] == 1
				mu.Unlock()
				switch kind := one.Key[len(one.Key)-1]; {
				case kind == '0' && first:
					return errors.New("the first time")
				case kind == '5' && first:
					select {
					case <-time.After(quick / 10):
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				mu.Lock()
				defer mu.Unlock()
				handled[one.Key] = true
				if len(handled) == many {
					close(done)
				}
				return nil
			}
			start(t, all, handle)
			go func() {
				_ = all.SetAll(within(t, 2*long), batch(many, "k", 0)) // if it fails, not all come
			}()
			deadline := time.After(3 * long)
			for ended := false; !ended; {
				other := start(t, s.open(t, cfg), handle)
				select {
				case <-done:
					ended = true
				case <-time.After(quick / 4):
				case <-deadline:
					mu.Lock()
					defer mu.Unlock()
					t.Fatalf("only %d timers have been handled", len(handled))
				}
				if err := other.stop(); err != nil {
					t.Fatal(err)
				}
			}
			start(t, s.open(t, cfg), handle) // on a busy machine the last one may have ended without
			s.awaitSwept(t, 0)
		})
	}
}

// TestPoisonIsSweptAround: timers that always fail go behind the others that are handled,
// again and again, so that the stream does not grow for them; and they keep their pauses.
func TestPoisonIsSweptAround(t *testing.T) {
	s := startServers(t, 1)
	// What a busy machine is slow to handle must not be handed out again meanwhile.
	all := s.open(t, timers.Config{}.Hurry(long, hurry))
	const rest = 8 * hurry // the longest
	var good, bad, hasty atomic.Int64
	var mu sync.Mutex
	var last time.Time
	var short int // calls in a row
	start(t, all, func(_ context.Context, one timers.Timer) error {
		if !strings.HasPrefix(one.Key, "bad") {
			good.Add(1)
			return nil
		}
		if one.Key == "bad-0" {
			mu.Lock()
			defer mu.Unlock()
			if short++; time.Since(last) >= rest {
				short = 0
			}
			if last = time.Now(); short > 1 { // one is when it was put at the end
				hasty.Add(1)
			}
		}
		bad.Add(1)
		return errors.New("always")
	})
	set(t, all, batch(3, "bad", 0)...)
	js := s.jetStream(t)
	await(t, "the bad ones rest as long as they do", func() bool { return bad.Load() > 3*6 })
	hasty.Store(0)
	for round := range 2 {
		if err := all.SetAll(within(t, 2*long), batch(1500, fmt.Sprint("good-", round), 0)); err != nil {
			t.Fatal(err)
		}
		await(t, "the good ones are handled", func() bool { return good.Load() >= int64(1500*(round+1)) })
		await(t, "they are swept", func() bool {
			stream, err := js.Stream(within(t, long), "SHOP_TIMERS")
			return err == nil && stream.CachedInfo().State.Msgs < 1000
		})
		awaitStatus(t, all, 0, 3)
	}
	before := bad.Load()
	await(t, "the bad ones come on", func() bool { return bad.Load() > before+9 })
	if n := hasty.Load(); n > 0 {
		t.Errorf("%d calls of bad-0 came without their rest", n)
	}
}
