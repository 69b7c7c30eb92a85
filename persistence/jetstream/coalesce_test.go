package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/persistence/persistencetest"
)

// first of a throng go out alone, and the others when these have been answered.
const first = 16

// A throng appends to many aggregates at once, through a line that holds all of them back until
// the last has come.
type throng struct {
	servers *servers
	cfg     jetstream.Config
	store   *jetstream.Store
	line    *persistencetest.Proxy
	refs    []holdfast.Ref
	heads   []persistence.Head
	errs    []error
}

// newThrong makes one whose appends are looked up after timeout.
func newThrong(t *testing.T, n int, timeout time.Duration) *throng {
	t.Helper()
	s := startServers(t, 1, func(c *natsd.Config) { c.Listen = "127.0.0.1:0" })
	c := &throng{servers: s, line: persistencetest.NewProxy(t, s.address(t)), heads: make([]persistence.Head, n), errs: make([]error, n)}
	c.cfg = jetstream.Config{
		Context: "crowd", SyncAlways: true, AppendTimeout: timeout,
		Publish: s.connectThrough(t, c.line.Address()), Read: []*nats.Conn{s.connect(t, 0)},
	}
	c.store = s.open(t, c.cfg)
	for i := range n {
		c.refs = append(c.refs, holdfast.Ref{Type: "crowd", ID: fmt.Sprint(i)})
	}
	return c
}

func oneEvent(data []byte) []*messages.Change {
	return []*messages.Change{{CommandId: "c", Events: []*messages.Event{{Type: "test.Done", Schema: messages.SchemaProtobuf, Data: data}}}}
}

// append has all append, calls then when the first have been answered and the others are about
// to go, and waits until each has been told, once.
func (c *throng) append(t *testing.T, data []byte, then func()) {
	t.Helper()
	c.line.HoldRequests()
	answers := make(chan int, 2*len(c.refs))
	var mu sync.Mutex
	answered := 0
	for i, ref := range c.refs {
		c.store.Append(ref, c.heads[i], oneEvent(data), func(h persistence.Head, err error) {
			c.heads[i], c.errs[i] = h, err
			mu.Lock()
			answered++
			now := answered
			mu.Unlock()
			if now == first && then != nil {
				then()
			}
			answers <- i
		})
	}
	c.line.Release()
	told := make([]int, len(c.refs))
	late := time.After(long)
	for range c.refs {
		select {
		case i := <-answers:
			told[i]++
		case <-late:
			t.Fatal("some are not answered")
		}
	}
	for i, n := range told {
		if n != 1 {
			t.Errorf("%s is told %d times", c.refs[i], n)
		}
	}
}

// check compares the heads that callers were told with the log, which has to be sound.
func (c *throng) check(t *testing.T, want func(i int) holdfast.Version) {
	t.Helper()
	other := c.cfg
	other.Publish, other.Read = c.servers.connect(t, 0), []*nats.Conn{c.servers.connect(t, 0)}
	store := c.servers.open(t, other)
	for i, ref := range c.refs {
		if l := mustLoad(t, store, ref); l.Head.Version != want(i) || c.errs[i] == nil && !l.Head.Equal(c.heads[i]) {
			t.Errorf("%s: the log has version %d, want %d; its caller heard %+v, %v", ref, l.Head.Version, want(i), c.heads[i], c.errs[i])
		}
	}
	verifyLog(t, store)
}

func verifyLog(t *testing.T, store *jetstream.Store) {
	t.Helper()
	_, err := persistence.Verify(t.Context(), store, persistence.VerifyConfig{
		Context: "crowd", Report: func(f persistence.Finding) { t.Errorf("the log has %+v", f) },
	})
	if err != nil {
		t.Error(err)
	}
}

func always(v holdfast.Version) func(int) holdfast.Version {
	return func(int) holdfast.Version { return v }
}

func (c *throng) wantErrs(t *testing.T, from int, want ...error) {
	t.Helper()
	for i, err := range c.errs[from:] {
		if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
			t.Fatalf("%s: the error is %v, want %v", c.refs[from+i], err, want)
		}
	}
}

func (c *throng) wantBatches(t *testing.T, batches, batched, parted uint64) {
	t.Helper()
	if s := c.store.Stats(); s.Batches != batches || s.Batched != batched || s.Parted != parted {
		t.Errorf("stats are %+v, want %d batches of %d, %d parted", s, batches, batched, parted)
	}
}

