package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// held has the first question whether there are any wait until it is let go, and notes for how many each asks.
func (f *fake) held() (sizes func() []int, come, release chan struct{}) {
	var asked []int
	come, release = make(chan struct{}), make(chan struct{})
	f.read = func(m *nats.Msg) bool {
		if f.asks(m) != whether {
			f.t.Errorf("it asks for %s", f.asks(m))
			return true
		}
		var r struct {
			MultiLast []string `json:"multi_last"`
		}
		if err := json.Unmarshal(m.Data, &r); err != nil {
			f.t.Error(err)
		}
		if asked = append(asked, len(r.MultiLast)); len(asked) > 1 {
			return true
		}
		close(come)
		go func() {
			<-release
			f.send(m, nil, nats.Header{"Status": {"404"}, "Description": {"No Results"}})
		}()
		return false
	}
	sizes = func() []int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Clone(asked)
	}
	return sizes, come, release
}

// gathered waits until so many wait to be asked for.
func (n *newcomers) gathered(t *testing.T, want int) {
	t.Helper()
	await(t, fmt.Sprint(want, " wait"), func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.waiting) == want
	})
}

// TestNewcomersAreAskedForTogether: those that come while one is asked for.
func TestNewcomersAreAskedForTogether(t *testing.T) {
	f := newSite(t).fake(t)
	n := f.store.partitions[0].newcomers
	n.likely.Store(true)
	sizes, come, release := f.held()
	var all sync.WaitGroup
	load := func(id int) {
		all.Go(func() {
			ref := holdfast.Ref{Type: "account", ID: fmt.Sprint("n-", id)}
			first, _ := persistence.NewHead(f.context, ref)
			if l, err := f.store.Load(t.Context(), ref, ""); err != nil || !l.Head.Equal(first) {
				t.Errorf("loaded %+v, %v", l.Head, err)
			}
		})
	}
	load(0)
	<-come
	const others = mostNewcomers + 4
	for i := range others {
		load(1 + i)
	}
	n.gathered(t, others)
	close(release)
	all.Wait()
	if got := sizes(); !slices.Equal(got, []int{1, mostNewcomers, 4}) {
		t.Errorf("it asked for %v at a time", got)
	}
	if !n.likely.Load() {
		t.Error("new ones are not likely any more")
	}
}

// TestNewcomersLeave has some give up while they wait: the others are asked for all the same.
func TestNewcomersLeave(t *testing.T) {
	f := newSite(t).fake(t)
	n := f.store.partitions[0].newcomers
	n.likely.Store(true)
	sizes, come, release := f.held()
	var all sync.WaitGroup
	load := func(ctx context.Context, id int, want error) {
		all.Go(func() {
			_, err := f.store.Load(ctx, holdfast.Ref{Type: "account", ID: fmt.Sprint("n-", id)}, "")
			if !errors.Is(err, want) {
				t.Errorf("%d: error is %v, want %v", id, err, want)
			}
		})
	}
	load(t.Context(), 0, nil)
	<-come
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 3 {
		load(ctx, 1+i, context.Canceled)
		n.gathered(t, 1+i)
	}
	for i := range 2 {
		load(t.Context(), 4+i, nil)
		n.gathered(t, 4+i)
	}
	cancel()
	n.gathered(t, 2)
	close(release)
	all.Wait()
	if got := sizes(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("it asked for %v at a time", got)
	}
}

