package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/memory"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// A faulty sink fails as it is told to.
type faulty struct {
	*memory.Sink
	mu      sync.Mutex
	prepare error
	commit  error
	broken  error
	asked   error  // where it stands
	poison  string // a number with which no document can be kept
}

func (f *faulty) set(prepare, commit, broken error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepare, f.commit, f.broken, f.poison = prepare, commit, broken, ""
}

func (f *faulty) faults() (prepare, commit, broken error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.prepare, f.commit, f.broken
}

func (f *faulty) Checkpoint(ctx context.Context, u projections.Unit) (projections.Checkpoint, error) {
	f.mu.Lock()
	err := f.asked
	f.mu.Unlock()
	if err != nil {
		return projections.Checkpoint{}, err
	}
	return f.Sink.Checkpoint(ctx, u)
}

func (f *faulty) Prepare(ctx context.Context, p *projections.Projection, n uint64) error {
	if err, _, _ := f.faults(); err != nil {
		return err
	}
	return f.Sink.Prepare(ctx, p, n)
}

func (f *faulty) Commit(ctx context.Context, u projections.Unit, from, to projections.Checkpoint, do func(projections.Batch) error) error {
	_, commit, broken := f.faults()
	if commit != nil {
		return commit
	}
	return f.Sink.Commit(ctx, u, from, to, func(b projections.Batch) error {
		poisoned := &poisoned{Batch: breaking{b, broken}, sink: f}
		if err := do(poisoned); err != nil {
			return err
		}
		return poisoned.err
	})
}

// poisoned finds at its end that it cannot be.
type poisoned struct {
	projections.Batch
	sink *faulty
	err  error
}

func (p *poisoned) Change(key string, at projections.Place, f func([]byte) ([]byte, error)) error {
	return p.Batch.Change(key, at, func(old []byte) ([]byte, error) {
		body, err := f(old)
		p.sink.mu.Lock()
		defer p.sink.mu.Unlock()
		if p.sink.poison != "" && strings.HasSuffix(string(body), p.sink.poison+"]}") {
			p.err = errGone
		}
		return body, err
	})
}

type breaking struct {
	projections.Batch
	err error
}

func (b breaking) Broken() error { return b.err }

func (b breaking) Change(key string, at projections.Place, f func([]byte) ([]byte, error)) error {
	if b.err != nil {
		return b.err
	}
	return b.Batch.Change(key, at, f)
}

var errGone = holdfast.Errorf(holdfast.CodeUnavailable, "the database is gone")

// A sink that fails blocks its projection with the reason, parks nothing, and is asked again
// until it does what it is for.
func TestBlockedBySink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := &faulty{Sink: memory.New()}
	w.sink = sink
	sink.set(errGone, nil, nil)
	n := w.start("n1", nil, numbers(add))
	n.is(runner.Blocked, "the database is gone")
	sink.set(nil, nil, nil)
	n.await(w.record("a", 1))
	n.is(runner.Live, "")
	sink.set(nil, errGone, nil)
	last := w.record("a", 2)
	n.is(runner.Blocked, "the database is gone")
	sink.set(nil, nil, errors.New("the connection broke"))
	s := n.is(runner.Blocked, "the connection broke")
	if s.Event != "number/a@2" {
		t.Errorf("it is blocked at %q", s.Event)
	}
	sink.set(nil, nil, nil)
	n.await(last)
	n.is(runner.Live, "")
	n.has("a", 1, 2)
	if len(n.parked("number/a")) > 0 {
		t.Error("an event is parked for the sink's fault")
	}
}

// A sink that is gone blocks its projection also while there is nothing to write, since it
// cannot be read; and that is over when it is there again.
func TestBlockedWhileIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := &faulty{Sink: memory.New()}
	w.sink = sink
	n := w.start("n1", nil, numbers(add))
	n.await(w.record("a", 1))
	n.is(runner.Live, "")
	ask := func(err error) {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		sink.asked = err
	}
	ask(errGone)
	n.is(runner.Blocked, "the database is gone")
	ask(nil)
	n.is(runner.Live, "")
	n.await(w.record("a", 2))
	n.has("a", 1, 2)
}

