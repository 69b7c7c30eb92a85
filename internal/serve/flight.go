package serve

import (
	"sync"

	"github.com/holdfast-run/holdfast"
)

// flight counts the requests that are under way, and lets no more in than the limits
// allow, and none once it is closed.
type flight struct {
	maxRequests, maxBytes int

	mu       sync.Mutex
	requests int
	bytes    int
	closed   bool
	empty    chan struct{} // closed when the flight is closed and nothing is under way
}

func newFlight(maxRequests, maxBytes int) *flight {
	return &flight{maxRequests: maxRequests, maxBytes: maxBytes, empty: make(chan struct{})}
}

// enter never waits: the error is ErrOverloaded, or ErrUnavailable once it is closed.
func (f *flight) enter(bytes int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return holdfast.Errorf(holdfast.CodeUnavailable, "this node is stopping; the request was not executed: send it again")
	case f.requests >= f.maxRequests:
		return holdfast.Errorf(holdfast.CodeOverloaded, "%d requests are under way, which is the limit; this one was not executed: send it again later", f.requests)
	case f.bytes+bytes > f.maxBytes:
		return holdfast.Errorf(holdfast.CodeOverloaded, "the bodies of the requests under way take %d bytes, near the limit of %d; this one was not executed: send it again later", f.bytes, f.maxBytes)
	}
	f.requests++
	f.bytes += bytes
	return nil
}

func (f *flight) leave(bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests--
	f.bytes -= bytes
	if f.closed && f.requests == 0 {
		close(f.empty)
	}
}

// close lets nobody in any more. It may be called again.
func (f *flight) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	if f.requests == 0 {
		close(f.empty)
	}
}

func (f *flight) underWay() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}
