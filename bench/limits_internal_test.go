package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// BenchmarkLimits tells where the way from the raw engine to a command is spent, by what callers reach
// who do less, each beside the same raw publisher: those that wait for what they publish themselves, and
// those that append commits to the store, without aggregates. Of what is read: those that have to find out
// where it is, and know how much of it there is, but do nothing with it.
//
//	go test ./bench -run '^$' -bench 'Limits/many/relaxed' -benchtime 5x
func BenchmarkLimits(b *testing.B) {
	for _, name := range []string{"one-caller", "many", "flood", "create", "ten", "load", "return"} {
		found, _ := find([]string{name})
		for _, m := range modes {
			b.Run(name+"/"+m.name, func(b *testing.B) { benchmarkLimits(b, m, found[0]) })
		}
	}
}

func benchmarkLimits(b *testing.B, m mode, k kind) {
	o, s, w, parts := readied(b, m, k)
	callers, err := lesser(s, w, parts)
	if err != nil {
		b.Fatal(err)
	}
	for _, less := range callers {
		rounds, err := runRounds(b.Context(), o, less.name, time.Second, less)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range report.Summarise(rounds, k.judged...).Ratios {
			b.ReportMetric(x.Median, less.name+"-"+x.Figure)
		}
	}
}

// changing makes the change of a command to an account.
type changing func(id string) (*messages.Change, error)

// lesser are the callers who do less than send commands, and those who do.
func lesser(s *stage, w workload, parts []part) ([]part, error) {
	appended, one := s.appender(), newHistory(s).change
	publishing := func(p part, w *plain, n int, pick picker[string], subject func(string) *subject, change changing) []part {
		return beside(p,
			part{name: "waiting", ours: w.waiting(w.conns[0], n, subjects(pick, subject))},
			part{name: "appending", ours: appending(n, pick, change, appended)},
			part{name: "commands", ours: p.ours},
		)
	}
	switch w := w.(type) {
	case *oneCaller:
		return publishing(parts[0], w.plain, w.callers[0], w.pick, w.plain.subjectOf, one), nil
	case *many:
		return publishing(parts[0], w.plain, w.callers[0], w.pick, w.plain.subjectOf, one), nil
	case *flood:
		return publishing(parts[0], w.plain, w.callers[0], w.pick, w.plain.subjectOf, one), nil
	case *create:
		return publishing(parts[0], w.plain, w.callers, w.pick, fresh, one), nil
	case *ten:
		var all []part
		for i, n := range w.callers {
			all = append(all, publishing(parts[i], w.plain, n, evenly(w.ids), w.plain.subjectOf, tenDeposits)...)
		}
		return all, nil
	case *load:
		return lesserLoads(s, w, parts)
	case *returning:
		return lesserReturns(s, w, parts[0])
	}
	return nil, fmt.Errorf("nobody does less than %T", w)
}

// beside has callers stand beside the raw sides of a part, from which they have the first name.
func beside(p part, callers ...part) []part {
	for i := range callers {
		callers[i].name, callers[i].raw = strings.TrimLeft(strings.ReplaceAll(p.name, " ", "-")+"-"+callers[i].name, "-"), p.raw
	}
	return callers
}

// tenDeposits is the change of a command that brings ten events.
func tenDeposits(id string) (*messages.Change, error) {
	recorded, err := persistence.EncodeEvent(&bankpb.Deposited{Amount: 1})
	if err != nil {
		return nil, err
	}
	return &messages.Change{
		CommandId: id, Command: string(proto.MessageName(&bankpb.Deposit{})), Time: 1, Events: slices.Repeat([]*messages.Event{recorded}, coins),
	}, nil
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

// appending has callers that append a commit of a change and wait.
func appending(callers int, pick picker[string], change changing, appended func(string, *messages.Change) error) turn {
	made, err := change("limit")
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		if err != nil {
			return report.Sample{}, err
		}
		return crowd[string]{callers, pick}.run(ctx, d, "appending", func(_ int, id string) error { return appended(id, made) })
	}
}

// appender gives what appends a change to an account and waits, one at a time for each.
func (s *stage) appender() func(id string, change *messages.Change) error {
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
	return func(id string, change *messages.Change) error {
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
	}
}
