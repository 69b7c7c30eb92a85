package jetstream

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// gathered makes a fake that takes batches, and has them answered as a test tells it to.
type gathered struct {
	*fake
	batch  []*nats.Msg // that comes
	alone  []string    // the subjects of those that came so
	held   []*nats.Msg // of those, which have not been answered
	hold   bool
	answer func(batch []*nats.Msg)
	stored map[string]stored
}

func (s *site) gathered(t *testing.T) *gathered {
	t.Helper()
	g := &gathered{fake: s.fake(t), hold: true, stored: map[string]stored{}}
	g.store.partitions[0].coalescer = newCoalescer(g.store)
	g.publish = func(m *nats.Msg) {
		if m.Header.Get(headerBatch) == "" {
			g.alone = append(g.alone, m.Subject)
			if g.hold {
				g.held = append(g.held, m)
			} else {
				g.takeAlone(m)
			}
			return
		}
		if g.batch = append(g.batch, m); m.Header.Get(headerCommit) != "" {
			batch := g.batch
			g.batch = nil
			g.answer(batch)
		}
	}
	g.answer = g.take
	g.read = func(m *nats.Msg) bool {
		got, ok := g.stored[strings.TrimPrefix(m.Subject, string(g.context)+".api.direct.")]
		if !ok {
			g.send(m, nil, nats.Header{"Status": {"404"}, "Description": {"No Results"}})
			return false
		}
		g.send(m, got.body, nats.Header{"Nats-Subject": {got.subject}, "Nats-Sequence": {strconv.FormatUint(got.seq, 10)}})
		return false
	}
	return g
}

func (g *gathered) keep(m *nats.Msg) uint64 {
	seq := g.put(m.Data)
	g.stored[m.Subject] = stored{subject: m.Subject, seq: seq, body: slices.Clone(m.Data)}
	return seq
}

func (g *gathered) takeAlone(m *nats.Msg) {
	g.respond(m, fmt.Sprintf(`{"stream":%q,"seq":%d}`, g.stream(), g.keep(m)))
}

// store keeps the batch where it would stand.
func (g *gathered) storeBatch(batch []*nats.Msg) {
	for _, m := range batch {
		g.keep(m)
		g.last -= 2 // nothing lies in between
		s := g.stored[m.Subject]
		s.seq = g.last
		g.stored[m.Subject] = s
	}
}

func (g *gathered) take(batch []*nats.Msg) {
	g.storeBatch(batch)
	end := batch[len(batch)-1]
	g.respond(end, fmt.Sprintf(`{"stream":%q,"seq":%d,"batch":%q,"count":%d}`, g.stream(), g.last, end.Header.Get(headerBatch), len(batch)))
}

func (g *gathered) ref(i int) holdfast.Ref { return holdfast.Ref{Type: "account", ID: strconv.Itoa(i)} }

// at is where the commit of number i is stored.
func (g *gathered) at(i int) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stored[string(g.context)+".log.0.account."+strconv.Itoa(i)].seq
}

// append has some append, of which the first go alone and stay without an answer.
func (g *gathered) append(n int) []chan result {
	g.t.Helper()
	g.rest()
	var all []chan result
	for i := range n {
		results := make(chan result, 2)
		all = append(all, results)
		g.store.Append(g.ref(i), persistence.Head{}, []*messages.Change{{CommandId: "mine", Events: []*messages.Event{{Type: "t"}}}},
			func(h persistence.Head, err error) { results <- result{h, err} })
	}
	for range worthwhile {
		<-g.arrived
	}
	return all
}

// rest waits until nothing is under way: a caller hears of its append before the coalescer does.
func (g *gathered) rest() {
	g.t.Helper()
	c := g.store.partitions[0].coalescer
	idle := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.alone == 0 && !c.batched && len(c.waiting) == 0
	}
	for end := time.Now().Add(time.Minute); !idle(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatal("something is under way for ever")
		}
	}
}

// release answers those that came alone, whereupon the others come.
func (g *gathered) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = false
	for _, m := range g.held {
		g.takeAlone(m)
	}
	g.held = nil
}

// TestBatchHeaders: each has what it would have alone, and what makes it part of the batch.
func TestBatchHeaders(t *testing.T) {
	g := newSite(t).gathered(t)
	const n = 40
	var batch []*nats.Msg
	g.answer = func(b []*nats.Msg) {
		batch = b
		g.take(b)
	}
	results := g.append(worthwhile + n)
	g.release()
	for i, r := range results {
		if r := g.end(r); r.err != nil || r.head.Position.Sequence() != g.at(i) {
			t.Errorf("number %d hears %+v", i, r)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, m := range batch {
		want := nats.Header{
			"Nats-Msg-Id": {fmt.Sprintf("id-%d", worthwhile+i+1)}, "Nats-Expected-Last-Subject-Sequence": {"0"},
			"Nats-Batch-Id": {fmt.Sprintf("id-%d", worthwhile+1)}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)},
		}
		if i == n-1 {
			want["Nats-Batch-Commit"] = []string{"1"}
		}
		if fmt.Sprint(m.Header) != fmt.Sprint(want) || (m.Reply != "") != (i == n-1) {
			t.Errorf("message %d has %v and the reply %q, want %v", i, m.Header, m.Reply, want)
		}
	}
}

