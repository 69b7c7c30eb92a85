package jetstream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestNotReady(t *testing.T) {
	api := func(code int, errCode jetstream.ErrorCode) error {
		return fmt.Errorf("api: %w", &jetstream.APIError{Code: code, ErrorCode: errCode})
	}
	for _, c := range []struct {
		err    error
		passes bool
	}{
		{api(400, codeNoPeers), true},
		{api(503, codeNotAvailable), true},
		{api(500, codeNotAvailable), true},
		{api(503, 10999), true},
		{api(503, codeNotEnabled), false},
		{api(503, codeNotForAccount), false},
		{api(400, codeExists), false},
		{api(404, 10059), false},
		{nats.ErrNoResponders, true},
		{nats.ErrTimeout, true},
		{nats.ErrDisconnected, true},
		{nats.ErrConnectionReconnecting, true},
		{nats.ErrReconnectBufExceeded, true},
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), true},
		{context.Canceled, false},
		{nats.ErrConnectionClosed, false},
		{errors.New("other"), false},
	} {
		if notReady(c.err) != c.passes {
			t.Errorf("%v passes: %t, want %t", c.err, !c.passes, c.passes)
		}
	}
}

// TestClockEnds: when it is closed, all that it had has ended.
func TestClockEnds(t *testing.T) {
	p := newSite(t).pipe(t, 3)
	c := newClock()
	ticks := make(chan time.Time)
	released := false
	c.run(ticks, func() { released = true }, func(uint64) {}, p)
	for range 3 {
		ticks <- time.Time{}
	}
	if c.close(); !released || p.ticks < 2 {
		t.Errorf("the ticker is released: %t, after %d ticks", released, p.ticks)
	}
}

// TestTicksMakeUpATimeout: nothing is given up before its time, wherever between two
// ticks it began.
func TestTicksMakeUpATimeout(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 7 * time.Millisecond, time.Second, time.Minute} {
		for _, other := range []time.Duration{time.Millisecond, 999 * time.Microsecond * 3, time.Second} {
			c := Config{AppendTimeout: d, ReadTimeout: other}
			if n := c.ticks(d); time.Duration(n)*c.tick() < d || time.Duration(n-1)*c.tick() >= d+2*c.tick() {
				t.Errorf("%s are %d ticks of %s", d, n, c.tick())
			}
		}
	}
}
