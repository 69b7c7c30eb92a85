package actors

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// What is said to be lost reaches to the last id that is not remembered any more, and not
// much further.
func TestRecentKnowsWhatItHasLost(t *testing.T) {
	at := func(i int) time.Time { return time.Unix(int64(i/3), 0) } // some come together
	var w recent
	for i := range 5 * Window {
		w.add(uint32(i), at(i))
		if i < Window {
			if !w.lost.IsZero() {
				t.Fatalf("after %d, what came up to %v is lost", i+1, w.lost)
			}
			continue
		}
		if first := i - Window; w.lost.Before(at(first)) || w.lost.After(at(first+int(w.marked()))) {
			t.Fatalf("after %d, what came up to %v is lost, and not up to %v", i+1, w.lost, at(first))
		}
	}
	list := w.list()
	w.reset()
	w.restore(list[1:], at(1))
	if !w.lost.IsZero() {
		t.Errorf("of a short list, what came up to %v is lost", w.lost)
	}
	w.reset()
	w.restore(list, at(1))
	if w.lost != at(1) {
		t.Errorf("of a full list, what came up to %v is lost", w.lost)
	}
	w.add(1, at(9))
	if w.lost != at(1) {
		t.Errorf("after a full list and one more, what came up to %v is lost", w.lost)
	}
}

// What was added is found, and nothing else, however much comes and goes.
func TestRecentHas(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, leastSifted - 1, leastSifted, Window} {
		w, all := recent{size: size}, []uint32(nil)
		for i := range 6 * size {
			if i == 3*size {
				w.reset()
				all = nil
			}
			print := dice.Uint32() % uint32(4*size) // some come again
			w.add(print, time.Unix(int64(i), 0))
			all = append(all, print)
			all = all[max(0, len(all)-size):]
			for range 8 {
				print, from := dice.Uint32()%uint32(4*size), dice.IntN(len(all))
				if got, want := w.has(print, w.oldest()+uint64(from)), slices.Contains(all[from:], print); got != want {
					t.Fatalf("size %d, after %d: has %d from the %d. on is %v, want %v", size, i+1, print, from, got, want)
				}
			}
		}
		if held := w.sieve != nil; held != (size >= leastSifted) || held && w.sieve.held > 2*size {
			t.Errorf("size %d: the sieve is %+v", size, w.sieve)
		}
	}
}
