package jetstream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// TestPipeIgnoresWhatItDidNotAskFor has answers come that are to nothing.
func TestPipeIgnoresWhatItDidNotAskFor(t *testing.T) {
	s := newSite(t)
	requests := s.listen(t, "echo")
	p := s.pipe(t, 3)
	c := caught{make(chan answer, 2)}
	if err := p.send(&nats.Msg{Subject: "echo"}, c); err != nil {
		t.Fatal(err)
	}
	right := <-requests
	nc := s.connect(t)
	for _, token := range []string{"!", "zzzzzzzzzzzzzzzz", "3w5e11264sgsf", "0", "1", "zzzz"} {
		if err := nc.Publish(p.prefix+token, []byte("wrong")); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := right.Respond([]byte("right")); err != nil {
		t.Fatal(err)
	}
	if a := <-c.out; a.err != nil || string(a.msg.Data) != "right" {
		t.Fatalf("it hears %+v", a)
	}
}

func TestPipeLeavesNoSubscription(t *testing.T) {
	s := newSite(t)
	nc := s.connect(t)
	p, err := newPipe(nc, 3)
	if err != nil {
		t.Fatal(err)
	}
	if msgs, size, err := p.sub.PendingLimits(); err != nil || msgs > 0 || size > 0 {
		t.Errorf("answers beyond %d or %d bytes are dropped, %v", msgs, size, err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if n := nc.NumSubscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// A stuck connection keeps one write and then refuses it.
type stuck struct {
	net.Conn
	hold       *atomic.Bool
	held, fail chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	if s.hold.CompareAndSwap(true, false) {
		close(s.held)
		<-s.fail
		return 0, io.ErrClosedPipe
	}
	return s.Conn.Write(b)
}

func (s stuck) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, patience)
	s.Conn = conn
	return s, err
}

// TestPipeTellsOnce has a connection break while a request is being written: its caller
// hears so, or the sender, and not both.
func TestPipeTellsOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := natsd.Start(ctx, natsd.Config{DataDir: t.TempDir(), Context: "unused", Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	admin, err := natsd.ReadAdmin(server.Config().DataDir)
	if err != nil {
		t.Fatal(err)
	}
	line := stuck{hold: new(atomic.Bool), held: make(chan struct{}), fail: make(chan struct{})}
	nc, err := nats.Connect(server.ClientURL(), nats.UserInfo(admin.User, admin.Password), nats.SetCustomDialer(line), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	p, err := newPipe(nc, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	line.hold.Store(true)
	c := caught{make(chan answer, 2)}
	sent := make(chan error, 1)
	go func() { sent <- p.send(&nats.Msg{Subject: "x", Data: make([]byte, 1<<18)}, c) }() // too much to be buffered
	<-line.held
	p.broken()
	if a := <-c.out; !errors.Is(a.err, errDisconnected) {
		t.Errorf("the caller hears %+v", a)
	}
	close(line.fail)
	if err := <-sent; err != nil {
		t.Errorf("the sender hears it as well: %v", err)
	}
	if len(c.out) > 0 || len(p.free) != len(p.slots) {
		t.Errorf("the caller heard %d answers more, %d of %d slots are free", len(c.out), len(p.free), len(p.slots))
	}
}

// TestReadsGiveBackTheirRoom: neither what is not sent nor what is not answered takes
// room for ever.
func TestReadsGiveBackTheirRoom(t *testing.T) {
	s := newSite(t)
	s.listen(t, "mute")
	p := s.pipe(t, 0)
	r := &reads{pipes: []*pipe{p}}
	out := make(chan answer, 1)
	if err := r.lane().ask(t.Context(), query{subject: "mute"}, 0, out); err != nil {
		t.Fatal(err)
	}
	p.tick()
	if a := <-out; !errors.Is(a.err, errTimeout) || r.taken != 0 {
		t.Errorf("a lost request: %v, %d bytes are still taken", a.err, r.taken)
	}
	p.nc.Close()
	if err := r.lane().ask(t.Context(), query{subject: "mute"}, 0, out); err == nil || r.taken != 0 {
		t.Errorf("a request that is not sent: %v, %d bytes are still taken", err, r.taken)
	}
}

// TestReadsOfWhatIsTooBig: an answer larger than all that may be on its way comes alone.
func TestReadsOfWhatIsTooBig(t *testing.T) {
	r := &reads{size: 2 * inFlight}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if w, err := r.enter(ctx, 0); err != nil || w != inFlight {
		t.Errorf("it weighs %d, %v", w, err)
	}
}

// TestReadsAdmittedAsTheirContextEnds: whoever was let in must not say that it was not.
func TestReadsAdmittedAsTheirContextEnds(t *testing.T) {
	for range 200 {
		r := &reads{taken: inFlight}
		ctx, cancel := context.WithCancel(t.Context())
		entered := make(chan error, 1)
		go func() {
			w, err := r.enter(ctx, 0)
			if err == nil {
				r.leave(w, unknown)
			}
			entered <- err
		}()
		await(t, "it waits", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.waiting) == 1
		})
		r.mu.Lock()
		cancel()
		for range 100 {
			runtime.Gosched() // it is about to give up
		}
		r.taken = 0
		r.admit()
		r.mu.Unlock()
		if err := <-entered; err != nil || r.taken != 0 {
			t.Fatalf("error is %v, %d bytes are taken", err, r.taken)
		}
	}
}

// TestAppendLargerThanItsLimitSays: what the connection does not take is too large.
func TestAppendLargerThanItsLimitSays(t *testing.T) {
	f := newSite(t).fake(t)
	f.store.newID = func() string { return strings.Repeat("x", 2*headroom) }
	results := make(chan result, 2)
	changes := []*messages.Change{{CommandId: strings.Repeat("c", f.store.Limit()-20)}}
	f.store.Append(fakeRef, f.head(), changes, func(h persistence.Head, err error) { results <- result{h, err} })
	if r := f.end(results); !errors.Is(r.err, holdfast.ErrTooLarge) {
		t.Errorf("error is %v, want too large", r.err)
	}
}

// TestWalkIsBounded: no more is asked for than there is room for the answers.
func TestWalkIsBounded(t *testing.T) {
	f := newSite(t).fake(t)
	f.read = func(*nats.Msg) bool { return false }
	a, err := f.store.aggregate(fakeRef)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * window
	w := walk{store: f.store, a: a, by: f.store.reads.lane(), out: make(chan answer, window)}
	for i := range n {
		w.steps = append(w.steps, step{seq: uint64(2 * (n - i))})
	}
	if err := w.ask(t.Context()); err != nil || w.pending != window {
		t.Errorf("%d are asked for, %v, want %d", w.pending, err, window)
	}
}

// TestBackwardsFromBeforeTheFirst has a log begin in the middle.
func TestBackwardsFromBeforeTheFirst(t *testing.T) {
	f := newSite(t).fake(t)
	h := f.head()
	h.Version = 4
	c, err := h.Seal("fifth", []*messages.Change{{Events: []*messages.Event{{Type: "t"}}}})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.put(c.Body)
	f.mu.Unlock()
	for from := range holdfast.Version(7) {
		n := 0
		for _, err = range f.store.Backwards(t.Context(), fakeRef, from) {
			n++
		}
		if n != 1 || !errors.Is(err, holdfast.ErrCorrupt) {
			t.Errorf("from version %d: %d commits, %v, want corrupt", from, n, err)
		}
	}
}
