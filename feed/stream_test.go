package feed_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/feed"
)

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		change func(*feed.Config)
		want   string
	}{
		{func(c *feed.Config) { c.Context = "Shop" }, `config: Context: context "Shop"`},
		{func(c *feed.Config) { c.MaxAge = time.Millisecond }, "config: MaxAge is 1ms: choose 1s or more"},
		{func(c *feed.Config) { c.MaxBytes = -1 }, "config: MaxBytes is -1: choose more than nothing"},
		{func(c *feed.Config) { c.Public = nil }, "config: Public, Log and Seats: all are needed"},
		{func(c *feed.Config) { c.MaxBytes = 1 << 60 }, "no room for as much as MaxBytes says: choose less"},
	} {
		c := w.config()
		tt.change(&c)
		if _, err := feed.Start(within(t), c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// TestRetentionIsChanged: the stream has the limits of the last that was started, whoever
// writes it.
func TestRetentionIsChanged(t *testing.T) {
	w := newWorld(t)
	refuse := true
	w.start(w.config().Over(&line{Conn: w.conn, fate: func(*nats.Msg, bool) fate {
		if refuse {
			refuse = false
			return refused // so that it begins again
		}
		return sent
	}}))
	if got := w.stream().CachedInfo().Config; got.MaxAge != feed.DefaultMaxAge || got.MaxBytes != feed.DefaultMaxBytes {
		t.Errorf("the limits are %v and %d", got.MaxAge, got.MaxBytes)
	}
	c := w.config()
	c.MaxAge, c.MaxBytes = time.Hour, 1<<20
	w.start(c).Stop()
	w.deposit("a", 3)
	w.awaitEvents()
	if got := w.stream().CachedInfo().Config; got.MaxAge != time.Hour || got.MaxBytes != 1<<20 {
		t.Errorf("the limits are %v and %d", got.MaxAge, got.MaxBytes)
	}
}

// TestMaxBytes: what is pushed out of a small stream is gone, and the feed goes on.
func TestMaxBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.config()
	c.MaxBytes = 1 << 17
	f := w.start(c)
	for i := range 30 {
		w.deposit("a", 100)
		await(t, "it is written", func() bool { return w.done() == uint64(i)+1 })
	}
	f.Stop()
	w.deposit("a", 1)
	w.start(c)
	await(t, "it is written", func() bool { return w.done() == 31 })
	got := ids(w.read())
	if len(got) > 1000 || len(got) < 50 {
		t.Errorf("%d events are left", len(got))
	}
	w.want = w.want[len(w.want)-len(got):]
	w.judge()
}

func TestWeakerStream(t *testing.T) {
	w := newWorld(t)
	w.start(w.config()).Stop()
	made := w.stream().CachedInfo().Config
	for _, tt := range []struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		{func(c *jetstream.StreamConfig) { c.Subjects = []string{"shop.fed.evt.>"} }, "stream SHOP_FEED: its setting subjects is shop.fed.evt.>, but must be shop.fed.>"},
		{func(c *jetstream.StreamConfig) { c.SubjectTransform = nil }, "subject_transform is missing, but must be shop.fed.evt.> to shop.evt.>"},
		{func(c *jetstream.StreamConfig) { c.RePublish = nil }, "republish is missing, but must be shop.evt.> to shop.evt.>"},
		{func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }, "discard is discardnew, but must be discardold"},
		{func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage is memory, but must be file"},
		{func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic is false, but must be true"},
		{func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack is true, but must be false"},
		{func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject is 1, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 }, "max_msg_size is 100, but must be unlimited"},
		{func(c *jetstream.StreamConfig) { c.Metadata = nil }, "metadata holdfast-format is missing, but must be 1"},
		{func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention is interest, but must be limits"},
	} {
		if err := w.js.DeleteStream(within(t), "SHOP_FEED"); err != nil {
			t.Fatal(err)
		}
		c := made
		tt.change(&c)
		await(t, "the stream with "+tt.want, func() bool { // the server may still be deleting
			_, err := w.js.CreateStream(t.Context(), c)
			return err == nil
		})
		_, err := feed.Start(within(t), w.config())
		if _, ok := errors.AsType[*feed.SettingError](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}
