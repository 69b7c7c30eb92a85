package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/holdfast-run/holdfast/internal/crew"
)

// workers run mailboxes, each until it is empty, as many at a time as have something to do.
type workers struct {
	crew    *crew.Crew[func()]
	stopped chan struct{}
}

var _ actor.Dispatcher = (*workers)(nil)

func newWorkers() *workers {
	stopped := make(chan struct{})
	return &workers{crew.New(func(run func()) { run() }, stopped), stopped}
}

// Schedule implements [actor.Dispatcher].
func (w *workers) Schedule(run func()) { w.crew.Do(run) }

// Throughput implements [actor.Dispatcher]; our mailboxes do not ask.
func (w *workers) Throughput() int { return 1 }

// stop sends those home who rest, and who would later.
func (w *workers) stop() { close(w.stopped) }
