package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestReadsAreBounded holds answers back: what may be on its way is less than the server
// would cut the connection for.
func TestReadsAreBounded(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "big")
	r := &reads{pipes: []*pipe{s.pipe(t, 100)}, size: 1 << 20}
	ctx, cancel := context.WithCancel(t.Context())
	const n = 60
	out := make(chan answer, n)
	var asking sync.WaitGroup
	refused := make(chan error, n)
	for i := range n {
		asking.Go(func() {
			if err := r.lane().ask(ctx, query{subject: "big"}, i, out); err != nil {
				refused <- err
			}
		})
	}
	var held []*nats.Msg
	next := func() *nats.Msg {
		select {
		case m := <-requests:
			return m
		case <-time.After(patience):
			t.Fatal("no more requests come")
			panic("unreachable")
		}
	}
	for range inFlight >> 20 {
		held = append(held, next())
	}
	r.mu.Lock()
	taken, waiting := r.taken, func() int { return len(r.waiting) }
	r.mu.Unlock()
	if taken != inFlight {
		t.Errorf("%d bytes are taken, want %d", taken, inFlight)
	}
	await(t, "all others wait", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return waiting() == n-len(held)
	})
	if err := held[0].Respond(nil); err != nil { // one goes, another comes
		t.Fatal(err)
	}
	held = append(held, next())
	cancel()
	asking.Wait()
	if got, want := len(refused), n-len(held); got != want {
		t.Errorf("%d give up when their context ends, want %d", got, want)
	}
	for _, m := range held[1:] {
		if err := m.Respond(nil); err != nil {
			t.Fatal(err)
		}
	}
	for range held {
		if a := <-out; a.err != nil {
			t.Error(a.err)
		}
	}
	if r.taken != 0 || len(r.waiting) != 0 {
		t.Errorf("%d bytes are still taken, %d wait", r.taken, len(r.waiting))
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestReadsLetTheNextIn has one that waits give up: those behind it may have room.
func TestReadsLetTheNextIn(t *testing.T) {
	r := &reads{taken: inFlight - 2000, size: 1 << 20}
	ctx, cancel := context.WithCancel(t.Context())
	big, small := make(chan error, 1), make(chan error, 1)
	waiting := func(n int) func() bool {
		return func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.waiting) == n
		}
	}
	go func() {
		_, err := r.enter(ctx, 0)
		big <- err
	}()
	await(t, "the big one waits", waiting(1))
	r.mu.Lock()
	r.size = 0
	r.mu.Unlock()
	go func() {
		_, err := r.enter(t.Context(), 0)
		small <- err
	}()
	await(t, "the small one waits behind it", waiting(2))
	cancel()
	if err := <-big; !errors.Is(err, context.Canceled) {
		t.Errorf("the big one: %v", err)
	}
	select {
	case err := <-small:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the small one still waits")
	}
}

