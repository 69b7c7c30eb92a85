package feed_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/feed"
)

// TestLittleRoom: where others have taken the room, a feed of which nobody has said how large
// it is to be takes what is left, and begins again with that.
func TestLittleRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n, size := 0, int64(1)<<50; size >= feed.DefaultMaxBytes/2; n++ {
		_, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: fmt.Sprint("OTHER", n), Subjects: []string{fmt.Sprint("other.", n)}, MaxBytes: size,
		})
		if err != nil { // there may be room for a smaller one
			size /= 2
		}
	}
	for range 2 {
		f := w.start(w.config())
		w.deposit("a", 1)
		w.awaitEvents()
		if got := w.stream().CachedInfo().Config.MaxBytes; got >= feed.DefaultMaxBytes || got < 1<<20 {
			t.Errorf("the feed has %d bytes", got)
		}
		f.Stop()
	}
}
