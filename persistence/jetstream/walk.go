package jetstream

import (
	"context"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// window is how many commits of one load are asked for at a time.
const window = 256

// A walk reads commits of one aggregate from a known one backwards, many at a time. Each
// commit knows the sequences of 33 before it, so the oldest known one is asked for
// first: while the others are on their way, it leads 33 further.
type walk struct {
	store *Store
	a     aggregate
	stop  uint64 // sequences above it are read

	order   []uint64             // newest first
	by      []holdfast.Position  // beside order: the commit that names it
	commits []persistence.Commit // beside order; without a Commit until it is read
	asked   []bool               // beside order
	next    int                  // what comes before it has been asked for
	pending int
	out     chan answer
}

// before reads the commits before c whose sequences are above stop, newest first.
func (s *Store) before(ctx context.Context, a aggregate, c persistence.Commit, stop uint64) ([]persistence.Commit, error) {
	w := walk{store: s, a: a, stop: stop, out: make(chan answer, window)}
	w.extend(c)
	for {
		if err := w.ask(ctx); err != nil {
			return nil, err
		}
		if w.pending == 0 {
			return w.commits, nil
		}
		select {
		case got := <-w.out:
			if err := w.take(ctx, got); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, a.unavailable("read", context.Cause(ctx))
		}
	}
}

// extend notes what c, the oldest known commit, knows of those before it.
func (w *walk) extend(c persistence.Commit) {
	for _, seq := range c.Before() {
		if seq <= w.stop {
			break
		}
		w.order = append(w.order, seq)
		w.by = append(w.by, c.Position)
		w.commits = append(w.commits, persistence.Commit{})
		w.asked = append(w.asked, false)
	}
}

// ask fills the window, the oldest known one first.
func (w *walk) ask(ctx context.Context) error {
	for w.pending < window {
		i := len(w.order) - 1
		if i < 0 || w.asked[i] {
			for w.next < len(w.order) && w.asked[w.next] {
				w.next++
			}
			if i = w.next; i == len(w.order) {
				return nil
			}
		}
		if err := w.store.reads.ask(ctx, w.a.partition.directAt(w.order[i]), i, w.out); err != nil {
			return w.a.unavailable("read", err)
		}
		w.asked[i] = true
		w.pending++
	}
	return nil
}

func (w *walk) take(ctx context.Context, got answer) error {
	w.pending--
	c, err := w.store.openAt(ctx, w.a, w.order[got.tag], w.by[got.tag], got.msg, got.err)
	if err != nil {
		return err
	}
	w.commits[got.tag] = c
	if got.tag == len(w.order)-1 {
		w.extend(c)
	}
	return nil
}
