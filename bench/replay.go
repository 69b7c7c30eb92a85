package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	memorysink "github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// replay goes through a long history from its beginning: into the state of its aggregate, and
// through a projection that does nothing but count.
type replay struct {
	events  int
	stage   *stage
	history *history
	raw     *reader
	js      natsjs.JetStream

	projection *projections.Projection
	register   *runner.Register
	seats      *follow.Seats
	counted    atomic.Int64 // by the projection, in one catching up
	passes     int
}

const replayed = "long"

func newReplay(o options) workload {
	w := &replay{events: o.atMost(10_000)}
	w.projection = projections.Define("idle", projections.From(bank.Account),
		projections.On(func(*projections.Docs[bank.Balance], *bankpb.Deposited, projections.Event) error {
			w.counted.Add(1)
			return nil
		}))
	return w
}

// prepare implements workload.
func (w *replay) prepare(ctx context.Context, s *stage) ([]part, error) {
	w.stage, w.history = s, newHistory(s)
	for range w.events {
		if ended(ctx) {
			return nil, context.Cause(ctx)
		}
		if err := w.history.append(replayed); err != nil {
			return nil, err
		}
	}
	conns, err := s.dials(0, 2)
	if err != nil {
		return nil, err
	}
	if w.raw, err = newReader(conns[0]); err != nil {
		return nil, err
	}
	if w.js, err = natsjs.New(conns[1]); err != nil {
		return nil, err
	}
	if err := w.openRegister(ctx, s); err != nil {
		return nil, err
	}
	sequences := w.history.sequences[replayed]
	return []part{
		{name: "state", ours: w.pass("holdfast", w.state), raw: []turn{
			w.pass("one batch", func(context.Context) error { return w.raw.bySubject(sequences, replayed, false) }),
			w.pass("gets at once", func(context.Context) error { return w.raw.bySequence(sequences, replayed, false) }),
		}},
		{name: "projection", ours: w.pass("holdfast", w.project), raw: []turn{w.pass("ordered consumer", w.consume)}},
	}, nil
}

// openRegister opens what projections are run with.
func (w *replay) openRegister(ctx context.Context, s *stage) error {
	conns, err := s.dials(0, 2)
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	if w.register, err = runner.OpenRegister(ctx, runner.RegisterConfig{Context: contextName, Conn: conns[0], Replicas: s.mode.replicas(), Log: quiet}); err != nil {
		return err
	}
	s.stops = append(s.stops, func(context.Context) error {
		w.register.Close()
		return nil
	})
	w.seats, err = follow.Open(ctx, follow.Config{Context: contextName, Conn: conns[1], Node: "alone", Replicas: s.mode.replicas(), Log: quiet})
	return err
}

// pass goes through all events, again and again, and counts them.
func (w *replay) pass(by string, through func(context.Context) error) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		s, err := crowd[string]{1, inTurn([]string{replayed})}.run(ctx, d, by, func(int, string) error {
			return through(context.WithoutCancel(ctx))
		})
		s.Ops *= w.events
		return s, err
	}
}

func (w *replay) state(ctx context.Context) error { return w.history.restore(ctx, replayed, "") }

// project has the projection catch up from nothing.
func (w *replay) project(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	w.counted.Store(0)
	w.passes++
	run, err := runner.Start(ctx, runner.Config{
		Projections: []*projections.Projection{w.projection}, Log: w.stage.stores[0], Register: w.register, Seats: w.seats,
		Sink: func(*projections.Projection) (projections.Sink, error) { return memorysink.New(), nil },
		Node: fmt.Sprint("n", w.passes), Alone: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer run.Stop()
	if err := run.Await(ctx, w.projection.Name(), w.history.heads[replayed].Position); err != nil {
		return err
	}
	if n := w.counted.Load(); n != int64(w.events-1) {
		return fmt.Errorf("the projection has seen %d deposits of %d", n, w.events-1)
	}
	return nil
}

var errEnough = errors.New("enough")

// consume reads the log with an ordered consumer of nats.go, and decodes what it gets.
func (w *replay) consume(ctx context.Context) error {
	c, err := w.js.OrderedConsumer(ctx, contextName.LogStream(0), natsjs.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	n, done := 0, make(chan error, 1)
	consuming, err := c.Consume(func(m natsjs.Msg) {
		if n++; n > w.events {
			return
		}
		err := decode(m.Data())
		if err == nil && n == w.events {
			err = errEnough
		}
		if err != nil {
			select {
			case done <- err:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer func() {
		consuming.Stop()
		<-consuming.Closed()
	}()
	select {
	case err := <-done:
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	case <-time.After(patience):
		return nats.ErrTimeout
	}
}

// decode reads the event of a commit.
func decode(body []byte) error {
	commit, err := messages.OpenCommit(body)
	if err != nil {
		return err
	}
	for _, ch := range commit.Changes {
		for _, recorded := range ch.Events {
			if _, err := persistence.DecodeEvent(bank.Account, recorded); err != nil {
				return err
			}
		}
	}
	return nil
}

// verify implements workload.
func (w *replay) verify(ctx context.Context) (string, error) {
	if err := w.stage.verify(ctx, w.history.tallies()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d events, each time all of them and once; caught up %d times", w.events, w.passes), nil
}
