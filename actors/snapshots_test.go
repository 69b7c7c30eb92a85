package actors_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/persistence"
)

// fragile is an account whose snapshots cannot be loaded at a balance of 3.
var fragile = holdfast.Define("account",
	holdfast.Decide(func(_ int64, c *bankpb.Deposit) (holdfast.Events, error) {
		return holdfast.Events{&bankpb.Deposited{Amount: c.Amount}}, nil
	}),
	holdfast.Evolve(func(balance int64, e *bankpb.Deposited) int64 { return balance + e.Amount }),
	holdfast.Snapshot(func(balance int64) *bankpb.Account { return &bankpb.Account{Balance: balance} }, func(a *bankpb.Account) int64 {
		if a.Balance == 3 {
			panic("cannot load")
		}
		return a.Balance
	}),
	holdfast.SnapshotEvery[int64](1),
)

func TestASnapshotThatCannotBeLoadedIsIgnored(t *testing.T) {
	types := []holdfast.Definition{fragile}
	before := start(t, func(c *actors.Config) { c.Types = types })
	before.ask("x", deposit(3))
	eventually(t, "the snapshot is kept", func() bool { return before.Stats().SnapshotsSaved == 1 })
	f := start(t, func(c *actors.Config) { c.Types, c.Store = types, before.store })
	if n := f.balance("x"); n != 3 {
		t.Errorf("the balance is %d, want 3", n)
	}
	if n := f.Stats().SnapshotsIgnored; n != 1 || !strings.Contains(f.log.String(), "cannot load") {
		t.Errorf("%d snapshots were ignored, want 1 and a reason:\n%s", n, f.log)
	}
}

// hung never saves a snapshot, and tells when it is to.
type hung struct {
	persistence.Store
	asked chan struct{}
}

func (h hung) SaveSnapshot(ctx context.Context, _ holdfast.Ref, _ persistence.Snapshot) error {
	h.asked <- struct{}{}
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestStopDoesNotWaitForSnapshots(t *testing.T) {
	asked := make(chan struct{}, 4)
	f := start(t, func(c *actors.Config) {
		c.Types, c.Store, c.LoadTimeout = []holdfast.Definition{fragile}, hung{c.Store, asked}, time.Hour
	})
	for range 4 {
		f.ask("y", deposit(1))
	}
	<-asked // otherwise all four may be dropped
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- f.Stop(ctx) }()
	eventually(t, "nothing is active", func() bool { return f.Stats().Active == 0 })
	cancel()
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("Stop says %v although nothing but snapshots was dropped", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Stop waits longer than its context")
	}
	if s := f.Stats(); s.SnapshotsFailed != 1 || s.SnapshotsDropped != 3 {
		t.Errorf("%d snapshots failed and %d were dropped, want 1 and 3", s.SnapshotsFailed, s.SnapshotsDropped)
	}
}
