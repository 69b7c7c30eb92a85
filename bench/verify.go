package bench

import (
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A tally is what the log should hold of an account.
type tally struct{ events, balance int64 }

// add takes one of its events.
func (t *tally) add(e holdfast.Event) {
	t.events++
	switch e := e.(type) {
	case *bankpb.Deposited:
		t.balance += e.Amount
	case *bankpb.Withdrawn:
		t.balance -= e.Amount
	}
}

// mostViewed accounts are asked for, which takes some seconds when they are not active.
const mostViewed = 10_000

// verify reads the whole log, and finds of each account what was answered and nothing else, and
// that a query shows the same, of as many as are not too many. The probe is left out.
func (s *stage) verify(ctx context.Context, want map[string]tally) error {
	found, err := s.count(ctx)
	if err != nil {
		return err
	}
	delete(found, "probe")
	if len(found) != len(want) {
		return fmt.Errorf("the log has %d accounts, and %d were opened", len(found), len(want))
	}
	viewed := 0
	for id, w := range want {
		if f := found[id]; f == nil || *f != w {
			return fmt.Errorf("the account %s: %d events and a balance of %d were answered, and the log has %v", id, w.events, w.balance, f)
		}
		if viewed++; viewed > mostViewed {
			continue
		}
		var view holdfast.View
		err := s.untilRoom(func() (err error) {
			view, err = s.members[0].View(ctx, account(id))
			return err
		})
		if err != nil {
			return fmt.Errorf("look at the account %s: %w", id, err)
		}
		if state, ok := view.State.(*bankpb.Account); !ok || state.Balance != w.balance || int64(view.Version) != w.events {
			return fmt.Errorf("the account %s: %d events and a balance of %d are in the log, and a query shows version %d, %v", id, w.events, w.balance, view.Version, view.State)
		}
	}
	return nil
}

// count reads what the log has of accounts, and finds as many events as there were before the
// workload.
func (s *stage) count(ctx context.Context) (map[string]*tally, error) {
	found, aged := map[string]*tally{}, 0
	err := s.scan(ctx, bank.Account, func(id string, e holdfast.Event) {
		if isAged(id) {
			aged++
			return
		}
		if found[id] == nil {
			found[id] = new(tally)
		}
		found[id].add(e)
	})
	if err == nil && aged != s.aged {
		err = fmt.Errorf("the log has %d events of before the workload, and %d were written", aged, s.aged)
	}
	return found, err
}

// scan reads the events of all aggregates of a type in the log.
func (s *stage) scan(ctx context.Context, typ holdfast.Definition, each func(id string, e holdfast.Event)) error {
	unread, err := s.stores[0].Scan(ctx, persistence.ScanOptions{Filter: persistence.Filter{Type: typ.Name()}}, func(r persistence.Record) error {
		subject, err := messages.ParseSubject(r.Subject)
		if err != nil {
			return err
		}
		c, err := persistence.Open(r.Position, r.Body)
		if err != nil {
			return err
		}
		id := subject.ID.Raw()
		for _, ch := range c.Changes {
			for _, recorded := range ch.Events {
				e, err := persistence.DecodeEvent(typ, recorded)
				if err != nil {
					return err
				}
				each(id, e)
			}
		}
		return nil
	})
	if err == nil && unread > 0 {
		err = fmt.Errorf("%d commits cannot be read", unread)
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}
