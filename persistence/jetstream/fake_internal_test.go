package jetstream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const patience = time.Minute

// fake is a JetStream of one stream that answers as a test tells it to, at subjects of
// its own beside the real one's.
type fake struct {
	t       *testing.T
	context messages.Context
	store   *Store
	serve   *nats.Conn // by which it answers
	ticks   chan time.Time
	arrived chan struct{} // an append

	mu      sync.Mutex
	ids     int
	bodies  map[uint64][]byte
	last    uint64
	publish func(*nats.Msg)      // what happens to an append
	read    func(*nats.Msg) bool // whether a read is answered
	reads   int
}

// A site is a server on which fakes are, each with subjects of its own.
type site struct {
	server *natsd.Server
	fakes  int
	conns  []*nats.Conn // of pipes, and of those who listen
}

func newSite(t *testing.T) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := natsd.Start(ctx, natsd.Config{DataDir: t.TempDir(), Context: "unused", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return &site{server: s}
}

// fake makes one that ends with the test.
func (s *site) fake(t *testing.T) *fake {
	t.Helper()
	s.fakes++
	name := fmt.Sprintf("fake%d", s.fakes)
	connect := func() *nats.Conn {
		nc, err := s.server.Connect(natsd.Node, nats.ReconnectBufSize(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	f := &fake{
		t: t, context: messages.Context(name), ticks: make(chan time.Time), arrived: make(chan struct{}, 1000),
		bodies: map[uint64][]byte{}, read: func(*nats.Msg) bool { return true },
	}
	f.publish = f.accept
	serve := connect()
	f.serve = serve
	for subject, handle := range map[string]nats.MsgHandler{name + ".log.0.>": f.onPublish, name + ".api.>": f.onRead} {
		if _, err := serve.Subscribe(subject, handle); err != nil {
			t.Fatal(err)
		}
	}
	if err := serve.Flush(); err != nil {
		t.Fatal(err)
	}
	f.store = f.open(connect(), connect())
	return f
}

func (f *fake) stream() string  { return f.context.LogStream(0) }
func (f *fake) subject() string { return string(f.context) + ".log.0.account.a-1" }

func (f *fake) open(publish, read *nats.Conn) *Store {
	f.t.Helper()
	cfg, err := Config{
		Context: f.context, Publish: publish, Read: []*nats.Conn{read}, Logger: slog.New(slog.DiscardHandler),
		newTicker: func(time.Duration) (<-chan time.Time, func()) { return f.ticks, func() {} },
		newID: func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ids++
			return "id-" + strconv.Itoa(f.ids)
		},
	}.withDefaults()
	if err != nil {
		f.t.Fatal(err)
	}
	p := newPartition(0, f.stream(), 1)
	api := string(f.context) + ".api."
	p.direct, p.leader, p.info = api+"direct", api+"leader", api+"info"
	s := &Store{
		context: cfg.Context, log: cfg.Logger, newID: cfg.newID, partitions: []*partition{p},
		snapshots: newPartition(0, f.context.SnapshotStream(), 1), settlers: make(chan struct{}, settlers), readTimeout: cfg.ReadTimeout,
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if err := s.start(cfg); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

func (f *fake) onPublish(m *nats.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publish(m)
	f.arrived <- struct{}{}
}

// put stores a body; the lock must be held.
func (f *fake) put(body []byte) uint64 {
	f.last += 3 // others lie in between
	f.bodies[f.last] = body
	return f.last
}

// accept stores and acknowledges.
func (f *fake) accept(m *nats.Msg) {
	f.respond(m, fmt.Sprintf(`{"stream":%q,"seq":%d}`, f.stream(), f.put(m.Data)))
}

func (f *fake) respond(m *nats.Msg, text string) {
	if err := m.Respond([]byte(text)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		f.t.Error(err)
	}
}

func (f *fake) refusal(code int) string {
	return fmt.Sprintf(`{"error":{"code":400,"err_code":%d,"description":"no"},"stream":%q,"seq":0}`, code, f.stream())
}

func (f *fake) onRead(m *nats.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if !f.read(m) {
		return
	}
	var r struct {
		Seq       uint64   `json:"seq"`
		LastBy    string   `json:"last_by_subj"`
		MultiLast []string `json:"multi_last"`
	}
	if len(m.Data) > 0 {
		if err := json.Unmarshal(m.Data, &r); err != nil {
			f.t.Error(err)
		}
	}
	seq := r.Seq
	if seq == 0 {
		seq = f.last
	}
	body, ok := f.bodies[seq]
	subject, api := f.subject(), string(f.context)+".api."
	switch {
	case m.Subject == api+"info":
		n := map[string]int{}
		if len(f.bodies) > 0 {
			n[subject] = len(f.bodies)
		}
		counts, _ := json.Marshal(n)
		f.respond(m, fmt.Sprintf(`{"state":{"messages":%d,"subjects":%s}}`, len(f.bodies), counts))
	case m.Subject == api+"leader" && !ok:
		f.respond(m, f.refusal(codeNoMessage))
	case m.Subject == api+"leader":
		f.respond(m, fmt.Sprintf(`{"message":{"subject":%q,"seq":%d,"data":%q}}`, subject, seq, base64.StdEncoding.EncodeToString(body)))
	case !ok, r.MultiLast != nil && !slices.Contains(r.MultiLast, subject):
		f.send(m, nil, nats.Header{"Status": {"404"}, "Description": {"No Results"}})
	default:
		f.send(m, body, nats.Header{"Nats-Subject": {subject}, "Nats-Sequence": {strconv.FormatUint(seq, 10)}})
		if r.MultiLast != nil {
			f.send(m, nil, nats.Header{"Status": {"204"}, "Description": {"EOB"}, "Nats-Num-Pending": {"0"}})
		}
	}
}

func (f *fake) send(m *nats.Msg, body []byte, h nats.Header) {
	if err := m.RespondMsg(&nats.Msg{Data: body, Header: h}); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		f.t.Error(err)
	}
}

// grow adds the commits of others, as the log has them.
func (f *fake) grow(n int) {
	f.t.Helper()
	for range n {
		h := f.head()
		c, err := h.Seal(f.store.newID(), []*messages.Change{{CommandId: "other", Events: []*messages.Event{{Type: "t"}}}})
		if err != nil {
			f.t.Fatal(err)
		}
		f.mu.Lock()
		f.put(c.Body)
		f.mu.Unlock()
	}
}

// head is where the log ends, by what its last commit says.
func (f *fake) head() persistence.Head {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == 0 {
		h, err := persistence.NewHead(f.context, fakeRef)
		if err != nil {
			f.t.Fatal(err)
		}
		return h
	}
	c, err := persistence.Open(holdfast.NewPosition(0, f.last), f.bodies[f.last])
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Head()
}

var fakeRef = holdfast.Ref{Type: "account", ID: "a-1"}

type result struct {
	head persistence.Head
	err  error
}

// begin appends; the answer goes to the channel.
func (f *fake) begin(after persistence.Head) chan result {
	results := make(chan result, 2)
	f.store.Append(fakeRef, after, []*messages.Change{{CommandId: "mine", Events: []*messages.Event{{Type: "t"}}}},
		func(h persistence.Head, err error) { results <- result{h, err} })
	return results
}

// end waits for the answer.
func (f *fake) end(results chan result) result {
	f.t.Helper()
	select {
	case r := <-results:
		return r
	case <-time.After(patience):
		f.t.Fatal("the append is not answered")
		panic("unreachable")
	}
}

// pass lets as much time pass as makes one request lost.
func (f *fake) pass() {
	for range f.store.publish.timeout + 1 {
		f.ticks <- time.Time{}
	}
}

// settle returns when what has been sent has come, and what was answered too.
func (f *fake) settle() {
	asking := []*nats.Conn{f.store.publish.nc, f.store.reads.pipes[0].nc}
	for _, nc := range slices.Concat(asking, []*nats.Conn{f.serve}, asking) {
		_ = nc.Flush() // or it has been closed
	}
}

// endTicking waits for the answer while time passes, slowly against what a request takes.
func (f *fake) endTicking(results chan result) result {
	f.t.Helper()
	slow := time.NewTicker(10 * time.Millisecond)
	defer slow.Stop()
	for range patience / (10 * time.Millisecond) {
		select {
		case r := <-results:
			return r
		case <-slow.C:
			f.settle()
			f.ticks <- time.Time{}
		}
	}
	f.t.Fatal("the append is not answered")
	panic("unreachable")
}
