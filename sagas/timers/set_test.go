package timers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// batch makes n timers of one aggregate.
func batch(n int, prefix string, after time.Duration) []timers.Timer {
	out := make([]timers.Timer, n)
	for i := range out {
		out[i] = at("o-1", fmt.Sprintf("%s-%d", prefix, i), after)
	}
	return out
}

func TestSetAll(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("servers=%d", n), func(t *testing.T) {
			all := startServers(t, n).open(t, timers.Config{})
			ctx := within(t, 3*long)
			if err := all.SetAll(ctx, nil); err != nil {
				t.Errorf("none: %v", err)
			}
			if err := all.SetAll(ctx, batch(3000, "k", time.Hour)); err != nil {
				t.Fatal(err)
			}
			awaitStatus(t, all, 3000, 0)
			// Some are pending, some are new, and one is there twice.
			again := append(batch(3100, "k", time.Minute), at("o-1", "k-3099", time.Minute))
			if err := all.SetAll(ctx, again); err != nil {
				t.Fatal(err)
			}
			awaitStatus(t, all, 3100, 0)

			// Those that were set in batches come, as all others do.
			r := start(t, all, nil)
			if err := all.SetAll(ctx, batch(1000, "due", 0)); err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for len(got) < 1000 {
				got[r.next().Key] = true
			}
			awaitStatus(t, all, 3100, 0)
		})
	}
}

func TestSetAllTellsWhichAreNotSet(t *testing.T) {
	all := startServers(t, 1).open(t, timers.Config{})
	list := batch(100, "k", time.Hour)
	list[7].Key, list[70].For.ID = "7.", ""
	err := all.SetAll(within(t, long), list)
	no, ok := errors.AsType[*timers.NotSetError](err)
	if !ok || len(no.Timers) != 2 || no.Timers[0] != list[7] || no.Timers[1] != list[70] || len(no.Errs) != 2 {
		t.Fatalf("got %v", err)
	}
	if !errors.Is(err, holdfast.ErrMalformed) || !strings.Contains(err.Error(), `2 timers are not set, or perhaps not; of the first: malformed: set timer order/o-1 7.: key "7."`) {
		t.Errorf("got %v", err)
	}
	awaitStatus(t, all, 98, 0)
}

// TestSetWithoutAStream: nobody takes a timer any more, and Set says why.
func TestSetWithoutAStream(t *testing.T) {
	s := startServers(t, 1)
	nc := s.connect(t, 0)
	all := s.open(t, timers.Config{Conn: nc})
	if err := s.jetStream(t).DeleteStream(within(t, long), "SHOP_TIMERS"); err != nil {
		t.Fatal(err)
	}
	err := all.Set(within(t, long), at("o-1", "k", time.Hour))
	if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "stream SHOP_TIMERS is missing") {
		t.Errorf("Set: %v", err)
	}
	err = all.SetAll(within(t, long), batch(200, "k", time.Hour))
	if no, ok := errors.AsType[*timers.NotSetError](err); !ok || len(no.Timers) != 200 || !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("SetAll: %v", err)
	}
	err = all.Cancel(within(t, long), holdfast.Ref{Type: "order", ID: "o-1"}, "k")
	if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "stream SHOP_TIMERS is missing") {
		t.Errorf("Cancel: %v", err)
	}
	if _, err := all.Status(within(t, long)); !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "stream SHOP_TIMERS is missing") {
		t.Errorf("Status: %v", err)
	}

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := all.Set(ended, at("o-1", "k", time.Hour)); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Set when its time is up: %v", err)
	}
}

