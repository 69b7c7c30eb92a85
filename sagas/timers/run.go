package timers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
)

// A Handle deals with a timer that has fired. It is called for many at the same time, and
// for one sometimes again after it has returned nil, or while another node is at it: it
// judges by the state of the aggregate. Its context ends after [Config.Timeout], and with
// that of Run; a handle that does not return then keeps its place among the
// [Config.Workers].
type Handle func(context.Context, Timer) error

// Run hands out timers that have fired, each to one of all that run on any node, until ctx
// ends and every handle has returned; then the error is nil. A timer is gone from the
// stream when its handle has returned nil. Until then it comes again: after a pause when
// the handle failed or panicked, 1 s at first and a minute at most, and meanwhile the
// others come; and some 10 s after the node died that had it. It never expires.
//
// Run outlives elections and the loss of the connection. It ends with ErrUnavailable when
// the stream is not there any more or the connection was closed, and with a *[SettingError]
// when the consumer has been changed so that timers might be lost.
func (t *Timers) Run(ctx context.Context, handle Handle) error {
	patience, err := t.openConsumer(ctx)
	if err == nil {
		r := &runner{
			Timers: t, handle: handle, beat: max(min(patience/signs, maxBeat), minBeat), inbox: t.conn.NewInbox() + ".",
			came: make(chan *nats.Msg, 4*t.workers+64), done: make(chan outcome, t.workers), opened: make(chan error, 1), swept: make(chan sweep, 1),
			busy: map[*nats.Msg]int{},
		}
		r.sign = max(int(patience/signs/r.beat), 1)
		err = r.run(ctx)
	}
	switch {
	case ctx.Err() != nil: // of which whoever ended it need not be told
		err = nil
	case errors.Is(err, nats.ErrConnectionClosed):
		err = holdfast.Errorf(holdfast.CodeUnavailable, "run timers of %s: %w", t.context, err)
	case err != nil:
		err = fmt.Errorf("run timers of %s: %w", t.context, err)
	}
	return err
}

const (
	// maxBeat is how long the server, as long as it waits for timers to hand out, says
	// nothing at most, and silence for how many beats it may not be heard.
	maxBeat = time.Second
	minBeat = 10 * time.Millisecond
	silence = 2
	// signs is how often, in its patience, it hears that a timer is still in hand.
	signs = 3
	// asking is for how long one request for timers is good.
	asking = 30 * time.Second
)

// A runner is one Run. One goroutine has all that is in it.
type runner struct {
	*Timers
	handle Handle
	beat   time.Duration
	sign   int            // after how many beats it is said that a timer is in hand
	inbox  string         // the number of a request follows
	came   chan *nats.Msg // has room for all that is asked for, and for the signs of life
	done   chan outcome   // timers whose handle has returned
	opened chan error     // the consumer has been looked at again
	swept  chan sweep     // it has ended

	busy    map[*nats.Msg]int // timers in hand, and for how many beats
	request uint64            // the number of the last request
	coming  int               // how many timers are to come of it still
	silent  int               // for how many beats nothing was heard of it
	opening bool

	sweeper
}

// An outcome is that of a timer in hand.
type outcome struct {
	m       *nats.Msg
	handled uint64 // its sequence, if it was
}

func (r *runner) run(ctx context.Context) error {
	sub, err := r.conn.ChanSubscribe(r.inbox+"*", r.came)
	if err != nil {
		return err
	}
	defer r.stop(sub)
	ticker := time.NewTicker(r.beat)
	defer ticker.Stop()
	for {
		r.ask(ctx)
		select {
		case m := <-r.came:
			r.receive(ctx, m)
		case o := <-r.done:
			delete(r.busy, o.m)
			r.note(o.handled)
		case <-ticker.C:
			r.tick(ctx)
		case s := <-r.swept:
			if r.forget(s.to); s.err != nil {
				return s.err
			}
		case err := <-r.opened:
			if r.opening = false; err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// ask asks for as many timers as can be taken in hand. There is one request at a time, so
// that it is known how many may come.
func (r *runner) ask(ctx context.Context) {
	n := r.workers - len(r.busy)
	if r.opening || r.coming > 0 || n <= 0 {
		return
	}
	r.request++
	body := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, n, asking, r.beat)
	reply := r.inbox + strconv.FormatUint(r.request, 10)
	if err := r.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+r.stream+"."+consumerName, reply, body); err != nil {
		r.lost(ctx, err.Error())
		return
	}
	r.coming, r.silent = n, 0
}

// receive takes what has come: a timer, or word of the request.
func (r *runner) receive(ctx context.Context, m *nats.Msg) {
	const signOfLife, over = "100", "408"
	switch status := m.Header.Get("Status"); {
	case m.Reply != "":
		// It may be of a request that was given up, and then one more is in hand than may be.
		r.silent, r.coming = 0, max(r.coming-1, 0)
		r.busy[m] = 0
		go r.hand(ctx, m)
	case strings.TrimPrefix(m.Subject, r.inbox) != strconv.FormatUint(r.request, 10): // of one before
	case status == signOfLife:
		r.silent = 0
	case status == over:
		r.coming = 0
	default:
		r.lost(ctx, status+" "+m.Header.Get("Description"))
	}
}

// lost gives up the request, and has the consumer looked at before there is another.
func (r *runner) lost(ctx context.Context, because string) {
	if r.opening {
		return
	}
	r.log.Debug("asking for timers once more", "stream", r.stream, "reason", because)
	r.coming, r.opening = 0, true
	go func() {
		pause(ctx)
		_, err := r.openConsumer(ctx)
		r.opened <- err
	}()
}

// tick tells the server what is in hand, and listens whether it is there.
func (r *runner) tick(ctx context.Context) {
	for m := range r.busy {
		if r.busy[m]++; r.busy[m]%r.sign == 0 {
			_ = m.Respond([]byte("+WPI")) // if it does not arrive, the timer comes again
		}
	}
	r.sweep(ctx)
	if r.coming == 0 {
		return
	}
	if r.silent++; r.silent > silence {
		r.lost(ctx, "nothing was heard")
	}
}

// stop gives back what has not been begun, and waits for the rest.
func (r *runner) stop(sub *nats.Subscription) {
	// What the server has sent until it hears of this has come when the flush has ended.
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	if sub.Drain() == nil {
		_ = r.conn.FlushWithContext(ctx) // then it comes again, later
	}
	for {
		select {
		case m := <-r.came:
			if m.Reply != "" {
				r.again(m, 0)
			}
			continue
		default:
		}
		break
	}
	for len(r.busy) > 0 {
		o := <-r.done
		delete(r.busy, o.m)
		r.note(o.handled)
	}
	if r.opening {
		if err := <-r.opened; err != nil { // it has ended with ctx
			r.log.Debug("the consumer was not looked at to the end", "stream", r.stream, "error", err)
		}
	}
	r.lastSweep()
}
