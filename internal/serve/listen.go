package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// StartTimeout is how long the server may take to hear of a subscription, however short the
// time of a request is.
const StartTimeout = 10 * time.Second

// A Listener has the requests on some subjects answered, from Listen to Stop.
type Listener struct {
	service *Service
	sub     *nats.Subscription
	closed  <-chan nats.SubStatus // the subscription, and what it had taken is received
}

// Listen has an endpoint answer the requests that come on the service's connection. Those who
// listen as one queue share them.
func (s *Service) Listen(subjects, queue string, e *Endpoint) (*Listener, error) {
	sub, err := s.cfg.Conn.QueueSubscribe(subjects, queue, func(m *nats.Msg) {
		s.Receive(e, Request{Subject: m.Subject, Reply: m.Reply, Headers: m.Header, Body: m.Data, Garbled: Garbled(m)})
	})
	if err != nil {
		return nil, err
	}
	l := &Listener{service: s, sub: sub, closed: sub.StatusChanged(nats.SubscriptionClosed)}
	// So that a request that is sent after Listen has returned is answered.
	if err := s.cfg.Conn.FlushTimeout(StartTimeout); err != nil {
		return nil, errors.Join(fmt.Errorf("flush connection: %w", err), sub.Unsubscribe())
	}
	return l, nil
}

// Stop takes no request any more, waits for what is under way, and returns when the replies
// have been handed to the server. When ctx ends before, it has the requests break off and
// returns an error that says how many there were. Stop may be called again, also at the same
// time.
func (l *Listener) Stop(ctx context.Context) error {
	// Where nothing can come any more there is nothing to wait for.
	if l.service.cfg.Conn.IsConnected() && l.sub.Drain() == nil {
		select {
		case <-l.closed:
		case <-ctx.Done():
		}
	}
	return l.service.Close(ctx)
}
