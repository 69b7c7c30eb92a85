package actors

import (
	"cmp"
	"time"
)

// Window is how many of an aggregate's last command ids are remembered.
const Window = 1024

// recent remembers the fingerprints of the last command ids, in a ring. That an id is
// not among them is certain; that it is has to be looked up in the log.
type recent struct {
	size   int // how many are remembered, if not Window
	prints []uint32
	sieve  *sieve    // of prints, while there are many
	base   uint64    // total at the last reset: prints[0] was the next to be added
	total  uint64    // how many were ever added; a reset does not turn it back
	marks  []mark    // oldest first
	lost   time.Time // ids that were recorded later than this are all remembered
}

// A mark says that the ids from the one that was the first-th on, up to those of the next
// mark, were recorded at a time, or before.
type mark struct {
	first uint64
	at    time.Time
}

// window is how many are remembered.
func (w *recent) window() int { return cmp.Or(w.size, Window) }

// marked is for how many ids there is a mark.
func (w *recent) marked() uint64 { return uint64(max(w.window()/16, 1)) }

// add remembers an id that was recorded at a time, not before the others.
func (w *recent) add(print uint32, at time.Time) {
	if n := len(w.marks); n == 0 || w.total-w.marks[n-1].first >= w.marked() {
		w.marks = append(w.marks, mark{first: w.total})
	}
	w.marks[len(w.marks)-1].at = at
	if n := uint64(w.window()); uint64(len(w.prints)) < n {
		w.prints = append(w.prints, print)
	} else {
		w.prints[(w.total-w.base)%n] = print
		w.forget(w.total - n)
	}
	w.total++
	w.sift(print)
}

// sift has the sieve hold the print, if it is worth one.
func (w *recent) sift(print uint32) {
	if len(w.prints) < leastSifted {
		return
	}
	if w.sieve == nil || w.sieve.held >= 2*len(w.prints) { // half of what it holds has gone
		w.sieve = new(sieve)
		for _, p := range w.prints {
			w.sieve.hold(p)
		}
		return
	}
	w.sieve.hold(print)
}

// forget notes that the i-th is not remembered any more.
func (w *recent) forget(i uint64) {
	for len(w.marks) > 1 && w.marks[1].first <= i {
		w.marks = w.marks[1:]
	}
	w.lost = w.marks[0].at
}

// restore remembers what a snapshot has of the ids that were recorded up to a time.
func (w *recent) restore(prints []uint32, at time.Time) {
	for _, print := range prints {
		w.add(print, at)
	}
	if len(prints) >= w.window() {
		w.lost = at
	}
}

// reset forgets all, and what is added from now on counts as new.
func (w *recent) reset() {
	w.prints, w.base, w.marks, w.lost, w.sieve = w.prints[:0], w.total, nil, time.Time{}, nil
}

// has reports whether the print is among those added after the first since.
func (w *recent) has(print uint32, since uint64) bool {
	if w.sieve != nil && w.sieve.lets(print) {
		return false
	}
	first, size := max(since, w.oldest()), uint64(w.window())
	at := (first - w.base) % size
	for range w.total - min(first, w.total) {
		if w.prints[at] == print {
			return true
		}
		if at++; at == size {
			at = 0
		}
	}
	return false
}

func (w *recent) oldest() uint64 { return w.total - uint64(len(w.prints)) }

// list gives the prints, oldest first.
func (w *recent) list() []uint32 {
	out := make([]uint32, 0, len(w.prints))
	for i := w.oldest(); i < w.total; i++ {
		out = append(out, w.prints[(i-w.base)%uint64(w.window())])
	}
	return out
}

// leastSifted is how many prints are worth a sieve, which takes as much memory as 512.
const leastSifted = 256

// A sieve holds prints, and lets most others pass: a command of a busy aggregate would
// be compared with a thousand.
type sieve struct {
	bits [256]uint64
	held int // ever
}

func (s *sieve) hold(print uint32) {
	s.bits[print%256] |= 1 << (print >> 8 % 64)
	s.held++
}

// lets reports that the print is certainly not held.
func (s *sieve) lets(print uint32) bool { return s.bits[print%256]&(1<<(print>>8%64)) == 0 }
