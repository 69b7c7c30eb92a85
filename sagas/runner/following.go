package runner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// A following is one run along a partition of the log on behalf of a saga type.
type following struct {
	ctx    context.Context
	runner *Runner
	saga   *sagas.Saga
	marks  *marks
	room   chan struct{} // of tasks under way
	all    sync.WaitGroup

	mu    sync.Mutex
	lanes map[string][]func()      // what waits behind the one under way
	held  map[string]chan struct{} // by lane, what another task may make needless
}

func newFollowing(ctx context.Context, r *Runner, d *sagas.Saga, note func(uint64)) *following {
	return &following{
		ctx: ctx, runner: r, saga: d, marks: &marks{note: note, open: map[uint64]int{}},
		room: make(chan struct{}, r.config.InFlight), lanes: map[string][]func(){}, held: map[string]chan struct{}{},
	}
}

// wait waits for what is under way, which ends with ctx.
func (f *following) wait() { f.all.Wait() }

// take begins to do what a record asks for. It blocks while too much is under way.
func (f *following) take(rec persistence.Record) error {
	tasks, err := f.tasks(rec)
	if err != nil {
		// Whoever owns the aggregate refuses it as well, and verify tells of it.
		f.runner.config.Logger.Error("a commit cannot be read: what it asks the sagas for is not done", "saga", f.saga.Name(), "position", rec.Position.String(), "subject", rec.Subject, "error", err)
	}
	seq := rec.Position.Sequence()
	f.marks.begin(seq, len(tasks))
	for _, task := range tasks {
		if undoes(task) && f.release(task.Lane()) {
			f.marks.end(seq)
			continue
		}
		select {
		case f.room <- struct{}{}:
		case <-f.ctx.Done():
			return context.Cause(f.ctx)
		}
		f.all.Add(1)
		f.enter(task.Lane(), func() {
			defer f.all.Done()
			leave := sync.OnceFunc(func() { <-f.room })
			defer leave()
			if f.needless(task, leave) || f.do(task, leave) {
				f.marks.end(seq)
			}
		})
	}
	return nil
}

func (f *following) tasks(rec persistence.Record) ([]sagas.Task, error) {
	ref, err := refOf(rec)
	if err != nil || !f.runner.config.Book.Concerns(f.saga, ref.Type) {
		return nil, err
	}
	c, err := persistence.Open(rec.Position, rec.Body)
	if err != nil {
		return nil, err
	}
	return f.runner.config.Book.Tasks(f.saga, ref, c.Commit)
}

// enter runs what is next in a lane once what came before has been.
func (f *following) enter(lane string, run func()) {
	if lane == "" {
		go run()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if waiting, busy := f.lanes[lane]; busy {
		f.lanes[lane] = append(waiting, run)
		return
	}
	f.lanes[lane] = nil
	go f.drive(lane, run)
}

func (f *following) drive(lane string, run func()) {
	for run != nil {
		run()
		f.mu.Lock()
		if waiting := f.lanes[lane]; len(waiting) > 0 {
			run, f.lanes[lane] = waiting[0], waiting[1:]
		} else {
			run = nil
			delete(f.lanes, lane)
		}
		f.mu.Unlock()
	}
}

// do does a task, and tries again until it is done. It reports whether it is. What fails for
// long leaves, so that others have room.
func (f *following) do(task sagas.Task, leave func()) (done bool) {
	r := f.runner
	return f.insist(leave, func(ctx context.Context) error {
		switch t := task.(type) {
		case sagas.Timer:
			return r.config.Timers.Set(ctx, timers.Timer{For: t.Saga, Key: t.Key, At: t.At})
		case sagas.Cancel:
			return r.config.Timers.Cancel(ctx, t.Saga, t.Key)
		case sagas.Listing:
			if t.Since.IsZero() {
				return r.config.List.Remove(ctx, t.Saga)
			}
			return r.config.List.Add(ctx, t.Saga, t.Since)
		case sagas.Command:
			if t.Report == nil {
				return r.send(ctx, t)
			}
			receipt, err := r.deliver(ctx, t)
			if f.ctx.Err() != nil {
				return err // which may be for this reason: the next one finds out
			}
			report := t.Report(receipt, err)
			task = report // what is known now is not asked again
			return r.send(ctx, report)
		}
		return nil
	})
}

// Pauses between two attempts.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 30 * time.Second
)

// insist does something until it succeeds, or ctx ends.
func (f *following) insist(leave func(), do func(ctx context.Context) error) (done bool) {
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		err := do(f.ctx)
		if err == nil {
			return true
		}
		if f.ctx.Err() != nil {
			return false
		}
		if wait >= time.Second {
			leave()
			f.runner.config.Logger.Warn("what a saga asks for cannot be done; trying again", "saga", f.saga.Name(), "error", err)
		}
		if pause(f.ctx, wait) != nil {
			return false
		}
	}
}

// send sends a command to a saga. What it answers, other than that it cannot for the moment,
// is its last word.
func (r *Runner) send(ctx context.Context, c sagas.Command) error {
	_, err := r.deliver(ctx, c)
	if _, no := errors.AsType[*holdfast.Rejection](err); no {
		r.config.Logger.Debug("a saga refuses what it is told", "saga", c.To.String(), "reason", err)
		return nil
	}
	return err
}

func (r *Runner) deliver(ctx context.Context, c sagas.Command) (holdfast.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	return r.config.Sender.Send(ctx, c.To, c.Command, func(d *holdfast.Delivery) { *d = c.At(r.config.Now()) })
}
