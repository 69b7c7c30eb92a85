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

// BenchmarkLimits tells where the way from the raw engine to a command is spent, by what callers reach
// who do less, each beside the same raw publisher: those that wait for what they publish themselves, and
// those that append commits to the store, without aggregates.
//
//	go test ./bench -run '^$' -bench 'Limits/many/relaxed' -benchtime 5x
func BenchmarkLimits(b *testing.B) {
	for _, name := range []string{"one-caller", "many", "flood", "create"} {
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
	for _, less := range append(lesser(s, w), part{name: "commands", ours: parts[0].ours}) {
		less.raw = parts[0].raw
		rounds, err := runRounds(ctx, o, less.name, time.Second, less)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range report.Summarise(rounds, k.judged...).Ratios {
			b.ReportMetric(x.Median, less.name+"-"+x.Figure)
		}
	}
}

// lesser are the callers who do less than send commands.
func lesser(s *stage, w workload) []part {
	of := func(p *plain, n int, pick picker[string], subject func(string) *subject) []part {
		return []part{
			{name: "waiting", ours: p.waiting(p.conns[0], n, subjects(pick, subject))},
			{name: "appending", ours: s.appending(n, pick)},
		}
	}
	switch w := w.(type) {
	case *oneCaller:
		return of(w.plain, w.callers[0], w.pick, w.plain.subjectOf)
	case *many:
		return of(w.plain, w.callers[0], w.pick, w.plain.subjectOf)
	case *flood:
		return of(w.plain, w.callers[0], w.pick, w.plain.subjectOf)
	case *create:
		return of(w.plain, w.callers, w.pick, fresh)
	}
	return nil
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
func (s *stage) appending(callers int, pick picker[string]) turn {
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
