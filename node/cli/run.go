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
// and save for it.
type run struct {
	in       io.Reader
	format   format
	begun    record
	schedule *schedule
	report   *report
	workers  int
	// send sends a line until it is answered for good, and calls failing when it was not
	// at once. The error is a *callError.
	send func(ctx context.Context, l *line, failing func()) (acceptance, error)
	// save puts a record in a safe place; nil when there is none to keep.
	save func(record) error

	settled atomic.Int64 // lines that any worker has had settled
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
	saves, saved := make(chan record, 1), make(chan error, 1)
	var saver sync.WaitGroup
	saver.Go(func() {
		for rec := range saves {
			saved <- r.save(rec)
		}
	})

	err := r.coordinate(ctx, items, work, results, saves, saved)
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
	close(saves)
	saver.Wait()
	if r.save == nil || errors.Is(err, errNotSaved) {
		return err
	}
	return errors.Join(err, r.save(r.schedule.record()))
}

var errNotSaved = errors.New("keep progress")

// coordinate is the one goroutine that has the schedule while lines are under way.
func (r *run) coordinate(ctx context.Context, items <-chan item, work chan<- *line, results <-chan result, saves chan<- record, saved <-chan error) error {
	var head *line         // may be sent, waits for a worker
	var saving *record     // is being saved
	var ended, cause error // of the source; why to stop
	under := 0             // lines that workers have
	for cause == nil {
		if head == nil {
			head = r.schedule.next()
		}
		if saving == nil && r.schedule.due() {
			rec := r.schedule.record()
			saving = &rec
			saves <- rec
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
				r.arrived(it)
			}
		case out <- head:
			head = nil
			under++
		case res := <-results:
			under--
			cause = r.answered(res)
		case err := <-saved:
			if err != nil {
				cause = fmt.Errorf("%w: %w", errNotSaved, err)
				break
			}
			r.schedule.saved(*saving)
			saving = nil
		case <-ctx.Done():
			cause = errInterrupted
		}
		r.report.progress(r.schedule.passed)
	}
	if saving != nil && !errors.Is(cause, errNotSaved) {
		if err := <-saved; err != nil {
			cause = fmt.Errorf("%w: %w", errNotSaved, err)
		}
	}
	if cause == nil && !errors.Is(ended, io.EOF) {
		cause = ended
	}
	return cause
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
		case in.number > skip && len(raw) > 0:
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
func (r *run) arrived(it item) {
	switch {
	case it.bad != nil && it.number > r.begun.Settled:
		r.schedule.pass(malformed)
		r.report.malformed(it.number, it.bad)
	case it.line == nil:
		r.schedule.pass(skipped)
	default:
		if by := r.schedule.take(it.line); by > 0 {
			r.report.behind(it.line, by)
		}
	}
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
	behind := r.schedule.settle(res.line, o, remembered)
	r.report.settled(res, o)
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
