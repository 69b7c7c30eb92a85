package feed

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// linger is how long messages are gathered, from the first of them.
	linger = 20 * time.Millisecond
	// maxMessages and maxBytes are how many of them at most, give or take those of one
	// event. JetStream takes 1,000 in a batch.
	maxMessages = 500
	maxBytes    = 4 << 20
	// ahead is how many steps are made ready while a batch is under way.
	ahead = 16
)

// A step is what one event adds to the feed, and the mark once it has.
type step struct {
	messages []*nats.Msg
	bytes    int
	mark     mark
}

// A batch are steps that are written together. Steps without messages have nothing to be
// written, only to be noted.
type batch struct {
	step
	steps int
}

func (b *batch) add(s step) {
	b.messages = append(b.messages, s.messages...)
	b.bytes += s.bytes
	b.mark = s.mark
	b.steps++
}

func (b *batch) full() bool { return len(b.messages) >= maxMessages || b.bytes >= maxBytes }

// gather gives what is to be written next, and reports whether more may come. It gives
// nothing when ctx ends.
func gather(ctx context.Context, steps <-chan step) (b batch, more bool) {
	var enough <-chan time.Time
	for {
		select {
		case s, ok := <-steps:
			if !ok {
				return b, false
			}
			b.add(s)
			if b.full() {
				return b, true
			}
			if enough == nil {
				t := time.NewTimer(linger)
				defer t.Stop()
				enough = t.C
			}
		case <-enough:
			return b, true
		case <-ctx.Done():
			return batch{}, false
		}
	}
}
