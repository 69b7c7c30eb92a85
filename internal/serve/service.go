package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/crew"
	"github.com/holdfast-run/holdfast/messages"
)

// Config is what [New] needs: all of it.
type Config struct {
	// Context is the one whose subjects get no answer as reply subjects.
	Context messages.Context
	// Conn carries the replies.
	Conn *nats.Conn
	// MaxInFlight is how many requests may be under way, MaxInFlightBytes how many bytes
	// their bodies may take together, MaxBody how many one body may have.
	MaxInFlight, MaxInFlightBytes, MaxBody int
	// Timeout is how long a request may take.
	Timeout time.Duration
	// Now is the clock.
	Now func() time.Time
	// NewID makes references to the log in internal errors.
	NewID func() string
	// Logger hears what is not told to those who ask, and what could not be answered.
	Logger *slog.Logger
}

// A Service answers requests until it is closed.
type Service struct {
	cfg    Config
	flight *flight

	// Of the requests under way; Close cancels it when it has waited long enough.
	ctx    context.Context
	cancel context.CancelFunc

	crew *crew.Crew[task]
}

// A task is a request that is to be handled and answered.
type task struct {
	endpoint *Endpoint
	request  *Request
}

// New makes a service.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, flight: newFlight(cfg.MaxInFlight, cfg.MaxInFlightBytes)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.crew = crew.New(s.answer, s.ctx.Done())
	return s
}

// An Endpoint handles requests of one kind, and counts them.
type Endpoint struct {
	// Handle has a request executed, in a goroutine that does nothing else meanwhile. Beside an error only the
	// headers of the answer count.
	Handle func(context.Context, *Request) (Answer, error)
	// Refuse gives the body of a refusal, when it is another than that of the others.
	Refuse   func(Failure) ([]byte, error)
	counters counters
}

// A Request is one as it came.
type Request struct {
	Subject string
	Reply   string
	Headers map[string][]string
	Body    []byte
	// Garbled: its headers could not be read.
	Garbled bool
	// Protobuf: it is to be answered in protobuf.
	Protobuf bool
	// At is when it came. Receive fills it in.
	At time.Time
}

// Receive takes a request from its subscription, and does not block: it has the endpoint
// handle and answer it.
func (s *Service) Receive(e *Endpoint, r Request) {
	switch {
	case r.Reply == "":
		e.counters.count(func(s *Stats) { s.Ignored++ })
		s.cfg.Logger.Debug("request ignored: it has no reply subject", "subject", r.Subject)
		return
	case !answerable(s.cfg.Context, r.Reply):
		e.counters.count(func(s *Stats) { s.Forbidden++ })
		s.cfg.Logger.Warn("request ignored: an answer may not be sent to its reply subject", "subject", r.Subject, "reply", r.Reply)
		return
	}
	r.At = s.cfg.Now()
	if err := s.admit(&r); err != nil {
		s.finish(e, &r, Answer{}, err)
		return
	}
	s.crew.Do(task{e, &r})
}

func (s *Service) answer(t task) {
	defer s.flight.leave(len(t.request.Body))
	result, err := s.handle(t.endpoint, t.request)
	s.finish(t.endpoint, t.request, result, err)
}

func (s *Service) admit(r *Request) error {
	if len(r.Body) > s.cfg.MaxBody {
		return holdfast.Errorf(holdfast.CodeTooLarge, "body: it has %d bytes, the limit is %d", len(r.Body), s.cfg.MaxBody)
	}
	return s.flight.enter(len(r.Body))
}

// handle has a request executed.
func (s *Service) handle(e *Endpoint, r *Request) (result Answer, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	err = Guarded(func() (err error) {
		result, err = e.Handle(ctx, r)
		return err
	})
	return result, err
}

// Guarded calls f, and makes of its panic an error that tells the log where it was.
func Guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return f()
}

// panicError is the error of a function that panicked.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// Close takes no request any more, waits for what is under way, and returns when the replies
// have been handed to the server. When ctx ends before, it has the requests break off and
// returns an error that says how many there were. It may be called again, also at the same
// time.
func (s *Service) Close(ctx context.Context) error {
	s.flight.close()
	defer s.cancel()
	select {
	case <-s.flight.empty:
	case <-ctx.Done():
		return fmt.Errorf("%d requests were still under way: %w", s.flight.underWay(), context.Cause(ctx))
	}
	if _, ok := ctx.Deadline(); !ok { // which flushing demands
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
	}
	if err := s.cfg.Conn.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("flush replies: %w", err)
	}
	return nil
}

// InFlight is how many requests are under way.
func (s *Service) InFlight() int { return s.flight.underWay() }
