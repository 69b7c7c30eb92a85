package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/holdfast-run/holdfast/bench/report"
)

// synchronous is what one does with nats.go: so many goroutines that publish and wait.
func (p *plain) synchronous(nc *nats.Conn, callers int, pick picker[*subject]) (turn, error) {
	js, err := natsjs.New(nc)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[*subject]{callers, pick}.run(ctx, d, "nats.go", func(_ int, s *subject) error { return p.publishSync(js, s) })
	}, nil
}

func (p *plain) publishSync(js natsjs.JetStream, s *subject) error {
	s.Lock()
	defer s.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ack, err := js.Publish(ctx, s.name, p.payload, natsjs.WithExpectLastSequencePerSubject(s.last), natsjs.WithMsgID(nuid.Next()))
	if err != nil {
		return fmt.Errorf("publish to %s: %w", s.name, err)
	}
	s.last = ack.Sequence
	p.acked.Add(1)
	return nil
}

// asynchronous is what one does with nats.go when thousands are to be on their way: one goroutine
// that publishes, and one that takes the answers, in order. Of subjects that are busy it
// chooses others.
func (p *plain) asynchronous(nc *nats.Conn, window int, pick picker[*subject]) (turn, error) {
	js, err := natsjs.New(nc, natsjs.WithPublishAsyncMaxPending(2*window))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		s := report.Sample{By: "nats.go async"}
		sent := make(chan published, window)
		var collecting sync.WaitGroup
		var collected error
		collecting.Go(func() {
			for one := range sent { // to the end, so that the publisher is never stuck
				if err := p.collect(one); err != nil && collected == nil {
					collected = err
				}
				s.Times = append(s.Times, time.Since(one.begun))
			}
		})
		next, begin := pick(dice(0)), time.Now()
		err := p.send(ctx, js, begin.Add(d), next, sent)
		close(sent)
		collecting.Wait()
		s.Ops, s.Took = len(s.Times), time.Since(begin)
		return s, errors.Join(err, collected)
	}, nil
}

// A published is one that has been published without waiting.
type published struct {
	subject *subject
	begun   time.Time
	answer  natsjs.PubAckFuture
}

func (p *plain) send(ctx context.Context, js natsjs.JetStream, end time.Time, next func() *subject, sent chan<- published) error {
	for ctx.Err() == nil {
		begun := time.Now()
		if !begun.Before(end) {
			return nil
		}
		s := next()
		for !s.TryLock() {
			s = next()
		}
		answer, err := js.PublishMsgAsync(p.message(s))
		if err != nil {
			s.Unlock()
			return fmt.Errorf("publish to %s: %w", s.name, err)
		}
		sent <- published{s, begun, answer}
	}
	return nil
}

func (p *plain) collect(one published) error {
	defer one.subject.Unlock()
	select {
	case ack := <-one.answer.Ok():
		one.subject.last = ack.Sequence
		p.acked.Add(1)
		return nil
	case err := <-one.answer.Err():
		return fmt.Errorf("publish to %s: %w", one.subject.name, err)
	case <-time.After(patience):
		return fmt.Errorf("publish to %s: no answer", one.subject.name)
	}
}
