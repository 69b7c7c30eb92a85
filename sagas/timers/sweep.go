package timers

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/messages"
)

// sweepTimeout is longer than other timeouts: where very many are due, a sweep takes a while.
const sweepTimeout = 10 * time.Second

// crowd is how many handled timers may wait to be swept until a timer that fails, and
// keeps them from it, is put behind them.
const crowd = 1000

// A sweeper removes timers that have been handled: all at once up to the first that has
// not, as the consumer knows it. That is one fsync for all of them.
type sweeper struct {
	handled  []uint64 // the sequences of those that are not swept
	upTo     uint64   // where the last sweep ended
	sweeping bool
	begun    bool          // there has been a sweep: of what another Run left
	first    atomic.Uint64 // of a crowd that waits to be swept; 0 for none
}

// note takes down that a timer was handled.
func (s *sweeper) note(seq uint64) {
	if seq > 0 {
		s.handled = append(s.handled, seq)
	}
}

// forget takes down that all up to there have been swept.
func (s *sweeper) forget(to uint64) {
	s.sweeping, s.upTo = false, to
	s.handled = slices.DeleteFunc(s.handled, func(seq uint64) bool { return seq <= s.upTo })
	first := uint64(0)
	if len(s.handled) >= crowd {
		first = slices.Min(s.handled)
	}
	s.first.Store(first)
}

// standsBefore reports whether a timer that has not been handled keeps a crowd from being
// swept.
func (s *sweeper) standsBefore(seq uint64) bool { return 0 < seq && seq < s.first.Load() }

// sweep begins a sweep, unless one is under way or would find nothing.
func (r *runner) sweep(ctx context.Context) {
	if r.sweeping || r.begun && len(r.handled) == 0 {
		return
	}
	r.sweeping, r.begun = true, true
	from := r.upTo
	go func() {
		ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
		defer cancel()
		to, err := r.sweepFrom(ctx, from)
		r.swept <- sweep{to, err}
	}()
}

// lastSweep is when Run has ended, and the sweep that was under way too.
func (r *runner) lastSweep() {
	if r.sweeping {
		r.forget((<-r.swept).to)
	}
	if len(r.handled) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	if _, err := r.sweepFrom(ctx, r.upTo); err != nil {
		r.log.Debug("handled timers are removed later", "stream", r.stream, "error", err)
	}
}

// A sweep has removed what was handled up to there. It may have an error all the same.
type sweep struct {
	to  uint64
	err error
}

// sweepFrom removes what has been handled, and tells up to where. from is where the last
// sweep ended. Its error is that of a consumer that has been changed: who knows what it has
// handed out.
func (r *runner) sweepFrom(ctx context.Context, from uint64) (to uint64, err error) {
	due, err := r.js.Consumer(ctx, r.stream, consumerName)
	if err == nil {
		if err := r.checkConsumer(due.CachedInfo()); err != nil {
			return from, err
		}
		if to = due.CachedInfo().AckFloor.Stream; to == from { // all up to it have been acknowledged
			return from, nil
		}
		body := fmt.Appendf(nil, `{"filter":"%s.%s.>","seq":%d}`, r.context, messages.KindDue, to+1)
		err = r.askOnce(ctx, "$JS.API.STREAM.PURGE."+r.stream, body, nil)
	}
	if err != nil {
		r.log.Debug("handled timers are removed later", "stream", r.stream, "error", err)
		return from, nil
	}
	return to, nil
}