func TestReadsLearnSizes(t *testing.T) {
	r := &reads{}
	for range 10 {
		w, err := r.enter(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if w < leastWeight {
			t.Fatalf("a request weighs %d", w)
		}
		r.leave(w, 100)
	}
	w, _ := r.enter(t.Context(), 0)
	r.leave(w, 1<<20)
	if w, _ = r.enter(t.Context(), 0); w != 1<<20 {
		t.Fatalf("after an answer of 1 MiB a request weighs %d", w)
	}
	r.leave(w, unknown)
	if r.size != 1<<20 {
		t.Fatalf("a lost answer changes the size to %d", r.size)
	}
	for range 1000 {
		w, _ = r.enter(t.Context(), 0)
		r.leave(w, 0)
	}
	if w, _ = r.enter(t.Context(), 0); w != leastWeight {
		t.Fatalf("after many small answers a request weighs %d", w)
	}
	if r.leave(w, 0); r.taken != 0 {
		t.Fatalf("%d bytes are still taken", r.taken)
	}
	r.leave(-1<<40, unknown) // far too much is on its way
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.enter(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
}

func FuzzParseAck(f *testing.F) {
	p := newPartition(0, "SHOP_LOG_0", 1)
	for _, seed := range []string{
		`{"stream":"SHOP_LOG_0","seq":7}`, `{"stream":"SHOP_LOG_0","seq":7,"duplicate":true}`, `{"stream":"SHOP_LOG_0","seq":}`,
		`{"error":{"code":400,"err_code":10071}}`, `{"stream":"SHOP_LOG_0","seq":18446744073709551616}`, `x`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		seq, err := p.parseAck(&nats.Msg{Data: data})
		if (err == nil) != (seq > 0) {
			t.Fatalf("%q gives %d and %v", data, seq, err)
		}
		if err == nil && !strings.Contains(string(data), fmt.Sprint(seq)) && !strings.ContainsAny(string(data), "eE.") {
			t.Fatalf("%q gives %d", data, seq)
		}
		if quick, ok := p.parsePlainAck(data); ok && quick != seq {
			t.Fatalf("%q gives %d and %d", data, quick, seq)
		}
	})
}

// TestLanes: a server answers what comes by one connection in order, so a slow read must leave
// another one free; but the few queries of one load go over one, and the many of another over all.
func TestLanes(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "turns")
	r := &reads{pipes: []*pipe{s.pipe(t, 100), s.pipe(t, 100), s.pipe(t, 100)}}
	out := make(chan answer, 300)
	ask := func(l *lane, span int) string { // tells the pipe that is to be answered
		t.Helper()
		if err := l.ask(t.Context(), query{subject: "turns", span: span}, 0, out); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-requests:
			return m.Reply[:strings.LastIndexByte(m.Reply, '.')]
		case <-time.After(patience):
			t.Fatal("a request does not come")
			panic("unreachable")
		}
	}
	evenly := func(came map[string]int, each int) {
		t.Helper()
		for pipe, n := range came {
			if len(came) != len(r.pipes) || n != each {
				t.Errorf("%d requests came by %s, one of %d, want %d by each of %d", n, pipe, len(came), each, len(r.pipes))
			}
		}
	}
	loads, many, spans := map[string]int{}, map[string]int{}, map[string]int{}
	for range 2 * len(r.pipes) {
		one := r.lane()
		first := ask(one, 0)
		loads[first]++
		if second := ask(one, 0); second != first {
			t.Errorf("two queries of a load go by %s and %s", first, second)
		}
	}
	evenly(loads, 2)
	one := r.lane()
	for range inLane * len(r.pipes) {
		many[ask(one, 0)]++
	}
	evenly(many, inLane)
	for range 2 * len(r.pipes) {
		spans[ask(one, inLane)]++
	}
	evenly(spans, 2)
}

// TestReadsAskAgain: the replica that was asked may have gone. Another one is asked, later
// each time, and only where there is another one.
func TestReadsAskAgain(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "silent")
	alone := s.listen(t, "alone")
	p := s.pipe(t, 100)
	store := &Store{reads: &reads{pipes: []*pipe{p}}}
	out := make(chan answer, 2)
	for _, q := range []query{{subject: "silent", replicated: true}, {subject: "alone"}} {
		if err := store.reads.lane().ask(t.Context(), q, 0, out); err != nil {
			t.Fatal(err)
		}
	}
	var asked []uint64
	var last *nats.Msg
	for tick := range uint64(20) {
		store.settling.Wait() // until all that is to be asked again has been
		s.flush(t)
		for len(requests) > 0 {
			last = <-requests
			asked = append(asked, tick)
		}
		p.tick()
		store.ticked(tick)
	}
	if fmt.Sprint(asked) != "[0 3 7 15]" {
		t.Errorf("it is asked at the ticks %v", asked)
	}
	if len(alone) != 1 {
		t.Errorf("a server that is alone is asked %d times", len(alone))
	}
	if err := last.Respond([]byte("at last")); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-out:
		if a.err != nil || string(a.msg.Data) != "at last" {
			t.Errorf("the answer is %+v", a)
		}
	case <-time.After(patience):
		t.Fatal("the last answer is not taken")
	}
}
