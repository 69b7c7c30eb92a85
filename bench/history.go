package bench

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// A history is a log that is written before something reads it: accounts of one event a commit,
// the first of which opens them and each other of which pays in 1. It knows where each commit
// is.
type history struct {
	store     persistence.Store
	heads     map[string]persistence.Head
	sequences map[string][]uint64
}

func newHistory(s *stage) *history {
	return &history{s.stores[0], map[string]persistence.Head{}, map[string][]uint64{}}
}

// append adds a commit to each of the accounts, which are different ones.
func (h *history) append(ids ...string) error {
	type ended struct {
		id   string
		head persistence.Head
		err  error
	}
	done := make(chan ended, len(ids))
	for _, id := range ids {
		change, err := h.change(id)
		if err != nil {
			return err
		}
		h.store.Append(account(id), h.heads[id], []*messages.Change{change}, func(head persistence.Head, err error) {
			done <- ended{id, head, err}
		})
	}
	var failed error
	for range ids {
		e := <-done
		if e.err != nil {
			failed = fmt.Errorf("write the history of %s: %w", e.id, e.err)
			continue
		}
		h.heads[e.id] = e.head
		h.sequences[e.id] = append(h.sequences[e.id], e.head.Position.Sequence())
	}
	return failed
}

// change is the next one of an account.
func (h *history) change(id string) (*messages.Change, error) {
	var event holdfast.Event = &bankpb.Deposited{Amount: 1}
	command := holdfast.Command(&bankpb.Deposit{})
	version := h.heads[id].Version
	if version == 0 {
		event, command = &bankpb.AccountOpened{Owner: "ada"}, &bankpb.OpenAccount{}
	}
	recorded, err := persistence.EncodeEvent(event)
	if err != nil {
		return nil, err
	}
	return &messages.Change{
		CommandId: id + "-" + strconv.FormatUint(uint64(version), 10), Command: string(proto.MessageName(command)), Time: 1,
		Events: []*messages.Event{recorded},
	}, nil
}

// snapshot keeps one of an account as it is.
func (h *history) snapshot(ctx context.Context, id string) error {
	state := &bankpb.Account{Owner: "ada", Balance: h.tally(id).balance, Open: true}
	body, err := proto.Marshal(state)
	if err != nil {
		return err
	}
	return h.store.SaveSnapshot(ctx, account(id), persistence.Snapshot{
		Head: h.heads[id], Fingerprint: bank.Account.Fingerprint(), State: body,
	})
}

// tally is what the log has of an account.
func (h *history) tally(id string) tally {
	events := int64(h.heads[id].Version)
	return tally{events: events, balance: events - 1}
}

// tallies are those of all.
func (h *history) tallies() map[string]tally {
	all := map[string]tally{}
	for id := range h.heads {
		all[id] = h.tally(id)
	}
	return all
}

// restore loads an account as an activation does, folds it, and finds it to be as it was
// written. Without a fingerprint it starts from nothing.
func (h *history) restore(ctx context.Context, id, fingerprint string) error {
	r := &persistence.Rebuilt{Def: bank.Account}
	l, err := persistence.Replay(ctx, h.store, account(id), fingerprint, r)
	if err != nil {
		return err
	}
	want := h.tally(id)
	if a, ok := bank.Account.Save(r.State).(*bankpb.Account); !ok || a.Balance != want.balance || int64(l.Head.Version) != want.events || (l.Snapshot != nil) != (fingerprint != "") {
		return fmt.Errorf("loading %s: got version %d and %v, want version %d and a balance of %d", id, l.Head.Version, a, want.events, want.balance)
	}
	return nil
}
