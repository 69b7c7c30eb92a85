package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// A run applies the lines of one source. Its schedule decides; goroutines read, send
// and sync for it.
type run struct {
	in       io.Reader
	format   format
	begun    outcomes // on record when the run begins; nil when none is kept
	schedule *schedule
	report   *report
	workers  int
	// send sends a line until it is answered for good, and calls failing when it was not
	// at once. The error is a *callError.
	send   func(ctx context.Context, l *line, failing func()) (acceptance, error)
	record keeper // nil when none is kept

	settled atomic.Int64 // lines that any worker has had settled
}

// A keeper keeps the outcomes of lines, as [progress] does.
type keeper interface {
	mark(number int, o outcome) error
	sync() error
}

// An item is a line as the reader hands it on: at most one field besides number is set.
type item struct {
	number int
	line   *line
	bad    error // why the line is malformed
	end    error // why there are no more lines, io.EOF if all is well
}

// A result is how a line was answered.
type result struct {
	line *line
	a    acceptance
	err  *callError
	dead bool // no other line was settled while this one was tried again
}

var errInterrupted = errors.New("interrupted")

// apply returns when all lines are settled or open, or, with the reason, when it has
// to stop before; what was under way is then awaited for a moment.
func (r *run) apply(ctx context.Context) error {
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	items := make(chan item, 64)
	go r.read(working, items)

	work, results := make(chan *line), make(chan result, r.workers)
	var workers sync.WaitGroup
	for range r.workers {
		workers.Go(func() { r.work(working, work, results) })
	}

	err := r.coordinate(ctx, items, work, results)
	stopWorking()
	close(work)
	go func() {
		workers.Wait()
		close(results)
	}()
	for res := range results {
		if stop := r.answered(res); err == nil {
			err = stop
		}
	}
	if r.record == nil || errors.Is(err, errNotKept) {
		return err
	}
	return errors.Join(err, r.record.sync())
}

var (
	errNotKept = errors.New("keep progress")
	errChanged = errors.New("the file was changed while it was being applied")
)

// keep puts the outcome of a line on record, if one is kept.
func (r *run) keep(number int, o outcome) error {
	if r.record == nil || o == open {
		return nil
	}
	if err := r.record.mark(number, o); err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	return nil
}

// A syncing is what became of a sync that began when so many lines were settled.
type syncing struct {
	settled int
	err     error
}

// coordinate is the one goroutine that has the schedule while lines are under way.
func (r *run) coordinate(ctx context.Context, items <-chan item, work chan<- *line, results <-chan result) error {
	var head *line            // may be sent, waits for a worker
	var ended, cause error    // of the source; why to stop
	var synced <-chan syncing // not nil while the record is being synced
	for cause == nil {
		if head == nil {
			head = r.schedule.next()
		}
		if synced == nil && r.schedule.due() {
			synced = r.sync()
		}
		if ended != nil && r.schedule.finished() {
			break
		}
		in, out := items, work
		if ended != nil || r.schedule.full() {
			in = nil
		}
		if head == nil {
			out = nil
		}
		select {
		case it := <-in:
			if ended = it.end; ended == nil {
				cause = r.arrived(it)
			}
		case out <- head:
			head = nil
		case res := <-results:
			cause = r.answered(res)
		case s := <-synced:
			synced = nil
			if cause = s.err; cause == nil {
				r.schedule.synced(s.settled)
			}
		case <-ctx.Done():
			cause = errInterrupted
		}
		r.report.progress(r.schedule.passed)
	}
	if synced != nil {
		if s := <-synced; s.err != nil {
			cause = s.err
		}
	}
	if cause == nil && !errors.Is(ended, io.EOF) {
		cause = ended
	}
	return cause
}

// sync makes the record durable as it is now, and tells when that is done.
func (r *run) sync() <-chan syncing {
	done, settled := make(chan syncing, 1), r.schedule.settled
	go func() {
		s := syncing{settled: settled}
		if err := r.record.sync(); err != nil {
			s.err = fmt.Errorf("%w: %w", errNotKept, err)
		}
		done <- s
	}()
	return done
}

// read hands on the lines, and at last why there are no more.
func (r *run) read(ctx context.Context, items chan<- item) {
	in := newLineReader(r.in)
	skip := r.begun.settledUpTo()
	for {
		raw, err := in.next()
		it := item{number: in.number}
		switch {
		case errors.Is(err, errLongLine):
			it.bad = err
		case err != nil:
			it.end = err
		case r.begun != nil && in.number > len(r.begun):
			it.end = errChanged
		case len(raw) > 0 && (in.number > skip || r.begun.of(in.number).problem() != ""):
			it.line, it.bad = r.format.parse(in.number, raw)
		}
		select {
		case items <- it:
		case <-ctx.Done():
			return
		}
		if it.end != nil {
			return
		}
	}
}

// arrived takes a line into the schedule.
func (r *run) arrived(it item) error {
	was := r.begun.of(it.number)
	switch {
	case was != pending:
		ref := ""
		if it.line != nil {
			ref = it.line.ref
		}
		r.report.earlier(it, was)
		r.schedule.skip(was, ref)
		return nil
	case it.bad != nil:
		r.report.malformed(it.number, it.bad)
		r.schedule.pass(malformed)
		return r.keep(it.number, malformed)
	case it.line == nil:
		r.schedule.pass(blank)
		return r.keep(it.number, blank)
	}
	if by := r.schedule.take(it.line); by > 0 {
		r.report.behind(it.line, by)
	}
	return nil
}

// work sends lines until work is closed.
func (r *run) work(ctx context.Context, work <-chan *line, results chan<- result) {
	for l := range work {
		before, failed := r.settled.Load(), false
		a, err := r.send(ctx, l, func() {
			if !failed {
				before, failed = r.settled.Load(), true
			}
		})
		res := result{line: l, a: a}
		if err != nil {
			var ok bool
			if res.err, ok = errors.AsType[*callError](err); !ok {
				res.err = &callError{Code: "failed", Message: err.Error(), cause: err}
			}
		}
		if res.err == nil || res.err.final() {
			r.settled.Add(1)
		} else {
			res.dead = r.settled.Load() == before
		}
		results <- res
	}
}

// answered settles a line, or leaves it to the next run. The error says why no other
// line should be tried.
func (r *run) answered(res result) error {
	o := res.outcome()
	if o == pending {
		return nil
	}
	if o == open && (res.err.Status == 0 || res.err.retry) && res.dead {
		e := *res.err
		e.ID = "" // the hint to send it again with its id is for send
		return fmt.Errorf("line %d: %w", res.line.number, &e)
	}
	remembered := res.err == nil && (res.a.Duplicate || len(res.a.Events) > 0)
	r.report.settled(res, o)
	if err := r.keep(res.line.number, o); err != nil {
		return err
	}
	behind := r.schedule.settle(res.line, o, remembered)
	for _, l := range behind {
		r.report.behind(l, res.line.number)
	}
	if r.schedule.stopped >= r.schedule.limits.stopped {
		return fmt.Errorf("lines of %d aggregates have failed", r.schedule.stopped)
	}
	return nil
}

func (res result) outcome() outcome {
	switch e := res.err; {
	case e == nil && res.a.Duplicate:
		return duplicate
	case e == nil:
		return accepted
	case e.Interrupted:
		return pending
	case e.Status == statusRejected:
		return rejected
	case e.final():
		return failed
	default:
		return open
	}
}
