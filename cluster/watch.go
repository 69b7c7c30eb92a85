package cluster

import (
	"context"
	"time"
)

// watch has the register told, from the beginning whenever again says so: a watch may
// miss that it has been cut off.
func (i *incarnation) watch(alls chan<- []change, ones chan<- change, again <-chan struct{}) {
	for i.over.Err() == nil {
		ctx, cancel := context.WithCancel(i.over)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			select {
			case <-again:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := i.bucket.watch(ctx, func(all []change) {
			select {
			case alls <- all:
			case <-ctx.Done():
			}
		}, func(c change) {
			select {
			case ones <- c:
			case <-ctx.Done():
			}
		})
		failed := ctx.Err() == nil
		cancel()
		<-stop
		if failed {
			i.log.Debug("the register cannot be watched", "error", err)
			select {
			case <-time.After(i.lease.record.Lease / retryAfter):
			case <-i.over.Done():
			}
		}
	}
}

// snapshot reads the register without a watch, once.
func (i *incarnation) snapshot(to chan<- []change) {
	ctx, cancel := context.WithTimeout(i.over, i.lease.record.Lease/renewAfter)
	defer cancel()
	all, err := i.bucket.snapshot(ctx)
	if err != nil {
		i.log.Debug("the register cannot be read", "error", err)
		return
	}
	select {
	case to <- all:
	case <-ctx.Done():
	}
}

// An echo is what a node hears of its own records. When there is none, its watch was kept by
// a server that has gone, and tells nothing of the others either.
type echo struct {
	written uint64
	lost    bool // and the register is being read again
}

// missing reports, once until the register has been read again, that what had been written
// at the last call is not heard yet.
func (e *echo) missing(heard, written uint64) bool {
	missing := heard < e.written && !e.lost
	e.lost = e.lost || missing
	e.written = written
	return missing
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
