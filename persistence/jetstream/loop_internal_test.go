package jetstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// loop gives the body of a commit that follows the log's last by its version, and itself
// by its place.
func (f *fake) loop() []byte {
	f.t.Helper()
	h := f.head()
	h.Position = holdfast.NewPosition(0, h.Position.Sequence()+3)
	h.Before = nil
	c, err := h.Seal("loop", []*messages.Change{{CommandId: "loop", Events: []*messages.Event{{Type: "t"}}}})
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Body
}

// TestBackwardsFromAVersionBeforeALoop: reading comes to an end.
func TestBackwardsFromAVersionBeforeALoop(t *testing.T) {
	f := newSite(t).fake(t)
	f.grow(3)
	body := f.loop()
	f.mu.Lock()
	f.put(body)
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		var err error
		for _, err = range f.store.Backwards(ctx, fakeRef, 1) {
			continue
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, holdfast.ErrCorrupt) {
			t.Errorf("error is %v, want corrupt", err)
		}
	case <-time.After(patience):
		cancel()
		t.Errorf("it still reads, and ends with its context: %v", <-ended)
	}
}

// TestSettleAtALoop: looking up an append comes to an end.
func TestSettleAtALoop(t *testing.T) {
	f := newSite(t).fake(t)
	f.grow(3)
	after := f.head()
	body := f.loop()
	f.publish = func(m *nats.Msg) {
		f.put(body)
		f.respond(m, f.refusal(10158))
	}
	if r := f.end(f.begin(after)); !errors.Is(r.err, holdfast.ErrUncertain) {
		t.Errorf("error is %v, want uncertain", r.err)
	}
}