func TestCoalesceWhatGathers(t *testing.T) {
	t.Parallel()
	const n, rounds = first + 500, 3
	c := newThrong(t, n, patient)
	for range rounds {
		c.append(t, nil, nil)
		c.wantErrs(t, 0, nil)
	}
	c.wantBatches(t, rounds, rounds*(n-first), 0)
	c.check(t, always(rounds))
	if s := c.store.Stats(); s.Settled != 0 {
		t.Errorf("%d were looked up", s.Settled)
	}
}

// A server takes a thousand at a time.
func TestCoalesceMoreThanABatchHolds(t *testing.T) {
	t.Parallel()
	const n = first + 2300
	c := newThrong(t, n, patient)
	c.append(t, nil, nil)
	c.wantBatches(t, 3, n-first, 0)
	c.check(t, always(1))
}

func TestCoalesceNoMoreBytesThanABatchHolds(t *testing.T) {
	t.Parallel()
	const n = first + 200
	c := newThrong(t, n, patient)
	c.append(t, make([]byte, 20<<10), nil)
	c.wantBatches(t, 2, n-first, 0) // with the 2 MiB of the first
	c.check(t, always(1))
}

// What is large is not worth a batch.
func TestCoalesceNothingLarge(t *testing.T) {
	t.Parallel()
	c := newThrong(t, 60, patient)
	c.append(t, make([]byte, 100<<10), nil)
	c.wantBatches(t, 0, 0, 0)
	c.check(t, always(1))
}

// An append that has the server to itself waits for nothing, and no trace of batches is left.
func TestCoalesceNothingWhenIdle(t *testing.T) {
	t.Parallel()
	c := newThrong(t, 10, patient)
	js, err := natsjs.New(c.servers.connect(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range c.refs {
		c.heads[i] = mustAppend(t, c.store, ref, c.heads[i])
		stream, err := js.Stream(t.Context(), "CROWD_LOG_0")
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), c.heads[i].Position.Sequence())
		if err != nil || m.Header.Get("Nats-Msg-Id") == "" || m.Header.Get("Nats-Batch-Id") != "" {
			t.Errorf("headers are %v, %v", m.Header, err)
		}
	}
	c.wantBatches(t, 0, 0, 0)
}

// Of those who gather in one batch, only the one whose head has been overtaken hears of it.
func TestCoalesceAConflictStrikesOne(t *testing.T) {
	t.Parallel()
	const n, guilty = first + 100, first + 50
	c := newThrong(t, n, patient)
	other := c.servers.open(t, jetstream.Config{Context: "crowd"})
	mustAppend(t, other, c.refs[guilty], persistence.Head{})
	c.append(t, nil, nil)
	for i, err := range c.errs {
		if i == guilty != errors.Is(err, holdfast.ErrConflict) || i != guilty && err != nil {
			t.Errorf("%s: the error is %v", c.refs[i], err)
		}
	}
	c.wantBatches(t, 0, 0, 1)
	c.check(t, always(1))
	l, err := other.Load(t.Context(), c.refs[guilty], "")
	if err != nil {
		t.Fatal(err)
	}
	c.heads[guilty] = l.Head
	c.append(t, nil, nil)
	c.wantErrs(t, 0, nil)
	c.wantBatches(t, 1, n-first, 1)
	c.check(t, always(2))
}

// Two appends to one aggregate are never in the same batch, which would fail.
func TestCoalesceNotTheSameAggregateTwice(t *testing.T) {
	t.Parallel()
	const n = first + 60
	c := newThrong(t, n, patient)
	twice := first + 30
	c.refs[twice] = c.refs[first]
	c.append(t, nil, nil)
	if one, two := c.errs[first], c.errs[twice]; one != nil || !errors.Is(two, holdfast.ErrConflict) {
		t.Errorf("the errors are %v and %v", one, two)
	}
	c.errs[twice] = nil
	c.wantErrs(t, 0, nil)
	if s := c.store.Stats(); s.Batched != 30 {
		t.Errorf("stats are %+v", s)
	}
}

// The answer to a batch is lost: all of it is in the log, and each finds its own.
func TestCoalesceLostAnswer(t *testing.T) {
	t.Parallel()
	const n = first + 300
	var c *throng
	for range 10 { // a busy server may not have stored it when it is looked up
		c = newThrong(t, n, time.Second)
		if c.append(t, nil, c.line.LoseAnswers); !slices.ContainsFunc(c.errs, late) {
			break
		}
	}
	c.wantErrs(t, 0, nil)
	c.check(t, always(1))
	if s := c.store.Stats(); s.Settled < n-first { // on a busy machine some of the first are late, too
		t.Errorf("%d were looked up, want %d", s.Settled, n-first)
	}
	c.line.Release()
	c.append(t, nil, nil)
	c.wantErrs(t, 0, nil)
	c.check(t, always(2))
}

