package jetstream

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// ofSize is an append to a subject.
func ofSize(subject string, size int) *pending {
	p := &pending{a: aggregate{subject: subject}}
	p.commit.Body = make([]byte, size)
	return p
}

// TestGathering tells what goes out when.
func TestGathering(t *testing.T) {
	g := &gathering{most: most, seen: map[string]bool{}}
	n := 0
	come := func(count, size int) {
		for range count {
			n++
			g.add(ofSize(strconv.Itoa(n), size))
		}
	}
	want := func(what string, count int, together bool) {
		t.Helper()
		out, batch := g.next()
		if len(out) != count || batch != together {
			t.Fatalf("%s: %d go out, as a batch: %t; want %d, %t", what, len(out), batch, count, together)
		}
	}
	want("nothing has come", 0, false)
	for range worthwhile {
		come(1, 1)
		want("few are under way", 1, false)
	}
	come(worthwhile-1, 1)
	want("enough are under way", 0, false)
	g.answered(1)
	want("one has been answered", 1, false)
	come(1, 1)
	g.answered(1)
	want("one has been answered, and 15 wait", 1, false)
	come(1, 1)
	want("16 are under way, and 15 wait", 0, false)
	come(1, 1)
	g.answered(worthwhile - 1)
	want("one is under way, and 16 wait", 0, false)
	g.answered(1)
	want("none is under way, and 16 wait", worthwhile, true)
	come(worthwhile-1, 1)
	want("a batch is under way", 0, false)
	g.ended()
	want("the batch has been answered, and 15 wait", worthwhile-1, false)
	g.answered(worthwhile - 1)

	come(2*most+worthwhile, 1)
	want("very many wait", most, true)
	g.ended()
	want("many wait", most, true)
	g.parted(most)
	want("those of the batch go out alone, and 16 wait", 0, false)
	g.answered(most)
	want("they have been answered", worthwhile, true)
	g.ended()

	come(100, heavy)
	want("they are large", mostBytes/heavy, true)
	g.ended()
	want("the others", 100-mostBytes/heavy, true)
	g.ended()
	come(100, heavy+1)
	want("they are too large", worthwhile, false)
	g.answered(worthwhile)
	g.take(len(g.waiting))

	come(1, mostBytes+1)
	come(1000, 1)
	want("a large one comes before small ones", 1, false)
	g.answered(1)
	want("the small ones", 1000, true)
	g.ended()

	come(20, 1)
	g.add(ofSize(strconv.Itoa(n), 1))
	come(20, 1)
	want("one subject comes twice", 20, true)
	g.ended()
	want("the second", 21, true)
	g.ended()

	g.refused(100)
	come(100, 1)
	want("the server takes fewer", 50, true)
	g.ended()
	g.refused(2*worthwhile - 1)
	want("it takes too few", 50, false)
	come(1, 1)
	want("very many are under way", 1, false)
	if g.size != len(g.waiting) {
		t.Errorf("%d wait, with %d bytes", len(g.waiting), g.size)
	}
}

// TestGatheredHearInTime that nothing has become of their appends, when the server is silent.
func TestGatheredHearInTime(t *testing.T) {
	g := newSite(t).gathered(t)
	g.answer = func([]*nats.Msg) {}
	const n = worthwhile + most + 100 // of which the last get into no batch
	results := g.append(n)
	g.pass() // those alone are lost, and the batch goes out
	g.pass()
	for i, r := range results {
		want := holdfast.ErrUncertain
		if i >= worthwhile+most {
			want = holdfast.ErrUnavailable
		}
		if r := g.end(r); !errors.Is(r.err, want) {
			t.Errorf("number %d hears %v, want %v", i, r.err, want)
		}
	}
}

// TestGatheredWithoutConnection hear so at once.
func TestGatheredWithoutConnection(t *testing.T) {
	g := newSite(t).gathered(t)
	results := g.append(worthwhile + 1500)
	g.store.publish.nc.Close()
	for i, r := range results {
		if r := g.end(r); i >= worthwhile && !errors.Is(r.err, holdfast.ErrUnavailable) {
			t.Errorf("number %d hears %v", i, r.err)
		}
	}
	c := g.store.partitions[0].coalescer
	await(t, "nothing is under way", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.alone == 0 && !c.batched && len(c.waiting) == 0
	})
}

// TestGatheredAreBounded: there are not more of them than requests may be under way.
func TestGatheredAreBounded(t *testing.T) {
	g := newSite(t).gathered(t)
	c := g.store.partitions[0].coalescer
	c.alone, c.waiting = 1, make([]*pending, maxOutstanding)
	results := make(chan result, 1)
	g.store.Append(g.ref(1), persistence.Head{}, nil, func(_ persistence.Head, err error) { results <- result{err: err} })
	if r := g.end(results); !errors.Is(r.err, errBusy) {
		t.Errorf("the error is %v", r.err)
	}
	c.waiting = nil
}

// TestGatheredAreToldBeforeCloseReturns, and nothing gathers after it.
func TestGatheredAreToldBeforeCloseReturns(t *testing.T) {
	g := newSite(t).gathered(t)
	c := g.store.partitions[0].coalescer
	c.sending.Add(1) // one who is slow
	sent := sync.OnceFunc(c.sending.Done)
	defer sent()
	closed := make(chan struct{})
	go func() {
		g.store.Close()
		close(closed)
	}()
	await(t, "it is being closed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.closed
	})
	select {
	case <-closed:
		t.Error("it is closed while one is sending")
	default:
	}
	c.alone = worthwhile // of whom that one would tell
	results := make(chan result, 1)
	g.store.Append(g.ref(1), persistence.Head{}, nil, func(_ persistence.Head, err error) { results <- result{err: err} })
	if r := g.end(results); !errors.Is(r.err, errClosed) {
		t.Errorf("the error is %v", r.err)
	}
	sent()
	<-closed
}
