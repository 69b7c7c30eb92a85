package kvsink_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/kvsink"
)

// A play is a batch that comes in three parts, with something of everything in each.
type play struct {
	p *projections.Projection
	u projections.Unit
}

const playEvents = 1200

func newPlay(t testing.TB, s *kvsink.Sink, name string) play {
	t.Helper()
	p := counter(name)
	if err := s.Prepare(within(t), p, 1); err != nil {
		t.Fatal(err)
	}
	play := play{p, projections.Unit{Projection: name, Generation: 1}}
	err := s.Commit(within(t), play.u, projections.Checkpoint{}, projections.Checkpoint{Done: 3}, func(b projections.Batch) error {
		return errors.Join(b.Park(park("late", 1)), b.Park(park("late", 2)), b.Park(park("late", 3)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return play
}

func park(key string, sequence uint64) projections.Parked {
	i := item(key, sequence)
	return projections.Parked{
		Key: key, Event: i.Event, Record: persistence.Record{Position: i.Position, Body: []byte("body")}, Reason: "refused", Since: time.Unix(int64(sequence), 0),
	}
}

func (p play) from() projections.Checkpoint { return projections.Checkpoint{Done: 3} }
func (p play) to() projections.Checkpoint   { return projections.Checkpoint{Done: 3 + playEvents} }

func (p play) do(b projections.Batch) error {
	late := item("late", 1)
	late.Drained = true
	if err := errors.Join(p.p.Handle(b, late), b.Unpark(park("late", 1), ""), b.Unpark(park("late", 2), "nobody needs it")); err != nil {
		return err
	}
	for n := range uint64(playEvents) {
		i := item(fmt.Sprintf("key-%d", n%1000), 4+n)
		if n%500 == 7 {
			if err := b.Park(park("bad", 4+n)); err != nil {
				return err
			}
			continue
		}
		if err := p.p.Handle(b, i); err != nil {
			return err
		}
		if n%500 == 8 {
			if err := b.Later(projections.Effected{ID: fmt.Sprint("effect-", n), Name: "mail"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge finds that everything in the batch has happened once.
func (p play) judge(t testing.TB, s *kvsink.Sink) {
	t.Helper()
	want := map[string]string{"late": `{"n":1}`}
	for n := range playEvents {
		key := fmt.Sprintf("key-%d", n%1000)
		switch {
		case n%500 == 7:
		case want[key] != "":
			want[key] = `{"n":2}`
		default:
			want[key] = `{"n":1}`
		}
	}
	if got := dump(t, s, p.u); !maps.Equal(got, want) {
		for key := range want {
			if got[key] != want[key] {
				t.Errorf("%s is %s, want %s", key, got[key], want[key])
			}
		}
		t.Fatalf("there are %d documents, want %d", len(got), len(want))
	}
	at, err := s.Checkpoint(within(t), p.u)
	if err != nil || at.Done != p.to().Done {
		t.Errorf("it is at %+v, %v", at, err)
	}
	told := ""
	keys, err := s.ParkedKeys(within(t), p.u.Projection, 1, 10)
	for _, k := range keys {
		told += fmt.Sprintf("%s %d from %d; ", k.Key, k.Events, k.First.Event.Position.Sequence())
	}
	if told != "late 1 from 3; bad 3 from 11; " || err != nil {
		t.Errorf("parked is %s, %v", told, err)
	}
	outbox, err := s.Outbox(within(t), p.u, 10)
	if len(outbox) != 3 || err != nil {
		t.Errorf("in the outbox is %+v, %v", outbox, err)
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dump(t testing.TB, s *kvsink.Sink, u projections.Unit) map[string]string {
	t.Helper()
	got := map[string]string{}
	ctx, err := within(t), error(holdfast.ErrUnavailable)
	for errors.Is(err, holdfast.ErrUnavailable) && ctx.Err() == nil { // as while servers elect
		err = s.Dump(ctx, u.Projection, u.Generation, func(_, key string, row []byte) error {
			got[key] = string(row)
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// steps are the messages of a commit at which a node dies: all that a checkpoint is in, and
// some of those between.
func steps(t testing.TB, s *kvsink.Sink, conn *nats.Conn) []int64 {
	t.Helper()
	var all []int64
	for try, late := 0, true; late; try++ { // a machine that is busy has it ask again
		p := newPlay(t, s, fmt.Sprintf("whole_%d", try))
		whole := open(t, conn, 1)
		n := int64(0)
		all, late = nil, false
		whole.Through(func(m *nats.Msg, request bool, next func() error) error {
			if n++; request && !strings.HasPrefix(m.Subject, "$JS.") || n%700 == 1 {
				all = append(all, n)
			}
			err := next()
			late = late || err != nil
			return err
		})
		if err := whole.Commit(within(t), p.u, p.from(), p.to(), p.do); err != nil {
			t.Fatal(err)
		}
		p.judge(t, s)
	}
	if len(all) < 6 {
		t.Errorf("a commit has %d steps only", len(all))
	}
	return all
}

// TestKilled has a node die at each step of a commit, before a message is sent or before its
// answer has come, and another one go on.
func TestKilled(t *testing.T) {
	server := startServers(t, 1)[0]
	a, other := connect(t, server), open(t, connect(t, server), 1)
	for _, step := range steps(t, other, a) {
		for _, arrives := range []bool{false, true} {
			p := newPlay(t, other, fmt.Sprintf("killed_%d_%v", step, arrives))
			dying := open(t, a, 1)
			ctx, die := context.WithCancel(t.Context())
			sent := int64(0)
			dying.Through(func(_ *nats.Msg, _ bool, next func() error) error {
				if sent++; sent < step {
					return next()
				}
				if sent == step && arrives {
					_ = next()
				}
				die()
				return context.Canceled
			})
			err := dying.Commit(ctx, p.u, p.from(), p.to(), p.do)
			die()
			if !errors.Is(err, holdfast.ErrUnavailable) {
				t.Fatalf("step %d: the one that died returned %v", step, err)
			}
			p.goOn(t, other)
			p.judge(t, other)
		}
	}
}

// TestLost loses one message of a commit, or its answer, and the connection holds: the sink finds
// out by itself what has become of it.
func TestLost(t *testing.T) {
	server := startServers(t, 1)[0]
	a, other := connect(t, server), open(t, connect(t, server), 1)
	for _, step := range steps(t, other, a) {
		for _, arrives := range []bool{false, true} {
			p := newPlay(t, other, fmt.Sprintf("lost_%d_%v", step, arrives))
			s := open(t, a, 1)
			sent := int64(0)
			s.Through(func(_ *nats.Msg, request bool, next func() error) error {
				if sent++; sent != step || !request {
					return next()
				}
				if arrives {
					_ = next()
				}
				return nats.ErrTimeout
			})
			if err := s.Commit(within(t), p.u, p.from(), p.to(), p.do); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			p.judge(t, s)
			p.further(t, s) // from what it believes to be the checkpoint
		}
	}
}

// goOn does what a node does that takes over.
func (p play) goOn(t testing.TB, s *kvsink.Sink) {
	t.Helper()
	err := projections.ErrFenced
	for errors.Is(err, projections.ErrFenced) { // by what had been sent, and came late
		var at projections.Checkpoint
		if at, err = s.Checkpoint(within(t), p.u); err == nil && at.Done == p.from().Done {
			err = s.Commit(within(t), p.u, p.from(), p.to(), p.again(t, s))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// again is do, by somebody who has read what is parked, and does not drain what is not.
func (p play) again(t testing.TB, s *kvsink.Sink) func(projections.Batch) error {
	t.Helper()
	parked, err := s.Parked(within(t), p.u, "late", 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(parked) == 3 {
		return p.do
	}
	return func(b projections.Batch) error { return p.do(drained{b}) }
}

// drained is a batch whose late events have been handled.
type drained struct{ projections.Batch }

func (d drained) Change(key string, at projections.Place, f func([]byte) ([]byte, error)) error {
	if at.Drained {
		return nil
	}
	return d.Batch.Change(key, at, f)
}

func (d drained) Unpark(projections.Parked, string) error { return nil }

// TestReplaced has a node sleep at each step of a commit while another one takes over and goes
// on, and then wake up: nothing that it sends has an effect. There is one checkpoint for each
// unit, and all that is sent with an old one is refused as a whole.
func TestReplaced(t *testing.T) {
	server := startServers(t, 1)[0]
	a, other := connect(t, server), open(t, connect(t, server), 1)
	for _, step := range steps(t, other, a) {
		p := newPlay(t, other, fmt.Sprintf("replaced_%d", step))
		sleeping := open(t, a, 1)
		sent := int64(0)
		sleeping.Through(func(_ *nats.Msg, _ bool, next func() error) error {
			if sent++; sent == step {
				p.goOn(t, other)
				p.further(t, other)
			}
			return next()
		})
		if err := sleeping.Commit(within(t), p.u, p.from(), p.to(), p.do); !errors.Is(err, projections.ErrFenced) {
			t.Fatalf("step %d: the one that was replaced returned %v, want ErrFenced", step, err)
		}
		if got := dump(t, other, p.u); got["key-0"] != `{"n":3}` || len(got) != 999 {
			t.Fatalf("step %d: key-0 of %d is %s", step, len(got), got["key-0"])
		}
	}
}

// further commits one event more.
func (p play) further(t testing.TB, s *kvsink.Sink) {
	t.Helper()
	next := p.to()
	next.Done++
	if err := s.Commit(within(t), p.u, p.to(), next, func(b projections.Batch) error { return p.p.Handle(b, item("key-0", next.Done)) }); err != nil {
		t.Fatal(err)
	}
}
