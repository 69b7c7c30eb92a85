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
	var all []feed.Status
	await(t, "the status is told", func() (so bool) { // JetStream may be slow to answer
		var err error
		all, err = f.Status(t.Context())
		return err == nil
	})
	if len(all) != 1 {
		t.Fatalf("the status is %+v", all)
	}
	return all[0]
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 1)
	dead := &line{Conn: w.conn, fate: func(*nats.Msg, bool) fate { return refused }}
	f := w.start(w.config().Over(dead))
	want := feed.Status{Holder: "me", Here: true, Done: holdfast.NewPosition(0, 0), Last: holdfast.NewPosition(0, 1), Behind: 1}
	var s feed.Status
	await(t, "it says why it does not go on", func() bool {
		s = status(t, f)
		return errors.Is(s.Err, nats.ErrReconnectBufExceeded)
	})
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
	heard, err := w.conn.SubscribeSync("shop.evt.>") // in the stream they may be gone before they are seen
	if err != nil {
		t.Fatal(err)
	}
	hear := func() {
		t.Helper()
		for _, want := range w.want {
			if m, err := heard.NextMsg(patience); err != nil || m.Header.Get("ce-id") != want {
				t.Fatalf("got %v, %v, want %s", m, err, want)
			}
		}
		w.want = nil
	}
	f := w.start(c)
	w.deposit("a", 5)
	hear()
	gone := func() {
		t.Helper()
		await(t, "the stream is empty", func() bool {
			info, err := w.stream().Info(t.Context())
			return err == nil && info.State.Msgs == 0
		})
	}
	gone()
	w.deposit("a", 2)
	hear()
	gone()
	f.Stop()
	w.deposit("a", 1)
	w.start(c)
	hear()
	gone()
	if n, _, err := heard.Pending(); n > 0 || err != nil {
		t.Errorf("%d events have come again, %v", n, err)
	}
}

// TestDeletedStream: it is made again, and the feed goes on where it was.
func TestDeletedStream(t *testing.T) {
	w := newWorld(t)
	w.start(w.config())
	w.deposit("a", 5)
	w.awaitEvents()
	if err := w.js.DeleteStream(within(t), "SHOP_FEED"); err != nil {
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
	info, err := w.stream().Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if marks := info.State.Msgs - 25; marks < 1 || marks > 11 {
		t.Errorf("%d marks are kept", marks)
	}
	w.awaitEvents()
}