// TestBatchRefused: whatever the server says, each goes alone, once.
func TestBatchRefused(t *testing.T) {
	on := newSite(t)
	const n = 100
	for code, next := range map[int]int{ // the size of the next batch
		codeConflict: n, codeRacing: n, 10201: n, 10176: n, 10210: n, 10077: n, 10008: n, codeBatchTooLarge: n / 2, codeNoBatches: 0,
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			g := on.gathered(t)
			g.answer = func(b []*nats.Msg) { g.respond(b[len(b)-1], g.refusal(code)) }
			results := g.append(worthwhile + n)
			g.release()
			for i, r := range results {
				if r := g.end(r); r.err != nil {
					t.Errorf("number %d hears %v", i, r.err)
				}
			}
			g.mu.Lock()
			seen := map[string]int{}
			for _, subject := range g.alone {
				if seen[subject]++; seen[subject] > 1 {
					t.Errorf("%s came twice", subject)
				}
			}
			if s := g.store.Stats(); s.Parted != 1 || s.Batches != 0 || len(g.alone) != worthwhile+n {
				t.Errorf("stats are %+v, and %d came alone", s, len(g.alone))
			}
			size := 0
			g.hold, g.stored = true, map[string]stored{}
			g.answer = func(b []*nats.Msg) {
				size = max(size, len(b))
				g.take(b)
			}
			g.mu.Unlock()
			for len(g.arrived) > 0 {
				<-g.arrived
			}
			results = g.append(worthwhile + n)
			g.release()
			for _, r := range results {
				g.end(r)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if size != next {
				t.Errorf("the next batch has %d, want %d", size, next)
			}
		})
	}
}

// TestBatchOddAnswers: what the server has not said plainly is looked up.
func TestBatchOddAnswers(t *testing.T) {
	on := newSite(t)
	const n = 30
	for _, text := range []string{
		`{"stream":"%s","seq":46}`, `{"stream":"%s","seq":46,"batch":"%b"}`, `{"stream":"%s","seq":46,"batch":"%b","count":29}`,
		`{"stream":"%s","seq":46,"batch":"other","count":30}`, `{"stream":"OTHER","seq":46,"batch":"%b","count":30}`,
		`{"stream":"%s","seq":29,"batch":"%b","count":30}`, `{"stream":"%s","batch":"%b","count":30}`, `{}`, `x`, ``,
	} {
		for _, there := range []bool{true, false} {
			g := on.gathered(t)
			g.answer = func(b []*nats.Msg) {
				if there {
					g.storeBatch(b)
				}
				g.respond(b[n-1], strings.NewReplacer("%s", g.stream(), "%b", b[0].Header.Get(headerBatch)).Replace(text))
			}
			results := g.append(worthwhile + n)
			g.release()
			for i, r := range results {
				r := g.end(r)
				if i >= worthwhile && !there && !errors.Is(r.err, holdfast.ErrUncertain) || (there || i < worthwhile) && r.err != nil {
					t.Errorf("answer %q, in the log: %t: number %d hears %v", text, there, i, r.err)
				}
				if r.err == nil && r.head.Position.Sequence() != g.at(i) {
					t.Errorf("answer %q: number %d is said to be at %s, and is at %d", text, i, r.head.Position, g.at(i))
				}
			}
			if s := g.store.Stats(); s.Settled != n || s.Batches != 0 {
				t.Errorf("answer %q: stats are %+v", text, s)
			}
		}
	}
}

// TestBatchWithoutStream: nobody took it, and it is sent nowhere else.
func TestBatchWithoutStream(t *testing.T) {
	g := newSite(t).gathered(t)
	g.answer = func(b []*nats.Msg) { g.send(b[len(b)-1], nil, nats.Header{"Status": {"503"}}) }
	results := g.append(2 * worthwhile)
	g.release()
	for i, r := range results {
		if r := g.end(r); i >= worthwhile && !errors.Is(r.err, holdfast.ErrUnavailable) {
			t.Errorf("number %d hears %v", i, r.err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.alone) != worthwhile {
		t.Errorf("%d came alone", len(g.alone))
	}
}
