package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pullBytes and pullMessages are the most that is asked for and has not been taken, but
	// for one message that is larger.
	pullBytes    = 256 << 10
	pullMessages = 1024
	// pullPart is how many messages have come until as many more are asked for. The server
	// sends those of a request one after the other, and answers to appends wait behind them.
	pullPart = 64
	// pullsBytes are for all pulls together, beside inFlight on the same connection, unless
	// there are so many that each would have less than leastPull. A client that is busy for
	// longer than two heartbeats has the same once more on its way, to its new consumers.
	pullsBytes = 8 << 20
	leastPull  = 32 << 10
	// pullRoom is for what the server says beside messages: a heartbeat, time and again, for
	// each request that is open, until that expires.
	pullRoom    = 512
	pullExpires = 30 * time.Second
	// heartbeat is how often the server shows that it has heard of a request. One that
	// comes before the consumer has a leader is lost; without a heartbeat for twice as
	// long, the consumer is given up.
	heartbeat = 500 * time.Millisecond
)

var (
	// errQuiet: the consumer is there and has nothing to give.
	errQuiet = errors.New("nothing comes")
	// errOverrun: messages got lost on their way.
	errOverrun = errors.New("messages are missing")
	// errGap: the next message is not the one that is wanted.
	errGap = errors.New("a record is left out")
	// errGone: the server has no such consumer, or it has stopped.
	errGone = errors.New("the consumer is gone")
	// errStill: there is no sign of the consumer.
	errStill = errors.New("the consumer is silent")
)

// A pull takes the messages of one consumer, and asks for more as they are taken. That of
// nats.go makes room for a million of them, which is 8 MB, and does not tell what a heartbeat
// says, nor that the connection has been away.
type pull struct {
	nc       *nats.Conn
	all      *atomic.Int64 // how many there are on the connection
	requests string        // their subject
	sub      *nats.Subscription
	inbox    string
	msgs     chan *nats.Msg
	status   chan nats.Status

	messages, bytes int  // that have been asked for and not come
	large           bool // the next message is
	alone           bool // it is asked for, whatever its size

	got  uint64 // messages so far
	want uint64 // the sequence that comes next, and no other; 0: any

	still, quiet *time.Timer
}

func newPull(nc *nats.Conn, all *atomic.Int64, stream, consumer string) (*pull, error) {
	p := &pull{
		nc: nc, all: all, requests: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer,
		inbox: nc.NewInbox(), msgs: make(chan *nats.Msg, pullMessages+pullRoom),
		still: time.NewTimer(0), quiet: time.NewTimer(0),
	}
	var err error
	if p.sub, err = nc.ChanSubscribe(p.inbox, p.msgs); err != nil {
		return nil, err
	}
	p.status = nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	p.all.Add(1)
	return p, nil
}

func (p *pull) close() {
	p.all.Add(-1)
	_ = p.sub.Unsubscribe() // unless its connection has been closed
	p.nc.RemoveStatusListener(p.status)
	p.still.Stop()
	p.quiet.Stop()
}

// next waits for the next message, for so long.
func (p *pull) next(ctx context.Context, quiet time.Duration) (*nats.Msg, *nats.MsgMetadata, error) {
	for waiting := false; ; {
		if err := p.ask(); err != nil {
			return nil, nil, err
		}
		if len(p.msgs) == 0 && !waiting {
			p.quiet.Reset(quiet)
			waiting = true
		}
		m, err := p.wait(ctx)
		if err != nil {
			return nil, nil, err
		}
		if m.Reply == "" {
			if err := p.told(m); err != nil {
				return nil, nil, err
			}
			continue
		}
		p.messages--
		p.bytes -= m.Size()
		p.alone = false
		meta, err := m.Metadata()
		if err != nil {
			return nil, nil, err
		}
		if p.got++; meta.Sequence.Consumer != p.got {
			return nil, nil, errOverrun
		}
		if p.want > 0 && meta.Sequence.Stream != p.want {
			return nil, nil, errGap
		}
		if p.want > 0 {
			p.want++
		}
		return m, meta, nil
	}
}

func (p *pull) wait(ctx context.Context) (*nats.Msg, error) {
	if err := context.Cause(ctx); err != nil { // however much has come
		return nil, err
	}
	select {
	case m := <-p.msgs:
		return m, nil
	default:
	}
	p.still.Reset(2 * heartbeat)
	var err error
	select {
	case m := <-p.msgs:
		return m, nil
	case <-p.still.C:
		err = errStill
	case <-p.quiet.C:
		p.quiet.Reset(0) // it stays quiet if what has come is no message
		err = errQuiet
	case <-p.status:
		return nil, errDisconnected
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case m := <-p.msgs: // it is this process that was late
		return m, nil
	default:
		return nil, err
	}
}

// window is how many bytes may be on their way: all pulls share what the server keeps for a
// client that is busy.
func (p *pull) window() int {
	return max(leastPull, min(pullBytes, pullsBytes/int(p.all.Load())))
}

// ask asks for more once some messages have come, or half of the bytes.
func (p *pull) ask() error {
	window := p.window()
	switch {
	case p.alone:
		return nil
	case p.large:
		p.large, p.alone = false, true
		p.messages++
		return p.request(1, 0)
	case p.bytes <= 0 || p.messages <= 0: // there is no request left
		p.bytes, p.messages = 0, 0
	case p.bytes >= window, p.bytes >= window/2 && p.messages > pullMessages-pullPart:
		return nil
	}
	n, size := pullMessages-p.messages, window-p.bytes
	p.messages, p.bytes = pullMessages, window
	return p.request(n, size)
}

func (p *pull) request(n, size int) error {
	return p.nc.PublishRequest(p.requests, p.inbox, fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, n, size, pullExpires, heartbeat))
}

// told takes what the server says beside messages.
func (p *pull) told(m *nats.Msg) error {
	number := func(header string) (uint64, bool) {
		n, err := strconv.ParseUint(m.Header.Get(header), 10, 63)
		return n, err == nil
	}
	status := m.Header.Get("Status")
	if status == "100" {
		if sent, ok := number("Nats-Last-Consumer"); ok && sent != p.got {
			return errOverrun
		}
		if passed, ok := number("Nats-Last-Stream"); ok && p.want > 0 && passed >= p.want {
			return errGap
		}
		return nil
	}
	messages, ok := number("Nats-Pending-Messages")
	bytes, sized := number("Nats-Pending-Bytes")
	if !ok || !sized { // else a request has ended before it got all that it was for
		return fmt.Errorf("%w: %s %s", errGone, status, m.Header.Get("Description"))
	}
	p.messages -= int(messages)
	p.bytes -= int(bytes)
	p.alone = false
	// Ended for its size, and not because it has expired, or got all messages.
	p.large = status == "409" && messages > 0 && int(bytes) >= p.window()/2
	return nil
}