// TestSetThatWasNotSent: what could not be sent in time is not sent later.
func TestSetThatWasNotSent(t *testing.T) {
	s := startServers(t, 1)
	nc := s.connect(t, 0)
	all := s.open(t, timers.Config{Conn: nc})
	if err := s.jetStream(t).DeleteStream(within(t, long), "SHOP_TIMERS"); err != nil {
		t.Fatal(err)
	}
	requests := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("shop.timer.>", requests); err != nil {
		t.Fatal(err)
	}
	// These keep all lanes busy.
	busy := make(chan error, 4)
	for i := range cap(busy) {
		go func() { busy <- all.Set(within(t, long), at("o-1", fmt.Sprint("busy-", i), time.Hour)) }()
	}
	var waiting []*nats.Msg
	for range cap(busy) {
		waiting = append(waiting, <-requests)
	}
	if err := all.Set(within(t, 50*time.Millisecond), at("o-1", "late", time.Hour)); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	respond := func(m *nats.Msg) {
		if strings.HasSuffix(m.Subject, ".late") {
			t.Errorf("%s was sent", m.Subject)
		}
		_ = m.Respond([]byte(`{"stream":"SHOP_TIMERS","seq":7}`))
	}
	for _, m := range waiting {
		respond(m)
	}
	for set := 0; set < cap(busy); {
		select {
		case m := <-requests: // sent again, since the answer came late
			respond(m)
		case err := <-busy:
			if set++; err != nil {
				t.Error(err)
			}
		}
	}
	// One that is sent and has no answer when its time is up may be set.
	ctx, cancel := context.WithCancel(within(t, long))
	next := make(chan error, 1)
	go func() { next <- all.Set(ctx, at("o-1", "next", time.Hour)) }()
	m := <-requests
	for ; strings.Contains(m.Subject, ".busy-"); m = <-requests {
		respond(m)
	}
	if m.Subject != "shop.timer.order.o-1.next" {
		t.Errorf("%s was sent", m.Subject)
	}
	cancel()
	if err := <-next; !errors.Is(err, holdfast.ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSetWhenTheAnswerIsOdd: what nobody understands is perhaps set, and what may pass is
// tried again.
func TestSetWhenTheAnswerIsOdd(t *testing.T) {
	s := startServers(t, 1)
	nc := s.connect(t, 0)
	all := s.open(t, timers.Config{Conn: nc})
	if err := s.jetStream(t).DeleteStream(within(t, long), "SHOP_TIMERS"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var answers []string
	_, err := nc.Subscribe("shop.timer.>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		_ = m.Respond([]byte(answers[0]))
		answers = answers[min(1, len(answers)-1):] // the last one again and again
	})
	if err != nil {
		t.Fatal(err)
	}
	// inTime answers so until no answer has come too late.
	inTime := func(try func(), all ...string) {
		for took, tries := time.Minute, 0; took > time.Second && tries < 20; tries++ {
			mu.Lock()
			answers = all
			mu.Unlock()
			begin := time.Now()
			try()
			took = time.Since(begin)
		}
	}
	const (
		stored   = `{"stream":"SHOP_TIMERS","seq":7}`
		notReady = `{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`
		disabled = `{"error":{"code":400,"err_code":10188,"description":"message schedules is disabled"}}`
	)
	set, again, final := timers.Outcome{Set: true}, timers.Outcome{}, timers.Outcome{Final: true}
	perhaps, perhapsFinal := timers.Outcome{Perhaps: true}, timers.Outcome{Perhaps: true, Final: true}
	for _, tt := range []struct {
		answer string
		want   timers.Outcome
	}{
		{stored, set},
		{`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}`, set},
		{`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}`, again},
		{notReady, again},
		{`{"error":{"code":429,"err_code":10167,"description":"too many requests"}}`, again},
		{disabled, final},
		{`{"error":{"code":503,"err_code":10077,"description":"write failed"}}`, perhaps},
		{`{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`, again},
		{`{"error":{"code":503,"err_code":10039,"description":"JetStream not enabled for account"}}`, final},
		{`{"error":{"code":500,"err_code":10000,"description":"who knows"}}`, perhapsFinal},
		{`{"stream":"OTHER","seq":7}`, perhaps},
		{`{"stream":"SHOP_TIMERS"}`, perhaps},
		{`hello`, perhaps},
		{``, perhaps},
	} {
		var got timers.Outcome
		var err error
		inTime(func() { got, err = all.Try(within(t, long), at("o-1", "k", time.Hour)) }, tt.answer)
		if got != tt.want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", tt.answer, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		first, then string
		want        error
	}{
		{notReady, stored, nil},
		{notReady, disabled, holdfast.ErrUnavailable},
		{`hello`, disabled, holdfast.ErrUncertain}, // the first may be stored
	} {
		var err error
		inTime(func() { err = all.Set(within(t, long), at("o-1", "k", time.Hour)) }, tt.first, tt.then)
		if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s, then %s: got %v, want %v", tt.first, tt.then, err, tt.want)
		}
	}
}

func TestSetOnAClosedConnection(t *testing.T) {
	s := startServers(t, 1)
	nc := s.connect(t, 0)
	all := s.open(t, timers.Config{Conn: nc})
	nc.Close()
	if err := all.Set(within(t, long), at("o-1", "k", time.Hour)); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Set: %v", err)
	}
	if err := all.SetAll(within(t, long), batch(200, "k", time.Hour)); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("SetAll: %v", err)
	}
	if err := all.Run(within(t, long), nil); !errors.Is(err, holdfast.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Run: %v", err)
	}
}
