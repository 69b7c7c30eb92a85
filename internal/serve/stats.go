package serve

import (
	"maps"
	"sync"
	"time"
)

// Stats counts what an endpoint has done since the start.
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

// Stats gives what the endpoint has done.
func (e *Endpoint) Stats() Stats { return e.counters.get() }

// Overflowed counts that requests were lost before they were received.
func (e *Endpoint) Overflowed() { e.counters.count(func(s *Stats) { s.Overflows++ }) }
