package jetstream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestReadsGatherAnew: of a span that a replica did not finish nothing counts.
func TestReadsGatherAnew(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "span")
	p := s.pipe(t, 100)
	store := &Store{reads: &reads{pipes: []*pipe{p}}}
	out := make(chan answer, 1)
	if err := store.reads.lane().ask(t.Context(), query{subject: "span", span: 3, replicated: true}, 7, out); err != nil {
		t.Fatal(err)
	}
	next := func() *nats.Msg {
		select {
		case m := <-requests:
			return m
		case <-time.After(patience):
			t.Fatal("no request comes")
			panic("unreachable")
		}
	}
	parts := func(m *nats.Msg, bodies ...string) {
		for _, body := range bodies {
			if err := m.Respond([]byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := func(m *nats.Msg) {
		if err := m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"204"}, "Nats-Last-Sequence": {"12"}}}); err != nil {
			t.Fatal(err)
		}
	}
	unfinished := next()
	parts(unfinished, "old", "old")
	await(t, "both have come", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		r, ok := p.slots[0].caller.(*read)
		return ok && len(r.parts) == 2
	})
	for tick := range uint64(silence + 1) {
		p.tick()
		store.ticked(tick)
	}
	again := next()
	parts(unfinished, "old") // it was only late
	end(unfinished)
	parts(again, "a", "b", "c")
	end(again)
	select {
	case got := <-out:
		all := ""
		for _, m := range got.parts {
			all += string(m.Data)
		}
		if got.tag != 7 || got.err != nil || all != "abc" || number(got.msg, "Nats-Last-Sequence") != 12 {
			t.Errorf("got %q and %+v", all, got)
		}
	case <-time.After(patience):
		t.Fatal("the answer is not taken")
	}
	if store.reads.taken != 0 {
		t.Errorf("%d bytes are still taken", store.reads.taken)
	}
}

// TestReadsOfASpanWeigh as much as they may bring.
func TestReadsOfASpanWeigh(t *testing.T) {
	for _, c := range []struct{ size, span, want int }{
		{0, 0, leastWeight},
		{0, 64, 64 * leastWeight},
		{10_000, 64, 640_000},
		{100_000, 64, spanBytes},
		{2 * spanBytes, 64, 2 * spanBytes},
		{2 * inFlight, 64, inFlight},
	} {
		r := &reads{size: c.size}
		if w, err := r.enter(t.Context(), c.span); err != nil || w != c.want {
			t.Errorf("a span of %d, messages of %d bytes: it weighs %d, %v, want %d", c.span, c.size, w, err, c.want)
		}
	}
}