// TestNewcomerWhoseTurnItIs gives up in that moment: the next one has the turn.
func TestNewcomerWhoseTurnItIs(t *testing.T) {
	f := newSite(t).fake(t)
	n := f.store.partitions[0].newcomers
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		var all sync.WaitGroup
		for i := range 8 {
			n.likely.Store(true)
			ctx := t.Context()
			if i%2 == 0 {
				ctx = gone
			}
			all.Go(func() {
				_, err := f.store.Load(ctx, holdfast.Ref{Type: "account", ID: fmt.Sprint("n-", i)}, "")
				if err != nil && !(ctx == gone && errors.Is(err, context.Canceled)) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		all.Wait()
	}
	n.gathered(t, 0)
}

// TestNewcomersThatAreNot: whatever but the one answer is said, each is looked for by itself.
func TestNewcomersThatAreNot(t *testing.T) {
	on := newSite(t)
	for name, o := range map[string]odd{
		"one is there": nil, "one cannot be read": status("404", "Message Not Found"), "too many": status("413", "No Results"),
		"an error": status("500", "No Results"), "nobody answers": status("503", ""),
	} {
		f := on.fake(t)
		f.grow(3)
		n := f.store.partitions[0].newcomers
		n.likely.Store(true)
		if o != nil {
			f.answer(map[string]odd{whether: o})
		}
		if l, err := f.store.Load(t.Context(), fakeRef, ""); err != nil || l.Head.Version != 3 {
			t.Errorf("%s: loaded version %d, %v", name, l.Head.Version, err)
		}
		if n.likely.Load() {
			t.Errorf("%s: new ones are still likely", name)
		}
	}
}

// TestNewcomerWithASnapshot is none: its log has been lost, which a load tells of.
func TestNewcomerWithASnapshot(t *testing.T) {
	f := newSite(t).fake(t)
	snap, err := persistence.EncodeSnapshot(persistence.Snapshot{Head: f.headOf(3), Fingerprint: "f"})
	if err != nil {
		t.Fatal(err)
	}
	f.store.snapshots.direct = string(f.context) + ".api.snapshots"
	f.store.partitions[0].newcomers.likely.Store(true)
	f.read = func(m *nats.Msg) bool {
		of := f.asks(m)
		if m.Subject == f.store.snapshots.direct || of == ofSnapshot {
			f.send(m, snap, nil)
		}
		if m.Subject == f.store.snapshots.direct {
			f.send(m, nil, nats.Header{"Status": {"204"}, "Description": {"EOB"}})
		}
		return m.Subject != f.store.snapshots.direct && of != ofSnapshot
	}
	if l, err := f.store.Load(t.Context(), fakeRef, "f"); err != nil || l.Head.Version != 0 || l.Ignored == nil {
		t.Errorf("loaded version %d, ignored %v, %v", l.Head.Version, l.Ignored, err)
	}
}

// headOf is where a log of so many commits ends, which is not there.
func (f *fake) headOf(commits int) persistence.Head {
	f.grow(commits)
	h := f.head()
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.bodies)
	f.last = 0
	return h
}

// TestNothingBut tells what a replica has to say for others to be new.
func TestNothingBut(t *testing.T) {
	known := &nats.Msg{Header: nats.Header{"Nats-Subject": {"known"}}}
	end := func(status, pending, upTo string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Status": {status}, "Nats-Num-Pending": {pending}, "Nats-UpTo-Sequence": {upTo}}}
	}
	for name, c := range map[string]struct {
		got  answer
		want bool
	}{
		"only what is known": {answer{parts: []*nats.Msg{known}, msg: end("204", "0", "7")}, true},
		"further":            {answer{parts: []*nats.Msg{known}, msg: end("204", "0", "8")}, true},
		"behind":             {answer{parts: []*nats.Msg{known}, msg: end("204", "0", "6")}, false},
		"another one":        {answer{parts: []*nats.Msg{{Header: nats.Header{"Nats-Subject": {"new"}}}}, msg: end("204", "0", "7")}, false},
		"more than that":     {answer{parts: []*nats.Msg{known}, msg: end("204", "1", "7")}, false},
		"broken off":         {answer{parts: []*nats.Msg{known}, msg: end("404", "0", "7")}, false},
		"nothing":            {answer{msg: end("404", "0", "7")}, false},
		"no answer":          {answer{err: errTimeout}, false},
	} {
		if got := nothingBut(c.got, "known", 7); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestNewcomersOfAReplica are asked for beside one that is known: without that nothing is asked.
func TestNewcomersOfAReplica(t *testing.T) {
	f := newSite(t).fake(t)
	p := f.store.partitions[0]
	p.replicated = true
	known, other := f.subject(), "other"
	asked := []*newcomer{{subject: known}}
	if p.newcomers.areNew(t.Context(), asked) {
		t.Error("nothing is known, and they are new")
	}
	p.appended.Store(&known)
	if p.newcomers.areNew(t.Context(), asked) {
		t.Error("what is known is new")
	}
	if f.reads != 0 {
		t.Errorf("it asked %d times", f.reads)
	}
	p.appended.Store(&other)
	if p.newcomers.areNew(t.Context(), asked); f.reads == 0 {
		t.Error("it did not ask")
	}
}
