package feed_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/feed"
)

func status(t *testing.T, f *feed.Feed) feed.Status {
	t.Helper()
	all, err := f.Status(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("the status is %+v, %v", all, err)
	}
	return all[0]
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 1)
	broken := errors.New("the line is broken")
	dead := &line{Conn: w.conn, fate: func(*nats.Msg, bool) fate { return refused }}
	f := w.start(w.config().Over(dead))
	want := feed.Status{Holder: "me", Here: true, Done: holdfast.NewPosition(0, 0), Last: holdfast.NewPosition(0, 1), Behind: 1}
	await(t, "it says why it does not go on", func() bool { return status(t, f).Err != nil })
	s := status(t, f)
	if !errors.Is(s.Err, nats.ErrReconnectBufExceeded) {
		t.Errorf("the reason is %v, not as %v", s.Err, broken)
	}
	if s.Err = nil; s != want {
		t.Errorf("the status is %+v, want %+v", s, want)
	}
	f.Stop()
	if s := status(t, f); s.Here || s.Err != nil {
		t.Errorf("the status of one that was stopped is %+v", s)
	}
	f.Stop() // it bears repetition

	f = w.start(w.config())
	w.awaitEvents()
	want.Done, want.Behind = want.Last, 0
	await(t, "it is up to date", func() bool { return status(t, f) == want })
}

// TestLostLog: a log that ends before the mark is told, and again when it goes on.
func TestLostLog(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 1)
	w.deposit("a", 1)
	w.start(w.config()).Stop()
	w.start(w.config())
	w.awaitEvents()
	other := newWorld(t)
	other.deposit("a", 1)
	c := w.config()
	c.Log = other.store
	f := w.start(c.Settling(300 * time.Millisecond))
	await(t, "it says so", func() bool { return errors.Is(status(t, f).Err, holdfast.ErrCorrupt) })
	other.deposit("a", 1)
	other.deposit("a", 1)
	w.want = append(w.want, "purse/a@3")
	w.awaitEvents()
	await(t, "it is well again", func() bool { return status(t, f).Err == nil })
}

// TestMissingRecord: what stands before it is shown, and the reason told.
func TestMissingRecord(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 2)
	w.deposit("b", 3)
	w.store.Put(ref("c"), nil)
	w.store.Lose(holdfast.NewPosition(0, 3))
	f := w.start(w.config())
	w.awaitEvents()
	await(t, "it says so", func() bool { return errors.Is(status(t, f).Err, holdfast.ErrCorrupt) })
}

// TestFromNow: a feed that begins may leave out what was there, but nothing that came after.
func TestFromNow(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 3)
	w.want = nil
	c := w.config()
	c.FromNow = true
	w.start(c).Stop()
	w.deposit("a", 1)
	w.start(c)
	w.deposit("b", 1)
	w.awaitEvents()
}

// TestRetention: what has gone from the stream, marks too, does not come again.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.config()
	c.MaxAge = time.Second
	f := w.start(c)
	w.deposit("a", 5)
	w.awaitEvents()
	gone := func() {
		t.Helper()
		await(t, "the stream is empty", func() bool {
			info, err := w.stream().Info(t.Context())
			return err == nil && info.State.Msgs == 0
		})
	}
	gone()
	w.want = nil
	w.deposit("a", 2)
	w.awaitEvents()
	gone()
	f.Stop()
	w.want = nil
	w.deposit("a", 1)
	w.start(c)
	w.awaitEvents()
}

// TestDeletedStream: it is made again, and the feed goes on where it was.
func TestDeletedStream(t *testing.T) {
	w := newWorld(t)
	w.start(w.config())
	w.deposit("a", 5)
	w.awaitEvents()
	if err := w.js.DeleteStream(t.Context(), "SHOP_FEED"); err != nil {
		t.Fatal(err)
	}
	w.want = nil
	w.deposit("a", 2)
	await(t, "the stream is there", func() bool {
		_, err := w.js.Stream(t.Context(), "SHOP_FEED")
		return err == nil
	})
	w.awaitEvents()
}

// TestSweep: of old marks few are kept.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config().Sweeping(10))
	for i := range 25 {
		w.deposit("a", 1)
		await(t, "it is written", func() bool { return w.done() == uint64(i)+1 })
	}
	info, err := w.stream().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if marks := info.State.Msgs - 25; marks < 1 || marks > 11 {
		t.Errorf("%d marks are kept", marks)
	}
	w.awaitEvents()
}
