package feed_test

import (
	"testing"
)

func TestFeed(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.deposit([]string{"a", "b.1"}[i%2], 1+i%3)
	}
	f := w.start(w.config())
	w.awaitEvents()
	w.deposit("a", 2)
	w.deposit("c", 1)
	w.awaitEvents()
	f.Stop()
	w.deposit("a", 1)
	w.start(w.config())
	w.deposit("b.1", 1)
	w.awaitEvents()
}
