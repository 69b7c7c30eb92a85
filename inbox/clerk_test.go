package inbox_test

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/messages"
)

// A clerk is a Sender with accounts in memory, which keeps what the contract of a Sender says
// of ids, of Once and of void commands.
type clerk struct {
	mu       sync.Mutex
	accounts map[string]*account
	position uint64
	// before and after a command may fail it; then it has had no effect, or has.
	before, after func(ctx context.Context, to holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error
}

type account struct {
	state    any
	version  holdfast.Version
	done     []string // the ids that took effect, in order
	recorded map[string]record
}

type record struct {
	command proto.Message
	receipt holdfast.Receipt
}

func newClerk() *clerk { return &clerk{accounts: map[string]*account{}} }

// hook sets what is called before and after commands; nil for none.
func (k *clerk) hook(before, after func(ctx context.Context, to holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before, k.after = before, after
}

// did gives the ids of the commands that took effect at an account, in order.
func (k *clerk) did(id string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string{}, k.account(id).done...)
}

func (k *clerk) account(id string) *account {
	a := k.accounts[id]
	if a == nil {
		a = &account{state: bank.Account.Zero(), recorded: map[string]record{}}
		k.accounts[id] = a
	}
	return a
}

func (k *clerk) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	d := holdfast.NewDelivery(opts...)
	k.mu.Lock()
	before, after := k.before, k.after
	k.mu.Unlock()
	if before != nil {
		if err := before(ctx, to, c, d); err != nil {
			return holdfast.Receipt{}, err
		}
	}
	receipt, err := k.decide(to, c, d)
	if after != nil {
		if err := after(ctx, to, c, d); err != nil {
			return holdfast.Receipt{}, err
		}
	}
	return receipt, err
}

func (k *clerk) decide(to holdfast.Ref, c holdfast.Command, d holdfast.Delivery) (holdfast.Receipt, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.account(to.ID)
	_, void := c.(*messages.Void)
	if first, ok := a.recorded[d.Meta.ID]; ok {
		if proto.MessageName(first.command) != proto.MessageName(c) && !void {
			return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeMalformed, "the command id %q was used for %s before", d.Meta.ID, proto.MessageName(first.command))
		}
		first.receipt.Duplicate = true
		return first.receipt, nil
	}
	if d.Expected != nil && *d.Expected != a.version {
		return holdfast.Receipt{}, holdfast.Errorf(holdfast.CodeConflict, "%s is at version %d, not at the expected %d", to, a.version, *d.Expected)
	}
	var events holdfast.Events
	var err error
	if !void {
		if events, err = bank.Account.Decide(a.state, c, d.Meta); err != nil {
			return holdfast.Receipt{}, err
		}
		a.done = append(a.done, d.Meta.ID)
	}
	receipt := holdfast.Receipt{Events: []string{}}
	for _, e := range events {
		if a.state, err = bank.Account.Apply(a.state, e); err != nil {
			return holdfast.Receipt{}, err
		}
		a.version++
		receipt.Events = append(receipt.Events, string(proto.MessageName(e)))
	}
	k.position++
	receipt.Version, receipt.Position = a.version, holdfast.NewPosition(0, k.position)
	if len(events) > 0 || void || !d.Once.IsZero() {
		a.recorded[d.Meta.ID] = record{c, receipt}
	}
	return receipt, nil
}

// senderFunc is a Sender that has nothing to do.
type senderFunc func(to holdfast.Ref, c holdfast.Command, d holdfast.Delivery)

func (f senderFunc) Send(_ context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	f(to, c, holdfast.NewDelivery(opts...))
	return holdfast.Receipt{}, nil
}
