package jetstream

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// caught collects what callers hear.
type caught struct{ out chan answer }

func (c caught) replied(m *nats.Msg) { c.out <- answer{msg: m} }
func (c caught) lost(err error)      { c.out <- answer{err: err} }

func (s *site) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := s.server.Connect(natsd.Node, nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s.conns = append(s.conns, nc)
	return nc
}

// flush returns when what has been sent has come to those who listen.
func (s *site) flush(t *testing.T) {
	t.Helper()
	for _, nc := range append(s.conns, s.conns...) {
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *site) pipe(t *testing.T, timeout uint64) *pipe {
	t.Helper()
	p, err := newPipe(s.connect(t), timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// listen gives the requests that come to a subject.
func (s *site) listen(t *testing.T, subject string) chan *nats.Msg {
	t.Helper()
	out := make(chan *nats.Msg, 1000)
	nc := s.connect(t)
	if _, err := nc.ChanSubscribe(subject, out); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPipeTellsAnswersApart(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "echo")
	p := s.pipe(t, 5)
	const n = 500
	all := make([]caught, n)
	for i := range all {
		all[i] = caught{make(chan answer, 2)}
		if err := p.send(&nats.Msg{Subject: "echo", Data: fmt.Append(nil, i)}, all[i]); err != nil {
			t.Fatal(err)
		}
	}
	var held []*nats.Msg
	for range n {
		held = append(held, <-requests)
	}
	for i := n - 1; i >= 0; i-- { // the other way round
		for range 2 { // the second one is nobody's
			if err := held[i].Respond(held[i].Data); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, c := range all {
		if a := <-c.out; a.err != nil || string(a.msg.Data) != fmt.Sprint(i) {
			t.Fatalf("request %d hears %+v", i, a)
		}
	}
	if len(p.free) != len(p.slots) {
		t.Errorf("%d of %d slots are free", len(p.free), len(p.slots))
	}
}

func TestPipeGivesUp(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "slow")
	p := s.pipe(t, 3)
	first := caught{make(chan answer, 2)}
	if err := p.send(&nats.Msg{Subject: "slow", Data: []byte("first")}, first); err != nil {
		t.Fatal(err)
	}
	late := <-requests
	for range 3 {
		p.tick()
	}
	if len(first.out) > 0 {
		t.Fatal("it gives up too early")
	}
	p.tick()
	if a := <-first.out; !errors.Is(a.err, errTimeout) {
		t.Fatalf("it hears %+v", a)
	}
	// The slot is used again; the late answer must not be taken for the new one's.
	second := caught{make(chan answer, 2)}
	if err := p.send(&nats.Msg{Subject: "slow", Data: []byte("second")}, second); err != nil {
		t.Fatal(err)
	}
	if err := late.Respond([]byte("first")); err != nil {
		t.Fatal(err)
	}
	m := <-requests
	if err := m.Respond([]byte("second")); err != nil {
		t.Fatal(err)
	}
	if a := <-second.out; a.err != nil || string(a.msg.Data) != "second" {
		t.Fatalf("the second hears %+v", a)
	}
	if len(p.slots) != 1 || len(first.out) > 0 {
		t.Errorf("%d slots, and the first heard %d answers more", len(p.slots), len(first.out))
	}
}

// blocked hears its answer for as long as it is held.
type blocked struct{ hears, held chan struct{} }

func (b blocked) replied(*nats.Msg) {
	close(b.hears)
	<-b.held
}
func (b blocked) lost(error) {}

func TestPipeClosesWhenAllHaveHeard(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "echo")
	p := s.pipe(t, 3)
	b := blocked{make(chan struct{}), make(chan struct{})}
	if err := p.send(&nats.Msg{Subject: "echo"}, b); err != nil {
		t.Fatal(err)
	}
	if err := (<-requests).Respond(nil); err != nil {
		t.Fatal(err)
	}
	<-b.hears
	closed := make(chan error, 1)
	go func() { closed <- p.close() }()
	await(t, "it is being closed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.closed
	})
	for range 10_000 {
		runtime.Gosched()
	}
	if len(closed) > 0 {
		t.Error("it is closed before its caller has heard")
	}
	close(b.held)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestPipeIsBounded(t *testing.T) {
	p := newSite(t).pipe(t, 3)
	p.slots = make([]slot, maxOutstanding) // none is free
	if err := p.send(&nats.Msg{Subject: "x"}, caught{}); !errors.Is(err, errBusy) {
		t.Fatalf("error is %v, want busy", err)
	}
}

func TestPipeNotConnected(t *testing.T) {
	s := newSite(t)
	p := s.pipe(t, 3)
	out := caught{make(chan answer, 2)}
	if err := p.send(&nats.Msg{Subject: "x", Data: make([]byte, 2<<20)}, out); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("error is %v, want max payload", err)
	}
	p.nc.Close()
	if err := p.send(&nats.Msg{Subject: "x"}, out); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("error is %v, want closed", err)
	}
	if len(out.out) > 0 || len(p.free) != len(p.slots) {
		t.Errorf("the caller heard %d answers, %d of %d slots are free", len(out.out), len(p.free), len(p.slots))
	}
}

// TestPipeHasRoomForAll sends from many sides while answers come and time passes.
func TestPipeHasRoomForAll(t *testing.T) {
	s := newSite(t)
	responder := s.connect(t)
	if _, err := responder.Subscribe("some", func(m *nats.Msg) {
		if len(m.Data)%3 > 0 {
			_ = m.Respond(m.Data)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := responder.Flush(); err != nil {
		t.Fatal(err)
	}
	p := s.pipe(t, 2)
	stop := make(chan struct{})
	var ticking, sending sync.WaitGroup
	ticking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.tick()
			}
		}
	})
	for range 8 {
		sending.Go(func() {
			for i := range 300 {
				c := caught{make(chan answer, 2)}
				if err := p.send(&nats.Msg{Subject: "some", Data: make([]byte, i)}, c); err != nil {
					t.Error(err)
					return
				}
				if a := <-c.out; a.err == nil && len(a.msg.Data) != i {
					t.Errorf("request %d hears answer %d", i, len(a.msg.Data))
				}
			}
		})
	}
	sending.Wait()
	close(stop)
	ticking.Wait()
}
