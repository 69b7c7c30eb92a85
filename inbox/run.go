package inbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxKept is how many bytes of bodies are kept of commands that wait; those of others are read
// again when their turn comes.
const maxKept = 32 << 20

// A run is the time for which a node holds the seat.
type run struct {
	*Inbox
	ctx    context.Context
	runner *Runner
	former uint64 // what came until there may have been sent by another run
	all    sync.WaitGroup

	mu    sync.Mutex
	ended bool
	lanes map[string]*lane
	marks map[string]*mark // of lanes that have not been read yet
	ready []*lane          // that wait for room
	busy  int              // lanes that are executing
	kept  int              // bytes
}

// A lane has the commands of one aggregate, in their order.
type lane struct {
	name     string
	queue    []entry
	state    state
	mark     *mark
	failures int  // of the first, by bugs
	doubt    bool // an attempt of the first may take effect yet
	rest     time.Duration
	trouble  error
}

type state int

const (
	isReady state = iota
	isBusy
	isResting
	isParked
)

// An entry is a command that waits.
type entry struct {
	sequence uint64
	accepted int64
	command  *command // nil: it is not kept
}

func newRun(ctx context.Context, r *Runner) *run {
	return &run{Inbox: r.inbox, ctx: ctx, runner: r, lanes: map[string]*lane{}, marks: map[string]*mark{}}
}

// wait waits for what is under way, which ends with ctx.
func (r *run) wait() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.all.Wait()
}

// begin finds out what is parked, and follows what operators want.
func (r *run) begin() error {
	info, err := r.accepted.Info(r.ctx)
	if err != nil {
		return err
	}
	r.former = info.State.LastSeq
	watch, err := r.parked.Watch(r.ctx, jetstream.AllKeys)
	if err != nil {
		return err
	}
	if err := r.rememberAll(watch); err != nil {
		_ = watch.Stop()
		return err
	}
	r.all.Go(func() { r.heed(watch) })
	return nil
}

func (r *run) rememberAll(watch jetstream.KeyWatcher) error {
	for {
		select {
		case e, ok := <-watch.Updates():
			if !ok {
				return errWatch
			}
			if e == nil { // these are all
				return nil
			}
			if err := r.remember(e); err != nil {
				return err
			}
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

var errWatch = errors.New("what is parked cannot be watched")

// remember keeps a mark until its lane is there. One whose command is gone was left over.
func (r *run) remember(e jetstream.KeyValueEntry) error {
	m, err := markOf(e)
	if m == nil || err != nil {
		return err
	}
	c, err := r.fetch(r.ctx, m.Sequence)
	if err == nil && c == nil {
		return r.clearMark(r.ctx, e.Key(), m)
	}
	r.marks[e.Key()] = m
	return nil
}

// markOf gives nil for one that was removed.
func markOf(e jetstream.KeyValueEntry) (*mark, error) {
	if e.Operation() != jetstream.KeyValuePut {
		return nil, nil
	}
	return readMark(e)
}

// heed follows what operators want until ctx ends.
func (r *run) heed(watch jetstream.KeyWatcher) {
	defer func() { _ = watch.Stop() }()
	for {
		select {
		case e, ok := <-watch.Updates():
			if !ok {
				return
			}
			if e != nil {
				r.hear(e)
			}
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *run) hear(e jetstream.KeyValueEntry) {
	m, err := markOf(e)
	if err != nil {
		r.config.Logger.Error("what an operator wants of the inbox is not heeded", "lane", e.Key(), "error", err)
	}
	if m == nil || m.Wish == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[e.Key()]
	if l == nil {
		if r.marks[e.Key()] != nil {
			r.marks[e.Key()] = m
		}
		return
	}
	if l.mark != nil && l.mark.revision > m.revision || l.queue[0].sequence != m.Sequence {
		return
	}
	l.mark = m
	if l.state == isParked || l.state == isResting {
		r.makeReady(l)
	}
}

// add puts a command at the end of its lane.
func (r *run) add(c *command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := entry{sequence: c.sequence, accepted: c.meta.At.UnixNano()}
	l := r.lanes[c.lane()]
	if (l == nil || l.state != isParked) && r.kept+len(c.body) <= r.runner.config.kept {
		e.command = c
		r.kept += len(c.body)
	}
	if l != nil {
		l.queue = append(l.queue, e)
		return
	}
	l = &lane{name: c.lane(), queue: []entry{e}, mark: r.marks[c.lane()]}
	if l.mark != nil && l.mark.Sequence != c.sequence {
		l.mark = nil // of one that came before, and was not removed
	}
	delete(r.marks, c.lane())
	if l.mark != nil && l.mark.Verdict == nil {
		l.failures = maxFailures - 1 // parked before: one attempt, since this may be another build
	}
	r.lanes[l.name] = l
	r.makeReady(l)
}

// makeReady lets a lane go on when there is room. The caller has the lock.
func (r *run) makeReady(l *lane) {
	l.state = isReady
	r.ready = append(r.ready, l)
	r.dispatch()
}

func (r *run) dispatch() {
	for !r.ended && len(r.ready) > 0 && r.busy < r.runner.config.InFlight {
		l := r.ready[0]
		r.ready = r.ready[1:]
		l.state = isBusy
		r.busy++
		r.all.Go(func() { r.step(l) })
	}
}

// step has the first command of a lane executed.
func (r *run) step(l *lane) {
	next, err := r.execute(l)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	l.trouble = err
	switch {
	case r.ctx.Err() != nil: // another run takes it from here
		return
	case next == isReady:
		r.drop(&l.queue[0])
		l.queue = l.queue[1:]
		l.failures, l.doubt, l.rest, l.mark = 0, false, 0, nil
		if len(l.queue) == 0 {
			delete(r.lanes, l.name)
		} else {
			r.makeReady(l)
		}
	case next == isParked && (l.mark == nil || l.mark.Wish == nil):
		l.state = isParked
		for i := range l.queue { // it may stand for long
			r.drop(&l.queue[i])
		}
	default:
		l.rest = min(max(2*l.rest, firstPause), lastPause)
		r.putOff(l)
	}
	r.dispatch()
}

// drop keeps a body no longer.
func (r *run) drop(e *entry) {
	if e.command != nil {
		r.kept -= len(e.command.body)
		e.command = nil
	}
}

// putOff lets a lane go on after a rest.
func (r *run) putOff(l *lane) {
	l.state = isResting
	time.AfterFunc(l.rest, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.ended && l.state == isResting && r.lanes[l.name] == l {
			r.makeReady(l)
		}
	})
}

func (r *run) status(now time.Time) Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Holds: true, InFlight: r.busy}
	oldest := now.UnixNano()
	for _, l := range r.lanes {
		s.Waiting += len(l.queue)
		oldest = min(oldest, l.queue[0].accepted)
		switch l.state {
		case isResting:
			s.Resting++
		case isParked:
			s.Parked++
		default:
		}
		if l.trouble != nil {
			s.Trouble = l.trouble.Error()
		}
	}
	s.Oldest = time.Duration(now.UnixNano() - oldest)
	return s
}