// A batch does not arrive, or not its end: nothing of it is stored, and nobody is told that it
// was.
func TestCoalesceLostBatch(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(*persistencetest.Proxy){
		"wholly":  (*persistencetest.Proxy).LoseRequests,
		"halfway": func(p *persistencetest.Proxy) { p.CutRequests(20_000) },
	} {
		t.Run(what, func(t *testing.T) {
			const n = first + 300
			c := newThrong(t, n, 2*time.Second)
			c.append(t, nil, func() { lose(c.line) })
			c.wantErrs(t, first, holdfast.ErrUncertain, holdfast.ErrUnavailable) // which they are when the line breaks before they go
			c.check(t, func(i int) holdfast.Version {
				if i < first {
					return 1
				}
				return 0
			})
			c.line.Break()
			awaitConnected(t, c.cfg.Publish)
			c.append(t, nil, nil)
			c.wantErrs(t, 0, nil)
		})
	}
}

func awaitConnected(t *testing.T, nc *nats.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for nc.FlushWithContext(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatal("the connection does not come back")
		}
	}
}

// Who has not been sent when the store is closed hears that, and who has been that nobody knows.
func TestCoalesceClose(t *testing.T) {
	t.Parallel()
	const n = first + 300
	c := newThrong(t, n, patient)
	c.line.HoldRequests()
	told := make([]error, n)
	var count sync.WaitGroup
	count.Add(n)
	for i, ref := range c.refs {
		c.store.Append(ref, c.heads[i], oneEvent(nil), func(_ persistence.Head, err error) {
			told[i] = err
			count.Done()
		})
	}
	c.store.Close()
	count.Wait()
	for i, err := range told {
		if i < first && !errors.Is(err, holdfast.ErrUncertain) || i >= first && !errors.Is(err, holdfast.ErrUnavailable) {
			t.Errorf("number %d hears %v", i, err)
		}
	}
	if _, err := tryAppend(t, c.store, c.refs[0], c.heads[0]); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("after that the error is %v", err)
	}
}

// The server's log of several partitions has each gather for itself.
func TestCoalesceByPartition(t *testing.T) {
	t.Parallel()
	s := startServers(t, 1)
	store := s.open(t, jetstream.Config{Context: "crowd", Partitions: 3, SyncAlways: true, AppendTimeout: patient})
	var all sync.WaitGroup
	for i := range 600 {
		ref := holdfast.Ref{Type: "crowd", ID: fmt.Sprint(i)}
		var head persistence.Head
		all.Go(func() {
			for range 3 {
				head = mustAppendOr(t, store, ref, head)
			}
		})
	}
	all.Wait()
	if stats := store.Stats(); stats.Batches < 3 || len(stats.Refused) > 0 || stats.Settled > 0 {
		t.Errorf("stats are %+v", stats)
	}
	verifyLog(t, store)
}

// mustAppendOr may be called by any goroutine.
func mustAppendOr(t *testing.T, s persistence.Store, ref holdfast.Ref, after persistence.Head) persistence.Head {
	var h persistence.Head
	tries := 0
	err := patiently(func() (err error) {
		if h, err = tryAppend(t, s, ref, after); errors.Is(err, holdfast.ErrConflict) && tries > 0 {
			return nil // the one before has come, in spite of an election
		}
		tries++
		return err
	})
	if err != nil {
		t.Errorf("append to %s: %v", ref, err)
	}
	return h
}

// A stream of several replicas, and a server that does not sync each message, get none.
func TestCoalesceOnlyWhereItPays(t *testing.T) {
	t.Parallel()
	for n, cfg := range map[int]jetstream.Config{1: {Context: "crowd"}, 3: {Context: "crowd", SyncAlways: true}} {
		store := startServers(t, n).open(t, cfg)
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() { mustAppendOr(t, store, holdfast.Ref{Type: "crowd", ID: fmt.Sprint(i)}, persistence.Head{}) })
		}
		all.Wait()
		if s := store.Stats(); s.Batches+s.Parted > 0 {
			t.Errorf("on %d servers: %+v", n, s)
		}
	}
}
