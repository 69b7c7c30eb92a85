package feed_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/feed"
)

// A fate is what becomes of a message.
type fate int

const (
	sent    fate = iota
	refused      // it is not sent, and the writer hears so
	lost         // it is not sent, and nobody hears so
	unheard      // it is sent, and what is answered gets lost
	late         // as lost, but it comes with the next commit, before that
)

// A line is one on which things go wrong.
type line struct {
	*nats.Conn
	fate func(m *nats.Msg, commit bool) fate

	mu   sync.Mutex
	late *nats.Msg
}

func (l *line) PublishMsg(m *nats.Msg) error {
	switch l.fate(m, false) {
	case refused:
		return nats.ErrReconnectBufExceeded
	case lost:
		return nil
	default:
		return l.Conn.PublishMsg(m)
	}
}

func (l *line) RequestMsgWithContext(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	what := l.fate(m, true)
	l.mu.Lock()
	if l.late != nil {
		if _, err := l.Conn.RequestMsgWithContext(ctx, l.late); err != nil {
			l.mu.Unlock()
			return nil, err
		}
		l.late = nil
	}
	if what == late {
		l.late = m
	}
	l.mu.Unlock()
	switch what {
	case refused:
		return nil, nats.ErrReconnectBufExceeded
	case lost, late:
		return nil, nats.ErrTimeout
	case unheard:
		if _, err := l.Conn.RequestMsgWithContext(ctx, m); err != nil {
			return nil, err
		}
		return nil, nats.ErrTimeout
	default:
		return l.Conn.RequestMsgWithContext(ctx, m)
	}
}

// TestEachPointOfABatch: whatever becomes of one message of a batch, the writer goes on, and
// so does another one that is started after it was killed there.
func TestEachPointOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, killed := range []bool{false, true} {
		for n := range 4 { // three events and the mark
			fates := []fate{refused, lost}
			if n == 3 {
				fates = append(fates, unheard, late)
			}
			for _, what := range fates {
				t.Run(fmt.Sprint(killed, n, what), func(t *testing.T) {
					w.t = t
					reached := make(chan struct{})
					seen, once := 0, sync.Once{}
					l := &line{Conn: w.conn, fate: func(_ *nats.Msg, commit bool) fate {
						if seen++; seen > 4 && killed && !commit {
							return refused // it is dead
						}
						if seen == n+1 {
							once.Do(func() { close(reached) })
							return what
						}
						return sent
					}}
					w.deposit("a", 3)
					f := w.start(w.config().Over(l))
					if killed {
						<-reached
						f.Stop()
						w.start(w.config())
					}
					w.awaitEvents()
					w.deposit("a", 1)
					w.awaitEvents()
				})
			}
		}
	}
}

// TestFaults: writers come and go, two at a time, while the lines do whatever they like.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 2))
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	l := func() *line {
		return &line{Conn: w.conn, fate: func(_ *nats.Msg, commit bool) fate {
			switch d := dice(100); {
			case d < 4 && commit:
				return []fate{refused, lost, unheard, late}[d]
			case d == 0 && dice(50) == 0:
				return []fate{refused, lost}[dice(2)]
			}
			return sent
		}}
	}
	two := [2]*feed.Feed{w.start(w.config().Over(l()).Sweeping(7)), w.start(w.config().Over(l()).Sweeping(7))}
	for i := range 60 {
		for range 1 + dice(5) {
			w.deposit([]string{"a", "b", "c"}[dice(3)], 1+dice(40))
		}
		if dice(6) == 0 {
			two[i%2].Stop()
			two[i%2] = w.start(w.config().Over(l()).Sweeping(7))
		}
		<-time.After(time.Duration(dice(30)) * time.Millisecond)
	}
	two[0].Stop()
	two[1].Stop()
	w.start(w.config())
	w.awaitEvents()
}

// TestTwoWriters: of two that hear the same of the log, each batch is written by one.
func TestTwoWriters(t *testing.T) {
	w := newWorld(t)
	w.start(w.config())
	w.start(w.config())
	for range 40 {
		w.deposit("a", 2)
		<-time.After(3 * time.Millisecond)
	}
	w.awaitEvents()
	<-time.After(100 * time.Millisecond) // in which the other one might repeat something
	w.judge()
}

// TestSubscribers: who only subscribes hears of each event once, when it is in the stream, also
// when the writer has to repeat itself, and of nothing else.
func TestSubscribers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sub, err := w.conn.SubscribeSync("shop.evt.>")
	if err != nil {
		t.Fatal(err)
	}
	commits := 0
	w.start(w.config().Over(&line{Conn: w.conn, fate: func(_ *nats.Msg, commit bool) fate {
		if commit {
			commits++
			return []fate{lost, refused, unheard, late, sent, sent, sent}[commits%7]
		}
		return sent
	}}))
	for i := range 10 {
		w.deposit("a", 2)
		await(t, "it is written", func() bool { return w.done() > uint64(i) })
	}
	w.awaitEvents()
	for i, want := range w.want {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get("ce-id"); got != want || m.Header.Get("Nats-Sequence") == "" {
			t.Fatalf("event %d is %s, want %s", i, got, want)
		}
	}
	if m, err := sub.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("there is one too many: %s", m.Header.Get("ce-id"))
	}
	if commits < 12 {
		t.Errorf("there were only %d batches", commits)
	}
}

// TestBigCommits: a commit with more events than a batch has room for is begun, and the next
// writer goes on in it.
func TestBigCommits(t *testing.T) {
	w := newWorld(t)
	const events = 2*feed.MaxMessages + 100
	w.deposit("a", events)
	w.deposit("b", 3)
	commits, first := 0, 0 // first are the events of the first batch
	dead := make(chan struct{})
	l := &line{Conn: w.conn, fate: func(_ *nats.Msg, commit bool) fate {
		switch {
		case commit:
			commits++
		case commits == 0:
			first++
		}
		if commits == 2 && commit {
			close(dead)
		}
		if commits >= 2 {
			return refused
		}
		return sent
	}}
	f := w.start(w.config().Over(l))
	<-dead
	f.Stop()
	// On a machine that stands still, a batch is what has come until its time was up.
	if got := len(w.read()); got != first || got == 0 || got > feed.MaxMessages {
		t.Fatalf("%d events were written at first, want a batch of %d, and %d at the most", got, first, feed.MaxMessages)
	}
	w.start(w.config())
	w.awaitEvents()
}
