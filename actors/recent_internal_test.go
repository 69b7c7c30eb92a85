package actors

import (
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
