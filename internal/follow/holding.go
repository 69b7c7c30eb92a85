package follow

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/internal/bucket"
)

var (
	errTaken  = errors.New("another node has taken the seat")
	errSilent = errors.New("the seat could not be kept: the register does not answer")
)

// A holding is this node's part in one seat.
type holding struct {
	seats    *Seats
	seat     string
	log      *slog.Logger
	record   Seat
	revision uint64
	new      bool // it has not been held by this run of the node, nor waited for
}

// acquire waits until nobody holds the seat any more, and takes it.
func (h *holding) acquire(ctx context.Context, first func(context.Context) (uint64, error)) error {
	watch, err := h.seats.kv.Watch(ctx, h.seat)
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }()
	gone := time.NewTimer(h.seats.config.Lease)
	defer gone.Stop()
	known := false // what there is
	for {
		select {
		case e, ok := <-watch.Updates():
			switch {
			case !ok:
				return errSilent
			case e == nil && !known: // nobody has ever held it
				return h.begin(ctx, first)
			case e == nil:
				continue
			}
			known = true
			if h.record, err = read(e); err != nil {
				return err
			}
			h.revision = e.Revision()
			if h.record.Holder == "" || h.new && h.record.Node == h.seats.config.Node {
				return h.take(ctx)
			}
			h.new = false
			gone.Reset(h.seats.config.Lease)
		case <-gone.C:
			if !known {
				return errSilent
			}
			return h.take(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (h *holding) begin(ctx context.Context, first func(context.Context) (uint64, error)) error {
	done, err := first(ctx)
	if err != nil {
		return err
	}
	h.record, h.revision = Seat{Done: done}, 0
	return h.take(ctx)
}

func (h *holding) take(ctx context.Context) error {
	h.new = false
	h.record.Holder, h.record.Node = h.seats.id, h.seats.config.Node
	return h.write(ctx)
}

// write writes the record in the place of the one that is known. When it is not known
// whether that was written, the next attempt finds out.
func (h *holding) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.seats.config.Lease/3)
	defer cancel()
	body, err := json.Marshal(h.record)
	if err != nil {
		return err
	}
	var revision uint64
	if h.revision == 0 {
		revision, err = h.seats.kv.Create(ctx, h.seat, body)
	} else {
		revision, err = h.seats.kv.Update(ctx, h.seat, body, h.revision)
	}
	if bucket.Conflict(err) {
		return h.recall(ctx)
	}
	if err == nil {
		h.revision = revision
	}
	return err
}

// recall finds out whether the record that is there was written by this node, whose
// answer got lost.
func (h *holding) recall(ctx context.Context) error {
	e, err := h.seats.kv.Get(ctx, h.seat)
	if err != nil {
		return err
	}
	r, err := read(e)
	if err != nil {
		return err
	}
	if r.Holder != h.seats.id || e.Revision() < h.revision {
		return errTaken
	}
	h.revision = e.Revision()
	return nil
}

// serve has the work done while the seat is held, and gives it up when ctx ends. The error
// says why it does not hold it any more.
func (h *holding) serve(ctx context.Context, work Work) error {
	var done atomic.Uint64
	done.Store(h.record.Done)
	holds, lose := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for holds.Err() == nil {
			err := work(holds, done.Load(), done.Store)
			if holds.Err() == nil {
				h.log.Error("what follows from the log cannot be done; trying again", "done", done.Load(), "error", err)
				_ = pause(holds, h.seats.config.Lease/3)
			}
		}
	}()
	err := h.keep(ctx, &done)
	lose(err)
	<-stopped
	if ctx.Err() == nil {
		return err
	}
	h.release(ctx, done.Load())
	return nil
}

// keep renews the record until ctx ends, or the seat is lost.
func (h *holding) keep(ctx context.Context, done *atomic.Uint64) error {
	lease, now := h.seats.config.Lease, h.seats.config.Now
	for kept := now(); ; {
		if err := pause(ctx, lease/4); err != nil {
			return err
		}
		before := now()
		h.record.Done = done.Load()
		switch err := h.write(ctx); {
		case err == nil:
			kept = before
		case errors.Is(err, errTaken):
			return err
		case now().Sub(kept) > lease*2/3:
			return errSilent
		}
	}
}

// release tells the others that they need not wait.
func (h *holding) release(ctx context.Context, done uint64) {
	h.record = Seat{Done: done}
	if err := h.write(context.WithoutCancel(ctx)); err != nil {
		h.log.Info("the seat could not be given up: the others take it when its lease has run out", "error", err)
	}
}
