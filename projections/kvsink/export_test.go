package kvsink

import (
	"context"

	"github.com/nats-io/nats.go"
)

// Through has every message of a sink go through f, which sends it with next, or does not.
// request says that it is one that is answered.
func (s *Sink) Through(f func(m *nats.Msg, request bool, next func() error) error) {
	s.line = through{s.line, f}
}

type through struct {
	line
	f func(m *nats.Msg, request bool, next func() error) error
}

func (t through) publish(m *nats.Msg) error {
	return t.f(m, false, func() error { return t.line.publish(m) })
}

func (t through) request(ctx context.Context, m *nats.Msg) (reply *nats.Msg, err error) {
	err = t.f(m, true, func() (err error) {
		reply, err = t.line.request(ctx, m)
		return err
	})
	return reply, err
}

// Starting tells errors that are over in a moment.
var Starting = starting
