package gateway_test

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// account is a small account. Its balance is credited by a retired event too, a
// StringValue, which is read as a deposit of its length.
type account struct {
	owner   string
	balance int64
}

var accountType = holdfast.Define("account",
	holdfast.Decide(func(a account, c *bankpb.OpenAccount) (holdfast.Events, error) {
		if a.owner != "" {
			return nil, nil
		}
		return holdfast.Events{&bankpb.AccountOpened{Owner: c.Owner}}, nil
	}),
	holdfast.Decide(func(a account, c *bankpb.Deposit) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.Deposited{Amount: c.Amount}}, nil
	}),
	holdfast.Decide(func(a account, c *bankpb.Withdraw) (holdfast.Events, error) {
		if c.Amount > a.balance {
			return nil, holdfast.Reject("insufficient_funds", "the balance is %d", a.balance)
		}
		return holdfast.Events{&bankpb.Deposited{Amount: -c.Amount}}, nil
	}),
	holdfast.Decide(func(account, *bankpb.CloseAccount) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.AccountClosed{}}, nil
	}),
	// Many records as many events as it says.
	holdfast.Decide(func(_ account, c *wrapperspb.Int32Value) (holdfast.Events, error) {
		events := make(holdfast.Events, c.Value)
		for i := range events {
			events[i] = &bankpb.Deposited{Amount: int64(i)}
		}
		return events, nil
	}),
	holdfast.Evolve(func(a account, e *bankpb.AccountOpened) account { a.owner = e.Owner; return a }),
	holdfast.Evolve(func(a account, e *bankpb.Deposited) account {
		if e.Amount == poison {
			panic("an amount that nobody thought of")
		}
		a.balance += e.Amount
		return a
	}),
	holdfast.Evolve(func(a account, e *bankpb.AccountClosed) account { return a }),
	holdfast.Upcast[account](func(e *wrapperspb.StringValue) holdfast.Events {
		return holdfast.Events{&bankpb.Deposited{Amount: int64(len(e.Value))}}
	}),
	holdfast.Snapshot(
		func(a account) *bankpb.Account { return &bankpb.Account{Owner: a.owner, Balance: a.balance} },
		func(m *bankpb.Account) account { return account{owner: m.Owner, balance: m.Balance} },
	),
)

// poison is an amount that makes the fold panic.
const poison = -666

// plainType shows no state.
var plainType = holdfast.Define("plain",
	holdfast.Decide(func(struct{}, *bankpb.CloseAccount) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.AccountClosed{}}, nil
	}),
	holdfast.Evolve(func(s struct{}, _ *bankpb.AccountClosed) struct{} { return s }),
)

// ledger is a Sender and a Viewer on a memory store, one command of an aggregate at a
// time. A hook, when set, runs before each command and view and may fail it.
type ledger struct {
	store *memory.Store
	types map[string]holdfast.Definition

	mu    sync.Mutex
	hook  hook
	locks map[holdfast.Ref]*sync.Mutex
	sent  int
}

type hook func(ctx context.Context, ref holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error

var (
	_ holdfast.Sender = (*ledger)(nil)
	_ holdfast.Viewer = (*ledger)(nil)
)

func newLedger(types ...holdfast.Definition) *ledger {
	l := &ledger{store: memory.New(bank), types: map[string]holdfast.Definition{}, locks: map[holdfast.Ref]*sync.Mutex{}}
	for _, def := range types {
		l.types[def.Name()] = def
	}
	return l
}

func (l *ledger) lock(ref holdfast.Ref) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks[ref] == nil {
		l.locks[ref] = new(sync.Mutex)
	}
	return l.locks[ref]
}

func (l *ledger) setHook(h hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = h
}

func (l *ledger) runHook(ctx context.Context, ref holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error {
	l.mu.Lock()
	h := l.hook
	l.mu.Unlock()
	if h == nil {
		return nil
	}
	return h(ctx, ref, c, d)
}

// calls is how many commands have reached the ledger.
func (l *ledger) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

func (l *ledger) load(ctx context.Context, ref holdfast.Ref) (any, persistence.Loaded, error) {
	def := l.types[ref.Type]
	loaded, err := l.store.Load(ctx, ref, "")
	state := def.Zero()
	for _, c := range loaded.Commits {
		for _, ch := range c.Changes {
			if err == nil {
				state, err = persistence.Fold(def, state, ch.Events)
			}
		}
	}
	return state, loaded, err
}

func (l *ledger) Send(ctx context.Context, ref holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	d := holdfast.NewDelivery(opts...)
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	if err := l.runHook(ctx, ref, c, d); err != nil {
		return holdfast.Receipt{}, err
	}
	lock := l.lock(ref)
	lock.Lock()
	defer lock.Unlock()
	state, loaded, err := l.load(ctx, ref)
	if err != nil {
		return holdfast.Receipt{}, err
	}
	if first, ok := answered(loaded, d.Meta.ID); ok {
		return first, nil
	}
	if d.Expected != nil && *d.Expected != loaded.Head.Version {
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeConflict, "%s is at version %d, not at %d", ref, loaded.Head.Version, *d.Expected)
	}
	d.Meta.To = ref
	events, err := l.types[ref.Type].Decide(state, c, d.Meta)
	if err != nil {
		return holdfast.Receipt{}, err
	}
	return l.append(ref, loaded.Head, change(c, d.Meta, events...))
}

func (l *ledger) append(ref holdfast.Ref, after persistence.Head, changes ...*messages.Change) (r holdfast.Receipt, err error) {
	for _, ch := range changes {
		for _, e := range ch.Events {
			r.Events = append(r.Events, e.Type)
		}
	}
	l.store.Append(ref, after, changes, func(h persistence.Head, appendErr error) {
		r.Version, r.Position, err = h.Version, h.Position, appendErr
	})
	return r, err
}

func answered(l persistence.Loaded, id string) (holdfast.Receipt, bool) {
	for _, c := range l.Commits {
		r := holdfast.Receipt{Version: holdfast.Version(c.LastVersion), Position: c.Position, Duplicate: true}
		for _, ch := range c.Changes {
			for _, e := range ch.Events {
				r.Events = append(r.Events, e.Type)
			}
			if ch.CommandId == id {
				return r, true
			}
		}
	}
	return holdfast.Receipt{}, false
}

func change(c holdfast.Command, m holdfast.Meta, events ...holdfast.Event) *messages.Change {
	ch := &messages.Change{
		CommandId: m.ID, Command: string(proto.MessageName(c)), CorrelationId: m.CorrelationID,
		CausationId: m.CausationID, User: m.User, Trace: m.Trace, Time: m.At.UnixNano(),
	}
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			panic(err)
		}
		ch.Events = append(ch.Events, recorded)
	}
	return ch
}

func (l *ledger) View(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
	if err := l.runHook(ctx, ref, nil, holdfast.Delivery{}); err != nil {
		return holdfast.View{}, err
	}
	state, loaded, err := l.load(ctx, ref)
	if err != nil {
		return holdfast.View{}, err
	}
	saved := l.types[ref.Type].Save(state)
	if loaded.Head.Version == 0 || saved == nil {
		return holdfast.View{}, holdfast.Errorf(holdfast.CodeUnknown, "%s: nothing has happened to it yet", ref)
	}
	return holdfast.View{Ref: ref, Version: loaded.Head.Version, Position: loaded.Head.Position, Time: loaded.Head.Time, State: saved}, nil
}
