package bench

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/desk"
	"github.com/holdfast-run/holdfast/sagas/runner"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// runSagas has the first member take its part in what the sagas ask for, as a node does.
func (s *stage) runSagas(ctx context.Context, all ...*sagas.Saga) (*watcher, error) {
	book, err := sagas.NewBook([]holdfast.Definition{bank.Account}, all...)
	if err != nil {
		return nil, err
	}
	conns, err := s.dials(0, 1)
	if err != nil {
		return nil, err
	}
	conn, replicas, quiet := conns[0], s.mode.replicas(), slog.New(slog.DiscardHandler)
	wakes, err := timers.Open(ctx, timers.Config{Context: contextName, Conn: conn, Replicas: replicas, Logger: quiet})
	if err != nil {
		return nil, fmt.Errorf("open the timers: %w", err)
	}
	seats, err := follow.Open(ctx, follow.Config{Context: contextName, Conn: conn, Node: "alone", Replicas: replicas, Log: quiet})
	if err != nil {
		return nil, err
	}
	list, err := desk.Open(ctx, desk.ListConfig{Context: contextName, Conn: conn, Replicas: replicas})
	if err != nil {
		return nil, err
	}
	w := &watcher{Sender: s.members[0], over: map[string]chan struct{}{}}
	run, err := runner.Start(ctx, runner.Config{
		Book: book, Sagas: all, Log: s.stores[0], Sender: w, Timers: wakes, List: list, Seats: seats, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func(context.Context) error {
		run.Stop()
		return nil
	})
	return w, nil
}

// A watcher sends what sagas have sent, and tells who waits for it.
type watcher struct {
	holdfast.Sender

	mu    sync.Mutex
	over  map[string]chan struct{} // of sagas, by their ids
	first chan time.Time           // nil when nobody waits for a command of a saga
}

// expect gives what is closed when a saga has come to its end.
func (w *watcher) expect(id string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	over := make(chan struct{})
	w.over[id] = over
	return over
}

// expectFirst gives what tells when the next command of a saga is sent to an account.
func (w *watcher) expectFirst() <-chan time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.first = make(chan time.Time, 1)
	return w.first
}

// Send implements [holdfast.Sender].
func (w *watcher) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	if to.Type == bank.Account.Name() {
		w.sending(time.Now())
	}
	r, err := w.Sender.Send(ctx, to, c, opts...)
	if err == nil && slices.Contains(r.Events, string(proto.MessageName(&messages.SagaEnded{}))) {
		w.ended(to.ID)
	}
	return r, err
}

func (w *watcher) sending(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != nil {
		w.first <- now
		w.first = nil
	}
}

// ended is told again when the answer to what ended the saga got lost.
func (w *watcher) ended(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if over, ok := w.over[id]; ok {
		close(over)
		delete(w.over, id)
	}
}

// countSagas reads all sagas of a type in the log, and finds each to have ended once, completed.
func (s *stage) countSagas(ctx context.Context, of *sagas.Saga) (completed int64, err error) {
	ends, others := map[string]int{}, 0
	err = s.scan(ctx, of.Type(), func(id string, e holdfast.Event) {
		switch e := e.(type) {
		case *messages.SagaBegun:
			ends[id] += 0
		case *messages.SagaEnded:
			if ends[id]++; e.Status != string(sagas.Completed) {
				others++
			}
		}
	})
	if err != nil {
		return 0, err
	}
	for id, n := range ends {
		if n != 1 {
			return 0, fmt.Errorf("the saga %s has ended %d times", id, n)
		}
	}
	if others > 0 {
		return 0, fmt.Errorf("%d of %d sagas are not completed", others, len(ends))
	}
	return int64(len(ends)), nil
}
