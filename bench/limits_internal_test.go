package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// BenchmarkLimits tells where the way from the raw engine to a command is spent, each step beside the
// pipelined publisher, which has no callers: callers that wait for what they publish themselves; callers
// that append commits to the store, without aggregates; commands.
//
//	go test ./bench -run '^$' -bench 'Limits/many/relaxed' -benchtime 5x
func BenchmarkLimits(b *testing.B) {
	for _, name := range []string{"many", "flood", "create"} {
		found, _ := find([]string{name})
		for _, m := range modes {
			b.Run(name+"/"+m.name, func(b *testing.B) { benchmarkLimits(b, m, found[0]) })
		}
	}
}

func benchmarkLimits(b *testing.B, m mode, k kind) {
	o, ctx := benchmarked(b), b.Context()
	s, err := newStage(ctx, m, o.dir, o.settingOf(k))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			b.Error(err)
		}
	}()
	w := k.make(o)
	parts, err := w.prepare(ctx, s)
	if err != nil {
		b.Fatal(err)
	}
	var plain *plain
	var pick picker[string]
	callers, of := 64, func(id string) *subject { return plain.subjectOf(id) }
	switch w := w.(type) {
	case *many:
		plain, pick = w.plain, w.pick
	case *flood:
		plain, pick, callers = w.plain, w.pick, w.callers[0]
	case *create:
		plain, pick, of = w.plain, w.pick, fresh
	}
	raw := parts[0].raw[:1]
	for _, p := range []part{
		{name: "callers", raw: raw, ours: plain.waiting(plain.conns[0], callers, subjects(pick, of))},
		{name: "appends", raw: raw, ours: s.appending(plain, callers, pick)},
		{name: "commands", raw: raw, ours: parts[0].ours},
	} {
		rounds, err := runRounds(ctx, o, p.name, time.Second, p)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range report.Summarise(rounds, k.judged...).Ratios {
			b.ReportMetric(x.Median, p.name+"-"+x.Figure)
		}
	}
}

// waiting has callers that publish and wait, over one subscription for all answers.
func (p *plain) waiting(nc *nats.Conn, callers int, pick picker[*subject]) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		inbox, answers := nc.NewInbox()+".", make([]chan *nats.Msg, callers)
		for i := range answers {
			answers[i] = make(chan *nats.Msg, 1)
		}
		sub, err := nc.Subscribe(inbox+"*", func(m *nats.Msg) {
			if i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, inbox)); err == nil {
				answers[i] <- m
			}
		})
		if err != nil {
			return report.Sample{}, err
		}
		defer func() { _ = sub.Unsubscribe() }()
		return crowd[*subject]{callers, pick}.run(ctx, d, "waiting", func(caller int, s *subject) error {
			s.Lock()
			defer s.Unlock()
			m := p.message(s)
			m.Reply = inbox + strconv.Itoa(caller)
			if err := nc.PublishMsg(m); err != nil {
				return err
			}
			select {
			case m := <-answers[caller]:
				p.acked.Add(1)
				s.last, err = sequence(m)
				return err
			case <-time.After(patience):
				return errors.New("no answer")
			}
		})
	}
}

// appending has callers that append a commit of an event and wait.
func (s *stage) appending(p *plain, callers int, pick picker[string]) turn {
	type end struct {
		sync.Mutex
		head persistence.Head
	}
	var mu sync.Mutex
	ends := map[string]*end{}
	of := func(id string) *end {
		mu.Lock()
		defer mu.Unlock()
		if ends[id] == nil {
			ends[id] = new(end)
		}
		return ends[id]
	}
	h := newHistory(s)
	change, err := h.change("limit")
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		if err != nil {
			return report.Sample{}, err
		}
		return crowd[string]{callers, pick}.run(ctx, d, "appending", func(caller int, id string) error {
			e := of(id)
			e.Lock()
			defer e.Unlock()
			done := make(chan error, 1)
			s.stores[0].Append(account("limit-"+id), e.head, []*messages.Change{change}, func(head persistence.Head, err error) {
				if err == nil {
					e.head = head
				}
				done <- err
			})
			if err := <-done; err != nil {
				return fmt.Errorf("append to %s: %w", id, err)
			}
			return nil
		})
	}
}
