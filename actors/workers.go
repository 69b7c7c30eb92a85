package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// maxResting is how many workers may wait for work.
const maxResting = 64

// workers run mailboxes, each until it is empty, as many at a time as have something to do. A
// worker rests when it has nothing to do: a new goroutine would have to grow its stack first.
type workers struct {
	work    chan func()
	resting atomic.Int32
	stopped chan struct{}
}

var _ actor.Dispatcher = (*workers)(nil)

func newWorkers() *workers {
	return &workers{work: make(chan func()), stopped: make(chan struct{})}
}

// Schedule implements [actor.Dispatcher].
func (w *workers) Schedule(run func()) {
	select {
	case w.work <- run:
	default:
		go w.worker(run)
	}
}

// Throughput implements [actor.Dispatcher]; our mailboxes do not ask.
func (w *workers) Throughput() int { return 1 }

func (w *workers) worker(run func()) {
	for {
		run()
		if w.resting.Add(1) > maxResting {
			w.resting.Add(-1)
			return
		}
		select {
		case run = <-w.work:
			w.resting.Add(-1)
		case <-w.stopped:
			return
		}
	}
}

// stop sends those home who rest, and who would later.
func (w *workers) stop() { close(w.stopped) }
