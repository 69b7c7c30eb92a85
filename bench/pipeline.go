package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
)

// pipelined is the leanest publisher there can be: so many publishes on their way, one
// subscription for all answers, and each answer sends the next publish.
func (p *plain) pipelined(nc *nats.Conn, window int, pick picker[*subject]) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		r := &pipeline{plain: p, nc: nc, inbox: nc.NewInbox() + ".", next: pick(dice(0)), slots: make([]slot, window), done: make(chan struct{}), queues: map[*subject][]int{}}
		sub, err := nc.Subscribe(r.inbox+"*", r.answered)
		if err != nil {
			return report.Sample{}, err
		}
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return report.Sample{}, err
		}
		begin := time.Now()
		r.end = begin.Add(d)
		defer context.AfterFunc(ctx, r.finish)()
		r.start()
		select {
		case <-r.done:
		case <-time.After(d + patience):
			r.fail(errors.New("the pipelined publisher gets no answer"))
		}
		took := time.Since(begin)
		if err := sub.Unsubscribe(); err != nil {
			return report.Sample{}, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return report.Sample{By: "pipelined", Ops: len(r.times), Took: took, Times: r.times}, r.err
	}
}

// A slot is that of one publish.
type slot struct {
	subject *subject
	begun   time.Time
}

// A pipeline is one turn of the pipelined publisher.
type pipeline struct {
	plain *plain
	nc    *nats.Conn
	inbox string
	next  func() *subject
	done  chan struct{}

	mu     sync.Mutex
	end    time.Time
	busy   int // slots
	slots  []slot
	queues map[*subject][]int // of slots that wait for it; there is one of each that is busy
	times  []time.Duration
	over   bool
	err    error
}

func (r *pipeline) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = len(r.slots)
	for i := range r.slots {
		r.begin(i)
	}
}

// begin uses a slot for the next publish, or not any more. A subject that is busy is waited for.
func (r *pipeline) begin(i int) {
	now := time.Now()
	if r.err != nil || !now.Before(r.end) {
		r.busy--
		r.check()
		return
	}
	s := r.next()
	r.slots[i] = slot{s, now}
	if queue, ok := r.queues[s]; ok {
		r.queues[s] = append(queue, i)
		return
	}
	r.queues[s] = nil
	r.publish(i)
}

func (r *pipeline) publish(i int) {
	m := r.plain.message(r.slots[i].subject)
	m.Reply = r.inbox + strconv.Itoa(i)
	if err := r.nc.PublishMsg(m); err != nil {
		r.failLocked(err)
	}
}

func (r *pipeline) answered(m *nats.Msg) {
	i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, r.inbox))
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.over {
		return
	}
	seq, err := sequence(m)
	if err != nil {
		r.failLocked(err)
		return
	}
	r.plain.acked.Add(1)
	s := r.slots[i].subject
	s.last = seq
	r.times = append(r.times, time.Since(r.slots[i].begun))
	if queue := r.queues[s]; len(queue) > 0 {
		r.queues[s] = queue[1:]
		r.publish(queue[0])
	} else {
		delete(r.queues, s)
	}
	r.begin(i)
}

// finish has nothing more begun.
func (r *pipeline) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = time.Time{}
}

func (r *pipeline) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failLocked(err)
}

func (r *pipeline) failLocked(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("the pipelined publisher: %w", err)
	}
	if !r.over {
		r.over = true
		close(r.done)
	}
}

func (r *pipeline) check() {
	if r.busy == 0 && !r.over {
		r.over = true
		close(r.done)
	}
}
