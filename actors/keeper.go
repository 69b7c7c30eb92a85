package actors

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
)

// idleTicks is into how many ticks the idle time is divided.
const idleTicks = 8

// sweep passivates what is idle or too much.
func (h *Host) sweep() {
	defer h.workers.Done()
	ticks := h.config.Tick
	if ticks == nil {
		ticker := time.NewTicker(max(h.config.Idle/idleTicks, time.Millisecond))
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-ticks:
			h.passivateIdle(h.tick.Add(1) - idleTicks)
		case <-h.crowded:
			h.passivateOldest()
		}
	}
}

// passivateIdle asks those to go that were last used at or before that tick.
func (h *Host) passivateIdle(last int64) {
	for _, a := range h.registry.all() {
		if a.used.Load() <= last {
			h.stats.passivations.Add(1)
			a.tell(passivate{})
		}
	}
}

// crowd has the oldest passivated, soon.
func (h *Host) crowd() {
	select {
	case h.crowded <- struct{}{}:
	default:
	}
}

// passivateOldest asks the longest unused to go: those beyond the limit, and a sixteenth
// more so that it need not be done again for the next.
func (h *Host) passivateOldest() {
	h.tick.Add(1)
	excess := h.registry.len() - h.config.MaxActive
	if excess < 0 {
		return
	}
	all := h.registry.all()
	type old struct {
		a    *aggregate
		used int64
	}
	olds := make([]old, len(all))
	for i, a := range all {
		olds[i] = old{a, a.used.Load()}
	}
	slices.SortFunc(olds, func(x, y old) int { return int(x.used - y.used) })
	for _, o := range olds[:min(len(olds), excess+1+h.config.MaxActive/16)] {
		h.stats.passivations.Add(1)
		o.a.tell(passivate{})
	}
}

// savers is how many snapshots may be written at the same time. Those of one aggregate
// are written by one saver, so that the newest is the last.
const savers = 2

// maxSaves is how many snapshots may wait for each saver.
const maxSaves = 128

type saveJob struct {
	ref         holdfast.Ref
	fingerprint string
	save        *Save
}

// save has a snapshot written off the hot path. When too many wait it is left out: the
// events are there.
func (h *Host) save(ref holdfast.Ref, fingerprint string, s *Save) {
	select {
	case h.saves[h.registry.hash(ref)%savers] <- saveJob{ref, fingerprint, s}:
	default:
		h.stats.snapshotsDropped.Add(1)
	}
}

func (h *Host) saver(saves <-chan saveJob) {
	defer h.workers.Done()
	for {
		select {
		case job := <-saves:
			h.keep(job)
		case <-h.ctx.Done():
			for { // what was left on the last passivations
				select {
				case job := <-saves:
					h.keep(job)
				default:
					return
				}
			}
		}
	}
}

func (h *Host) keep(job saveJob) {
	if h.saving.Err() != nil {
		h.stats.snapshotsDropped.Add(1)
		return
	}
	if err := h.write(job); err != nil {
		h.stats.snapshotsFailed.Add(1)
		h.log.Warn("a snapshot was not kept", "aggregate", job.ref.String(), "version", uint64(job.save.Head.Version), "error", err)
		return
	}
	h.stats.snapshotsSaved.Add(1)
}

func (h *Host) write(job saveJob) error {
	state, err := proto.Marshal(job.save.State)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(h.saving, h.config.LoadTimeout)
	defer cancel()
	return h.store.SaveSnapshot(ctx, job.ref, persistence.Snapshot{
		Head: job.save.Head, Fingerprint: job.fingerprint, Recent: job.save.Recent, State: state,
	})
}

type stats struct {
	activations, passivations, answered, failed                         atomic.Int64
	snapshotsSaved, snapshotsFailed, snapshotsDropped, snapshotsIgnored atomic.Int64
}

// Stats counts what a host has done since it was made.
type Stats struct {
	Active           int   // aggregates now
	Activations      int64 // ever
	Passivations     int64 // ever asked for
	Answered         int64 // requests, with success
	Failed           int64 // requests, rejections included
	SnapshotsSaved   int64
	SnapshotsFailed  int64 // could not be written
	SnapshotsDropped int64 // were not written because too many waited, or the host stopped
	SnapshotsIgnored int64 // were read and not used
}

// Stats gives the counts.
func (h *Host) Stats() Stats {
	s := &h.stats
	return Stats{
		Active:           h.registry.len(),
		Activations:      s.activations.Load(),
		Passivations:     s.passivations.Load(),
		Answered:         s.answered.Load(),
		Failed:           s.failed.Load(),
		SnapshotsSaved:   s.snapshotsSaved.Load(),
		SnapshotsFailed:  s.snapshotsFailed.Load(),
		SnapshotsDropped: s.snapshotsDropped.Load(),
		SnapshotsIgnored: s.snapshotsIgnored.Load(),
	}
}
