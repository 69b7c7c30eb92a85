package jetstream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// mostNewcomers is for how many aggregates is asked at a time. Of those that are not new after all the
// server may have to load a block each, and lets nobody write meanwhile.
const mostNewcomers = 16

// newcomers finds out of many aggregates at a time that nothing has happened to them. One by one
// each takes three questions: for its last commit, for a snapshot, and whether that which
// cannot be read is not there either (ADR 23).
//
// It is only asked where new ones are to be expected, since it answers nothing of the others. The one
// who comes first asks; those who come meanwhile gather, and then the first of them asks
// for all. So there is no goroutine of its own.
type newcomers struct {
	store *Store
	on    *partition
	// likely: the last aggregate that was looked for was a new one.
	likely atomic.Bool

	mu      sync.Mutex
	asking  bool
	waiting []*newcomer // none while nobody asks
}

// A newcomer is an aggregate that may be one.
type newcomer struct {
	subject  string
	snapshot string // its subject; empty when none is wanted
	told     chan word
}

// A word is what a newcomer is told.
type word int

const (
	isNew    word = iota
	mayBeOld      // it has to be looked for by itself
	asks          // it is its turn to ask
)

// has reports whether nothing has happened to an aggregate, and no snapshot says otherwise. If not, or
// if that is not certain, the aggregate has to be looked for by itself.
func (n *newcomers) has(ctx context.Context, a aggregate, fingerprint string) bool {
	if !n.likely.Load() {
		return false
	}
	c := &newcomer{subject: a.subject, told: make(chan word, 1)}
	if fingerprint != "" {
		c.snapshot = n.store.snapshotSubject(a)
	}
	n.mu.Lock()
	n.waiting = append(n.waiting, c)
	if !n.asking {
		n.asking = true
		c.told <- asks
	}
	n.mu.Unlock()
	var w word
	select {
	case w = <-c.told:
	case <-ctx.Done():
		if n.leave(c) {
			return false
		}
		w = <-c.told
	}
	if w == asks {
		w = n.ask(ctx)
	}
	return w == isNew
}

// leave reports whether c need not wait any more: nobody asks for it, nor is it to ask.
func (n *newcomers) leave(c *newcomer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.waiting, c)
	if i < 0 || len(c.told) > 0 {
		return false
	}
	n.waiting = slices.Delete(n.waiting, i, i+1)
	return true
}

// ask asks for those that wait, of which the first is the one who asks, tells the others, and has
// the next one ask. It returns what they are told.
func (n *newcomers) ask(ctx context.Context) word {
	n.mu.Lock()
	k := min(len(n.waiting), mostNewcomers)
	asked := slices.Clone(n.waiting[:k])
	n.waiting = slices.Delete(n.waiting, 0, k)
	n.mu.Unlock()
	w := mayBeOld
	if n.areNew(ctx, asked) {
		w = isNew
	}
	for _, c := range asked[1:] {
		c.told <- w
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asking = len(n.waiting) > 0; n.asking {
		n.waiting[0].told <- asks
	}
	return w
}

// areNew asks whether there is nothing of any of them. On a replica it asks for one that is there,
// too: with it comes how far the replica is, which must be as far as the leader was.
func (n *newcomers) areNew(ctx context.Context, asked []*newcomer) bool {
	var logs, snapshots []string
	for _, c := range asked {
		if logs = append(logs, c.subject); c.snapshot != "" {
			snapshots = append(snapshots, c.snapshot)
		}
	}
	none := noResults
	if n.on.replicated {
		known := n.on.appended.Load()
		if known == nil || slices.Contains(logs, *known) {
			return false
		}
		i, err := n.store.info(ctx, n.on)
		if err != nil {
			return false
		}
		logs = append(logs, *known)
		none = func(got answer) bool { return nothingBut(got, *known, i.State.LastSeq) }
	}
	const tagLog, tagSnapshots = 0, 1
	by, out, pending := n.store.reads.lane(), make(chan answer, 2), 1
	if by.ask(ctx, n.on.anyOf(logs), tagLog, out) != nil {
		return false
	}
	if len(snapshots) > 0 {
		if by.ask(ctx, n.store.snapshots.anyOf(snapshots), tagSnapshots, out) != nil {
			return false
		}
		pending++
	}
	for ; pending > 0; pending-- {
		select {
		case got := <-out:
			if got.tag == tagLog && !none(got) || got.tag == tagSnapshots && !noResults(got) {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// noResults reports whether the answer is that the index has none of those that were asked for. In
// any other, also in one that some cannot be read, there may be some.
func noResults(got answer) bool {
	return got.err == nil && len(got.parts) == 0 && len(got.msg.Data) == 0 &&
		got.msg.Header.Get("Status") == "404" && got.msg.Header.Get("Description") == "No Results"
}

// nothingBut reports whether a replica that is as far as a sequence has nothing but the last message of a subject.
func nothingBut(got answer, subject string, last uint64) bool {
	return got.err == nil && len(got.parts) == 1 && got.parts[0].Header.Get("Nats-Subject") == subject &&
		got.msg.Header.Get("Status") == "204" && got.msg.Header.Get("Nats-Num-Pending") == "0" &&
		number(got.msg, "Nats-UpTo-Sequence") >= last
}
