package actors

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A Request is what an aggregate is asked: to decide on a command, or to show its state.
// The host owns it until it is answered.
type Request struct {
	Ref     holdfast.Ref
	Command holdfast.Command // nil asks for the state
	holdfast.Delivery

	// Done hears the answer, exactly once, on a goroutine that it must not block.
	Done func(Answer)

	answer Answer
	print  uint32 // of the command id
	// checked: the log was searched for the id when this many ids had been recorded.
	checked uint64
	// tried counts the appends that this request was part of and that came to nothing.
	tried int
	// doubts counts those among them that may yet be recorded.
	doubts int
	// passed counts how often a stopping aggregate passed the request on.
	passed int
}

// An Answer is what a request gets: a receipt or a view, or the error.
type Answer struct {
	Receipt holdfast.Receipt
	View    holdfast.View
	Err     error
}

func (r *Request) query() bool { return r.Command == nil }

// once reports whether the command's id is recorded even when it finds nothing to do.
func (r *Request) once() bool { return !r.Once.IsZero() || r.void() }

// void reports whether the request is to use up its command id and nothing else.
func (r *Request) void() bool {
	_, void := r.Command.(*messages.Void)
	return void
}

// is reports whether the command has that full name.
func (r *Request) is(name string) bool { return string(proto.MessageName(r.Command)) == name }

// prepare readies a request that came from outside.
func (r *Request) prepare() { r.print = messages.IDFingerprint(r.Meta.ID) }

// Window is how many of an aggregate's last command ids are remembered.
const Window = 1024

// recent remembers the fingerprints of the last command ids, in a ring. That an id is
// not among them is certain; that it is has to be looked up in the log.
type recent struct {
	size   int // how many are remembered, if not Window
	prints []uint32
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
	w.prints, w.base, w.marks, w.lost = w.prints[:0], w.total, nil, time.Time{}
}

// has reports whether the print is among those added after the first since.
func (w *recent) has(print uint32, since uint64) bool {
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
