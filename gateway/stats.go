package gateway

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast/messages"
)

// Stats counts what an endpoint has done since the start. It also stands, as JSON, in the
// data of the endpoint's micro statistics, whose own error count and processing time know
// nothing of requests that are answered later.
type Stats struct {
	// Requests that were answered, well or with an error.
	Requests uint64 `json:"requests"`
	// Errors among them, by status: 400, 404 and so on.
	Errors map[int]uint64 `json:"errors,omitempty"`
	// Ignored requests were neither executed nor answered, because they had no reply
	// subject.
	Ignored uint64 `json:"ignored"`
	// Forbidden requests were neither executed nor answered, because of what they gave as
	// reply subject.
	Forbidden uint64 `json:"forbidden"`
	// Unsent are the replies that could not be sent.
	Unsent uint64 `json:"unsent"`
	// Overflows is how often the queue before the gateway was full, and requests were
	// lost.
	Overflows uint64 `json:"overflows"`
	// Busy is the time that requests took together, in nanoseconds in JSON.
	Busy time.Duration `json:"busy"`
}

type counters struct {
	mu sync.Mutex
	s  Stats
}

func (c *counters) count(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

// answered counts a request by the status of its answer, 0 when it went well.
func (c *counters) answered(status int, took time.Duration, sent bool) {
	c.count(func(s *Stats) {
		s.Requests++
		s.Busy += took
		if status != 0 {
			if s.Errors == nil {
				s.Errors = map[int]uint64{}
			}
			s.Errors[status]++
		}
		if !sent {
			s.Unsent++
		}
	})
}

func (c *counters) get() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.s
	s.Errors = maps.Clone(s.Errors)
	return s
}

// Stats of the endpoint for requests of that kind: messages.KindCommand,
// messages.KindGet or messages.KindHistory.
func (g *Gateway) Stats(kind messages.Kind) Stats {
	for _, e := range g.endpoints {
		if e.kind == kind {
			return e.counters.get()
		}
	}
	return Stats{}
}

// InFlight is how many requests are under way.
func (g *Gateway) InFlight() int { return g.flight.underWay() }

func (g *Gateway) microStats(e *micro.Endpoint) any {
	return g.Stats(messages.Kind(e.Name))
}

// asyncError hears of trouble with a subscription.
func (g *Gateway) asyncError(_ micro.Service, err *micro.NATSError) {
	for _, e := range g.endpoints {
		if e.subject == err.Subject && errors.Is(err, nats.ErrSlowConsumer) {
			e.counters.count(func(s *Stats) { s.Overflows++ })
			g.cfg.Logger.Warn("requests were lost: they came faster than they could be counted", "subject", e.subject)
			return
		}
	}
	g.cfg.Logger.Warn("trouble with a subscription", "subject", err.Subject, "error", strings.TrimPrefix(err.Description, "nats: "))
}