// A sink that cannot be opened blocks its projection alone.
func TestBlockedWithoutSink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var there atomic.Bool
	others := projections.Define("others", projections.From(number), projections.On(add))
	n := w.start("n1", func(c *runner.Config) {
		c.Sink = func(p *projections.Projection) (projections.Sink, error) {
			if p.Name() == "numbers" && !there.Load() {
				return nil, errGone
			}
			return w.sink, nil
		}
	}, numbers(add), others)
	last := w.record("a", 1)
	if err := n.Await(w.ctx(), "others", last); err != nil {
		t.Fatal(err)
	}
	n.is(runner.Blocked, "the database is gone")
	if _, _, err := n.Answer(w.ctx(), "numbers", "a"); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Errorf("a query is answered with %v", err)
	}
	ctx, cancel := context.WithTimeout(w.ctx(), 20*time.Millisecond)
	defer cancel()
	if err := n.Await(ctx, "numbers", last); holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), "the database is gone") {
		t.Errorf("waiting for it gives %v", err)
	}
	there.Store(true)
	n.await(last)
	n.has("a", 1)
}

// A handler that hangs is told of, with the event, for as long as it does.
func TestHangingHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	let := make(chan struct{})
	n := w.start("n1", nil, numbers(func(d docs, e *wrapperspb.Int64Value, at projections.Event) error {
		if e.Value == 13 {
			<-let
		}
		return add(d, e, at)
	}))
	n.await(w.record("a", 1))
	last := w.record("a", 2, 13)
	s := n.is(runner.Blocked, "the handler of google.protobuf.Int64Value has been at event number/a@3 for")
	if s.Event != "number/a@3" {
		t.Errorf("it is blocked at %q", s.Event)
	}
	close(let)
	n.await(last)
	n.is(runner.Live, "")
	n.has("a", 1, 2, 13)
}

// Stop does not wait for it for ever.
func TestStopLeavesAHangingHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	let, in := make(chan struct{}), make(chan struct{})
	n := w.start("n1", func(c *runner.Config) { c.Grace = time.Second }, numbers(func(docs, *wrapperspb.Int64Value, projections.Event) error {
		close(in)
		<-let
		return nil
	}))
	w.record("a", 1)
	<-in
	n.Stop() // after a second of grace
	close(let)
}

// What belongs to others is not touched, and a checkpoint ahead of the log is not followed.
func TestStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sink := &faulty{Sink: memory.New()}
	w.sink = sink
	sink.set(fmt.Errorf("the file is of the context other: %w", projections.ErrForeign), nil, nil)
	n := w.start("n1", nil, numbers(add))
	n.is(runner.Stopped, "of the context other")
	sink.set(nil, nil, nil)
	n.await(w.record("a", 1))
	n.stop()

	u := projections.Unit{Projection: "numbers", Generation: 1}
	at, err := sink.Checkpoint(w.ctx(), u)
	if err == nil {
		err = sink.Commit(w.ctx(), u, at, projections.Checkpoint{Done: 99}, func(projections.Batch) error { return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	n = w.start("n1", nil, numbers(add))
	s := n.is(runner.Stopped, "the checkpoint 0-99 is ahead of the log, which ends at 0-1")
	if !strings.Contains(s.Reason, "rebuild") {
		t.Errorf("it says %q", s.Reason)
	}
	if err := n.register.Reset(w.ctx(), "numbers", holdfast.NewPosition(0, 1), "me"); err != nil {
		t.Fatal(err)
	}
	n.await(w.record("a", 2))
	n.has("a", 1, 2)
}

// A projection that is not in this build shows, with that reason.
func TestRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start("n1", nil, projections.Define("digits", projections.From(number), projections.On(add)))
	if err := n.Await(w.ctx(), "digits", w.record("a", 1)); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n = w.start("n2", nil, numbers(add))
	var digits runner.Status
	w.until("digits are told of", func() bool {
		all, err := n.Statuses(w.ctx())
		if err == nil && len(all) == 2 {
			digits = all[0]
		}
		return digits.Name == "digits" && digits.State == runner.Stopped && strings.Contains(digits.Reason, "this build has no such projection")
	}, func() string { return fmt.Sprintf("%+v", digits) })
	if err := n.Await(w.ctx(), "digits", holdfast.NewPosition(0, 1)); holdfast.CodeOf(err) != holdfast.CodeUnknown || !strings.Contains(err.Error(), "this build has no projection") {
		t.Errorf("waiting for it gives %v", err)
	}
}
