package jetstream

import (
	"context"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const (
	// window is how many requests of one load are on their way at a time.
	window = 256
	// leastQuick is how many commits are worth the message that counts them.
	leastQuick = 4
	// leastSpan is how many commits that follow one another are worth a request for a span:
	// the message that ends it costs as much as two.
	leastSpan = 3
	// mostSpan is how many messages a span has. The server gives them without a pause.
	mostSpan = 64
	// maxGrown is for how many commits there is room made at once, whatever their number is said
	// to be.
	maxGrown = 1 << 16
	// first is the tag of the question for the first commit.
	first = -1
)

// A walk reads commits of one aggregate from a known one backwards, many at a time. Each
// commit knows the sequences of 33 before it. When there may be more of them, the oldest known
// one is asked for first: while the others are on their way, it leads 33 further.
//
// A quick one asks for bodies alone, and for those that stand side by side together. That they
// are the aggregate's the chain says, which whoever walks checks; but not that they stand at its
// subject. So it asks how many do, too: if all of them, then these. What cannot be one, or does
// not come, is asked for by itself and with its headers, which tell what it is.
type walk struct {
	store *Store
	a     aggregate
	by    *lane
	stop  uint64 // sequences above it are read

	quick    bool
	counting bool   // nobody has said yet how many messages stand at the subject
	count    uint64 // how many do, if it is quick
	first    uint64 // where the first of them stands
	oldest   int    // the step that is the first commit, if it is known

	steps   []step               // newest first
	commits []persistence.Commit // beside steps; without a Commit until it is read
	next    int                  // what comes before it has been asked for
	further bool                 // the oldest known one is likely to lead further
	pending int
	out     chan answer
}

// A step is one commit of a walk.
type step struct {
	seq   uint64
	by    holdfast.Position // of the commit that names it
	asked bool
	doubt bool // it did not come as a body alone
	span  int  // how many were asked for together: this one, and those before it
}

// before reads the commits before c whose sequences are above stop, newest first. A quick one
// is complete when it has counted as many commits as there are up to c, or if it is dense, when
// they have been read otherwise.
func (s *Store) before(ctx context.Context, a aggregate, c persistence.Commit, stop uint64, by *lane, careful bool) (*walk, error) {
	w := &walk{store: s, a: a, by: by, stop: stop}
	w.extend(c)
	if len(w.steps) == 0 {
		return w, nil
	}
	w.quick = !careful && stop == 0 && len(w.steps) >= leastQuick
	room := window
	if !w.further {
		room = min(room, len(w.steps))
	}
	w.out = make(chan answer, room)
	if w.quick {
		if err := w.askFirst(ctx); err != nil {
			return nil, err
		}
	}
	for {
		if err := w.ask(ctx); err != nil {
			return nil, err
		}
		if w.pending == 0 {
			return w, nil
		}
		select {
		case got := <-w.out:
			if err := w.take(ctx, got); err != nil {
				return nil, err
			}
			if w.dense(c) {
				return w, nil
			}
		case <-ctx.Done():
			return nil, a.unavailable("read", context.Cause(ctx))
		}
	}
}

// dense reports whether all messages from the first at the subject to c, its last, are the
// aggregate's, and more than c knows of.
func (w *walk) dense(c persistence.Commit) bool {
	return w.first != 0 && w.oldest < 0 && c.Position.Sequence()-w.first+1 == w.count
}

// extend notes what c, the oldest known commit, knows of those before it.
func (w *walk) extend(c persistence.Commit) {
	before, n := c.Before(), 0
	for n < len(before) && before[n] > w.stop {
		n++
	}
	w.grow(n)
	for _, seq := range before[:n] {
		w.steps = append(w.steps, step{seq: seq, by: c.Position})
		w.commits = append(w.commits, persistence.Commit{})
	}
	w.further = n > messages.MaxTrail
}

// grow makes room for n more steps.
func (w *walk) grow(n int) {
	w.steps, w.commits = slices.Grow(w.steps, max(n, 0)), slices.Grow(w.commits, max(n, 0))
}

// askFirst asks for the first commit, and how many there are.
func (w *walk) askFirst(ctx context.Context) error {
	if err := w.by.ask(ctx, w.a.partition.directFirst(w.a.subject), first, w.out); err != nil {
		return w.a.unavailable("read", err)
	}
	w.pending++
	w.counting = true
	if w.oldest = -1; !w.further {
		w.oldest = len(w.steps) - 1
		w.steps[w.oldest].asked = true
	}
	return nil
}

// ask asks for as much as there is room for.
func (w *walk) ask(ctx context.Context) error {
	for w.pending < cap(w.out) {
		i, n := w.pick()
		if n == 0 {
			return nil
		}
		if err := w.by.ask(ctx, w.query(i, n), i, w.out); err != nil {
			return w.a.unavailable("read", err)
		}
		w.steps[i].span = n
		for j := range n {
			w.steps[i+j].asked = true
		}
		w.pending++
	}
	return nil
}

// pick gives what is to be asked for next: n steps from i on, none when all has been.
func (w *walk) pick() (i, n int) {
	if i = len(w.steps) - 1; w.further && !w.steps[i].asked {
		return i, 1
	}
	for w.next < len(w.steps) && w.steps[w.next].asked {
		w.next++
	}
	if i = w.next; i == len(w.steps) || w.counting && w.oldest < 0 { // if it is dense, that is in vain
		return i, 0
	}
	if !w.quick || w.steps[i].doubt {
		return i, 1
	}
	for n = 1; n < mostSpan && i+n < len(w.steps); n++ {
		if s := w.steps[i+n]; s.asked || s.doubt || s.seq+uint64(n) != w.steps[i].seq {
			break
		}
	}
	if n < leastSpan {
		return i, 1
	}
	return i, n
}

func (w *walk) query(i, n int) query {
	switch p := w.a.partition; {
	case n > 1:
		return p.quickSpan(w.steps[i+n-1].seq, n)
	case !w.quick || w.steps[i].doubt:
		return p.directAt(w.steps[i].seq)
	default:
		return p.quickAt(w.steps[i].seq)
	}
}

func (w *walk) take(ctx context.Context, got answer) error {
	w.pending--
	if got.tag == first {
		return w.takeFirst(got)
	}
	i := got.tag
	switch s := w.steps[i]; {
	case s.span > 1 && got.err == nil:
		w.takeSpan(i, s.span, got)
	case w.quick && !s.doubt && got.err == nil && got.msg.Header == nil:
		w.takeBody(i, got.msg)
	default:
		c, err := w.store.openAt(ctx, w.a, s.seq, s.by, got.msg, got.err)
		if err != nil {
			return err
		}
		w.know(i, c)
	}
	return nil
}

// takeFirst takes the aggregate's first commit.
func (w *walk) takeFirst(got answer) error {
	if got.err != nil {
		return w.a.unavailable("read", got.err)
	}
	w.counting = false
	seq := uint64(0)
	if len(got.parts) == 1 {
		seq = number(got.parts[0], "Nats-Sequence")
		w.first = seq
		w.count = number(got.parts[0], "Nats-Num-Pending") + 1
		w.grow(int(min(w.count, maxGrown)) - len(w.steps))
	}
	switch i := w.oldest; {
	case i < 0: // it is one of those that the walk comes to
	case seq == w.steps[i].seq:
		w.takeBody(i, got.parts[0])
	default:
		w.doubt(i)
	}
	return nil
}

// takeSpan takes those of n steps from i on that came. Since a sequence is passed over when
// nothing can be read there, they are believed only when they end where they must.
func (w *walk) takeSpan(i, n int, got answer) {
	came := len(got.parts)
	if number(got.msg, "Nats-Last-Sequence")+1 != w.steps[i+n-1].seq+uint64(came) {
		came = 0
	}
	for k := range n - came {
		w.doubt(i + k)
	}
	for k, m := range got.parts[:came] {
		w.takeBody(i+n-1-k, m)
	}
}

// number gives one of a message's headers; 0 when there is none.
func number(m *nats.Msg, header string) uint64 {
	n, _ := strconv.ParseUint(m.Header.Get(header), 10, 64)
	return n
}

// takeBody takes what is said to stand at a step's sequence.
func (w *walk) takeBody(i int, m *nats.Msg) {
	c, err := w.a.open(stored{seq: w.steps[i].seq, body: m.Data})
	if err != nil {
		w.doubt(i)
		return
	}
	w.know(i, c)
}

// doubt has a step asked for by itself.
func (w *walk) doubt(i int) {
	w.steps[i].asked, w.steps[i].doubt = false, true
	w.next = min(w.next, i)
}

func (w *walk) know(i int, c persistence.Commit) {
	w.commits[i] = c
	if i == len(w.steps)-1 {
		w.extend(c)
	}
}
