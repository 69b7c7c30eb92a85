package runner

import (
	"time"

	"github.com/holdfast-run/holdfast/sagas"
)

const (
	// heldFor is how long a task is held that will often be needless soon: most steps end
	// long before their deadline, and most sagas before anybody asks for a list. After a crash
	// it is done again, or not.
	heldFor = time.Second
	// maxHeld is how many are held at a time, each of which keeps a goroutine.
	maxHeld = 10_000
)

// holdable tells how long a task may be held.
func holdable(task sagas.Task, now time.Time) time.Duration {
	switch t := task.(type) {
	case sagas.Timer:
		return min(heldFor, t.At.Sub(now)-heldFor)
	case sagas.Listing:
		if !t.Since.IsZero() {
			return heldFor
		}
	}
	return 0
}

// undoes reports whether a task only takes back what another one in its lane did.
func undoes(task sagas.Task) bool {
	switch t := task.(type) {
	case sagas.Cancel:
		return true
	case sagas.Listing:
		return t.Since.IsZero()
	}
	return false
}

// needless holds a task, and reports whether it has been taken back meanwhile.
func (f *following) needless(task sagas.Task, leave func()) bool {
	wait := holdable(task, f.runner.config.Now())
	if wait <= 0 {
		return false
	}
	lane, back := task.Lane(), make(chan struct{})
	f.mu.Lock()
	full := len(f.held) >= maxHeld || len(f.lanes[lane]) > 0
	if !full {
		f.held[lane] = back
	}
	f.mu.Unlock()
	if full {
		return false
	}
	leave()
	_ = pauseOr(f.ctx, wait, back)
	return !f.release(lane)
}

// release takes a task back that is held in a lane, if one is.
func (f *following) release(lane string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	back, ok := f.held[lane]
	if ok {
		delete(f.held, lane)
		close(back)
	}
	return ok
}
