package timers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

func TestTimerFiresAtItsTime(t *testing.T) {
	t.Parallel()
	all := startServers(t, 1).open(t, timers.Config{})
	want := at("o-1", "k", 1200*time.Millisecond)
	r := start(t, all, nil)
	set(t, all, want)
	a := r.next()
	if a.Timer != want {
		t.Errorf("got %+v, want %+v", a.Timer, want)
	}
	if late := a.when.Sub(want.At); late < 0 {
		t.Errorf("it came %s before its time", -late)
	}
	awaitStatus(t, all, 0, 0)
	r.quiet(300 * time.Millisecond)
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOverdueTimerFiresAtOnce(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	r := start(t, all, nil)
	for _, one := range []timers.Timer{at("o-1", "hour", -time.Hour), at("o-1", "years", -40*365*24*time.Hour)} {
		set(t, all, one)
		if a := r.next(); a.Timer != one {
			t.Errorf("got %s", a.Timer)
		}
	}
}

// TestSetOnce: the first of a key stays, whoever sets it how often.
func TestSetOnce(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	r := start(t, all, nil)
	set(t, all, at("o-1", "k", time.Hour), at("o-1", "k", time.Hour), at("o-1", "k", -time.Hour))
	set(t, all, at("o-2", "k", time.Hour), at("o-1", "l", time.Hour))
	awaitStatus(t, all, 3, 0)
	r.quiet(500 * time.Millisecond)

	var racing sync.WaitGroup
	for i := range 100 {
		racing.Go(func() {
			if err := all.Set(within(t, long), at("o-3", "k", time.Duration(i)*time.Hour+time.Minute)); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	awaitStatus(t, all, 4, 0)
}

func TestSetAgainAfterItHasFired(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	r := start(t, all, nil)
	one := at("o-1", "k", -time.Second)
	for range 2 {
		set(t, all, one)
		if a := r.next(); a.Timer != one {
			t.Errorf("got %s", a.Timer)
		}
	}
	awaitStatus(t, all, 0, 0)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	untilQuick(t, 1, cancelled)
}

func cancelled(t *testing.T, s *servers) error {
	t.Helper()
	all := s.open(t, timers.Config{})
	ctx := within(t, long)
	one := at("o.1", "k", time.Second)
	cancel := func() {
		t.Helper()
		if err := all.Cancel(ctx, one.For, one.Key); err != nil {
			t.Fatal(err)
		}
	}
	cancel() // there never was one
	one.At = at("o.1", "k", time.Second).At
	set(t, all, one, at("o.1", "l", time.Hour))
	cancel()
	if time.Now().After(one.At) {
		return errors.New("it has fired before it was cancelled")
	}
	awaitStatus(t, all, 1, 0)
	cancel()
	r := start(t, all, nil)
	r.quiet(1500 * time.Millisecond)

	one.At = time.Now().Add(-time.Second).UTC()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	set(t, all, one)
	awaitStatus(t, all, 1, 1)
	cancel() // it has fired, and is handled all the same
	r = start(t, all, nil)
	if a := r.next(); a.Key != "k" {
		t.Errorf("got %s", a.Timer)
	}
	awaitStatus(t, all, 1, 0)
	return nil
}

// TestCancelLeavesTheNext: what another Set has put in the place of the timer that was
// pending when Cancel looked is not removed.
func TestCancelLeavesTheNext(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	ctx := within(t, long)
	const subject = "shop.timer.order.o-1.k"
	set(t, all, at("o-1", "k", time.Hour))
	old, err := timers.Last(all, ctx, subject)
	if err != nil || old == 0 {
		t.Fatal(old, err)
	}
	if err := all.Cancel(ctx, holdfast.Ref{Type: "order", ID: "o-1"}, "k"); err != nil {
		t.Fatal(err)
	}
	if err := timers.Remove(all, ctx, subject, old); err != nil {
		t.Errorf("remove what is gone: %v", err)
	}
	set(t, all, at("o-1", "k", 2*time.Hour))
	if err := timers.Remove(all, ctx, subject, old); err != nil {
		t.Errorf("remove what has been replaced: %v", err)
	}
	awaitStatus(t, all, 1, 0)
}

// TestHandledInTheEnd: a handle that fails or panics is called again until it is well.
func TestHandledInTheEnd(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{}.Hurry(long, hurry))
	var calls atomic.Int64
	r := start(t, all, func(context.Context, timers.Timer) error {
		switch calls.Add(1) {
		case 1:
			return errors.New("the first time")
		case 2:
			panic("the second time")
		case 3:
			return holdfast.ErrUnavailable
		}
		return nil
	})
	set(t, all, at("o-1", "k", 0))
	var last time.Time
	for i := range 4 {
		a := r.next()
		if rest := hurry << i / 2; i > 0 && a.when.Sub(last) < rest {
			t.Errorf("call %d came after a rest of %s, want %s", i+1, a.when.Sub(last), rest)
		}
		last = a.when
	}
	awaitStatus(t, all, 0, 0)
	r.quiet(200 * time.Millisecond)
}

// TestPause: 1 s, 2 s, 4 s … a minute.
func TestPause(t *testing.T) {
	for failures, want := range map[uint64]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 60: time.Minute,
	} {
		if got := timers.PauseAfter(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}

// TestPoison: timers whose handle always fails, many more than there are workers, do not
// hold up others.
func TestPoison(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{Workers: 2}.Hurry(long, hurry))
	var failures atomic.Int64
	done := make(chan string, 100)
	start(t, all, func(_ context.Context, one timers.Timer) error {
		if strings.HasPrefix(one.Key, "bad") {
			failures.Add(1)
			return errors.New("always")
		}
		done <- one.Key
		return nil
	})
	for i := range 30 {
		set(t, all, at("o-1", fmt.Sprintf("bad-%d", i), 0))
	}
	await(t, "the bad ones fail", func() bool { return failures.Load() > 100 })
	for i := range 20 {
		set(t, all, at("o-1", fmt.Sprintf("good-%d", i), 0))
	}
	var got []string
	for range 20 {
		select {
		case key := <-done:
			got = append(got, key)
		case <-time.After(long):
			t.Fatalf("only %d of the good ones came", len(got))
		}
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 20 {
		t.Errorf("got %v", got)
	}
	awaitStatus(t, all, 0, 30)
}

// TestForeignMessage: what somebody else put among the timers that have fired stays, and
// holds up nothing.
func TestForeignMessage(t *testing.T) {
	s := startServers(t, 1)
	all := s.open(t, timers.Config{Workers: 1}.Hurry(long, hurry))
	js := s.jetStream(t)
	for subject, body := range map[string]string{"shop.due.order": "", "shop.due.order.o-1.k": "soon", "shop.due.Order.o-1.k": "2026-03-14T09:26:53Z"} {
		if _, err := js.Publish(within(t, long), subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, all, nil)
	set(t, all, at("o-1", "k", 0))
	if a := r.next(); a.Key != "k" {
		t.Errorf("got %s", a.Timer)
	}
	awaitStatus(t, all, 0, 3)
}

func TestOddIDs(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	r := start(t, all, nil)
	want := map[timers.Timer]bool{}
	for _, id := range []string{".", "*", ">", "a b", "ü", "\x00\x7f\xff", "=2E", "/", strings.Repeat("i", 128)} {
		for _, key := range []string{"-", "_", "3-17", strings.Repeat("K", 64)} {
			one := at(id, key, 0)
			want[one] = true
			set(t, all, one)
		}
	}
	for range len(want) {
		a := r.next()
		if !want[a.Timer] {
			t.Errorf("got %+v", a.Timer)
		}
		delete(want, a.Timer)
	}
}

func TestMalformed(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	for _, tt := range []struct {
		name string
		of   timers.Timer
		want string
	}{
		{"no type", timers.Timer{For: holdfast.Ref{ID: "o-1"}, Key: "k", At: time.Now()}, `type ""`},
		{"no id", timers.Timer{For: holdfast.Ref{Type: "order"}, Key: "k", At: time.Now()}, "id: it is empty"},
		{"a long id", at(strings.Repeat("ü", 22), "k", 0), "id: it takes 132 bytes"},
		{"no key", at("o-1", "", 0), `key ""`},
		{"a wildcard key", at("o-1", "*", 0), `key "*"`},
		{"no time", timers.Timer{For: holdfast.Ref{Type: "order", ID: "o-1"}, Key: "k"}, "At is 0001-01-01"},
		{"before 1970", at("o-1", "k", -100*365*24*time.Hour), "want a time of the years 1970 to 2261"},
		{"after 2262", timers.Timer{For: holdfast.Ref{Type: "order", ID: "o-1"}, Key: "k", At: time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC)}, "At is 2263-01-01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := all.Set(within(t, long), tt.of)
			if !errors.Is(err, holdfast.ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Set: %v, want malformed with %q", err, tt.want)
			}
			err = all.Cancel(within(t, long), tt.of.For, tt.of.Key)
			if isTime := strings.Contains(tt.want, "19") || strings.Contains(tt.want, "At"); !isTime && !errors.Is(err, holdfast.ErrMalformed) {
				t.Errorf("Cancel: %v, want malformed", err)
			}
		})
	}
	awaitStatus(t, all, 0, 0)
}
