package timers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// quietFailures are how often the handle of a timer may fail until that is a warning: an
// aggregate that moves from one node to another makes it fail a few times.
const quietFailures = 3

// hand has one timer handled.
func (r *runner) hand(ctx context.Context, m *nats.Msg) {
	o := outcome{m: m}
	defer func() { r.done <- o }()
	timer, err := fired(m)
	if err == nil {
		err = r.call(ctx, timer)
	}
	seq, failures := delivery(m)
	switch {
	case err == nil:
		r.acknowledge(ctx, m)
		o.handled = seq // the server may have heard even if it does not say so
		return
	case ctx.Err() != nil:
		r.again(m, 0) // another node takes it
		return
	}
	rest := r.pauses.after(failures)
	level := slog.LevelDebug
	if failures > quietFailures {
		level = slog.LevelWarn
	}
	r.log.Log(ctx, level, "a timer was not handled and comes again", "subject", m.Subject, "failures", failures, "in", rest, "error", err)
	if r.standsBefore(seq) && r.requeue(ctx, m, failures) {
		o.handled = seq
		return
	}
	r.again(m, rest)
}

// call calls the handle, which may panic.
func (r *runner) call(ctx context.Context, timer Timer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return r.handle(ctx, timer)
}

// acknowledge tells the server that it need not hand out a message any more, and reports
// whether it has heard. So not more is under way than there are workers: what a busy
// server comes to too late, it hands out again.
func (r *runner) acknowledge(ctx context.Context, m *nats.Msg) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	if _, err := r.conn.RequestWithContext(ctx, m.Reply, []byte("+ACK")); err != nil {
		r.log.Debug("a timer that was handled may come again", "subject", m.Subject, "error", err)
		return false
	}
	return true
}

// again has the timer come again after a rest.
func (r *runner) again(m *nats.Msg, rest time.Duration) {
	answer := []byte("-NAK")
	if rest > 0 {
		answer = fmt.Appendf(answer, ` {"delay":%d}`, rest)
	}
	if err := m.Respond(answer); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		r.log.Debug("a timer comes again later than it should", "subject", m.Subject, "error", err)
	}
}

// headerFailures tells how often the handle of a timer had failed when it was put at the
// end of the line.
const headerFailures = "Holdfast-Failures"

// requeue puts a timer at the end of those that have fired, and reports whether it is there
// and not in its old place any more.
func (r *runner) requeue(ctx context.Context, m *nats.Msg, failures uint64) bool {
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	last := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{headerFailures: {strconv.FormatUint(failures, 10)}}}
	answer, err := r.conn.RequestMsgWithContext(attempt, last)
	if err == nil {
		err = r.setter.read(answer, 0)
	}
	if err != nil {
		r.log.Debug("a timer keeps its place", "subject", m.Subject, "error", err)
		return false
	}
	return r.acknowledge(ctx, m)
}

// delivery gives the sequence of a timer that was handed out, and how often that was.
func delivery(m *nats.Msg) (seq, deliveries uint64) {
	meta, err := m.Metadata()
	if err != nil {
		return 0, 1
	}
	before, _ := strconv.ParseUint(m.Header.Get(headerFailures), 10, 32) // 0 when there are none
	return meta.Sequence.Stream, before + meta.NumDelivered
}
