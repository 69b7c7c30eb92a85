package timers_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// Few, so that go test is quick. To measure, for one and for three servers:
//
//	go test ./sagas/timers -run TestLoad -v -timeout 20m -args -timers 100000 -over 60s -servers 1
var (
	loadTimers  = flag.Int("timers", 500, "how many timers TestLoad sets")
	loadOver    = flag.Duration("over", time.Second, "over how long TestLoad spreads them")
	loadServers = flag.Int("servers", 1, "on how many servers TestLoad runs")
)

// A book has what came of the timers of a load.
type book struct {
	mu    sync.Mutex
	late  []time.Duration // of each when it came first
	again int
	seen  map[string]bool
	all   chan struct{} // every one has come
	want  int
}

func newBook(want int) *book {
	return &book{seen: map[string]bool{}, all: make(chan struct{}), want: want}
}

func (b *book) handle(_ context.Context, one timers.Timer) error {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[one.For.ID] {
		b.again++
		return nil
	}
	b.seen[one.For.ID] = true
	b.late = append(b.late, now.Sub(one.At))
	if len(b.late) == b.want {
		close(b.all)
	}
	return nil
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.late)
	at := func(share float64) time.Duration {
		return b.late[int(share*float64(len(b.late)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d timers, %d came again; late min %s, p50 %s, p90 %s, p99 %s, max %s", len(b.late), b.again, at(0), at(0.5), at(0.9), at(0.99), at(1))
}

// load sets so many timers, due from begin on, spread over some time.
func load(t *testing.T, all *timers.Timers, n int, begin time.Time, over time.Duration) {
	t.Helper()
	list := make([]timers.Timer, n)
	for i := range list {
		list[i] = timers.Timer{For: holdfast.Ref{Type: "order", ID: fmt.Sprintf("o-%08d", i)}, Key: "3-17", At: begin.Add(over * time.Duration(i) / time.Duration(n))}
	}
	started := time.Now()
	if err := all.SetAll(within(t, 10*time.Minute), list); err != nil {
		t.Fatal(err)
	}
	took := time.Since(started)
	t.Logf("set %d timers in %s: %.0f/s", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	if time.Now().After(begin) {
		t.Log("the first were due before the last were set")
	}
}

func (b *book) await(t *testing.T, all *timers.Timers) {
	t.Helper()
	select {
	case <-b.all:
	case <-time.After(10 * time.Minute):
		t.Fatalf("%d of %d timers came", len(b.late), b.want)
	}
	t.Log(b)
	await(t, "nothing is left", func() bool {
		s, err := all.Status(within(t, long))
		return err == nil && s == timers.Status{}
	})
}

// TestLoad measures how late timers come when many are pending, what they cost the server,
// and what a restart does.
func TestLoad(t *testing.T) {
	n, over := *loadTimers, *loadOver
	lead := time.Second/2 + time.Duration(n)*300*time.Microsecond // enough to set them before the first is due
	s := startServers(t, *loadServers)
	all := s.open(t, timers.Config{})

	empty := heap()
	load(t, all, n, time.Now().Add(lead), over)
	t.Logf("heap: %d bytes a timer and server", (heap()-empty)/uint64(n)/uint64(len(s.list)))
	came := newBook(n)
	r := start(t, all, came.handle)
	came.await(t, all)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	begin := time.Now().Add(lead)
	load(t, all, n, begin, time.Second)
	restarted := time.Now()
	s.restart(t, func() {
		restarted = time.Now()
		t.Logf("stopped with %d pending", n)
	})
	t.Logf("restart with %d pending: %s", n, time.Since(restarted).Round(time.Millisecond))
	s.restart(t, func() {
		<-time.After(time.Until(begin.Add(time.Second)))
		restarted = time.Now()
	})
	all = s.open(t, timers.Config{})
	t.Logf("restart with %d overdue: %s", n, time.Since(restarted).Round(time.Millisecond))
	came = newBook(n)
	start(t, all, came.handle)
	came.await(t, all)
	t.Logf("all %d overdue were handled %s after the start began", n, time.Since(restarted).Round(time.Millisecond))
}

// heap is what is in use after a collection.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
