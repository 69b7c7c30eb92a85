package actors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/actors"
	"github.com/holdfast-run/holdfast/persistence"
)

func TestManyCallersManyAggregates(t *testing.T) {
	f := start(t, nil)
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			for i := range 100 {
				if a := f.ask(fmt.Sprintf("a-%d", (caller+i)%10), deposit(1)); a.Err != nil {
					t.Errorf("deposit: %v", a.Err)
				}
			}
		})
	}
	wg.Wait()
	var total int64
	for i := range 10 {
		total += f.balance(fmt.Sprintf("a-%d", i))
	}
	if total != 1600 {
		t.Errorf("balances add up to %d, want 1600", total)
	}
}

// Passivation at every moment, under fire: nothing is lost, and nothing happens twice.
func TestPassivationLosesNothing(t *testing.T) {
	ticks := make(chan time.Time)
	f := start(t, func(c *actors.Config) { c.Tick = ticks })
	stop := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for {
			select {
			case ticks <- time.Time{}:
			case <-stop:
				return
			}
		}
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 300 {
				if a := f.ask(fmt.Sprintf("a-%d", i%3), deposit(1)); a.Err != nil {
					t.Errorf("deposit: %v", a.Err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	ticking.Wait()
	if total := f.balance("a-0") + f.balance("a-1") + f.balance("a-2"); total != 2400 {
		t.Errorf("balances add up to %d, want 2400", total)
	}
	if s := f.Stats(); s.Activations < 10 {
		t.Errorf("%d activations: the test passivated nothing", s.Activations)
	}
}

func TestIdleAggregatesArePassivated(t *testing.T) {
	ticks := make(chan time.Time)
	f := start(t, func(c *actors.Config) { c.Tick = ticks })
	f.ask("old", deposit(1))
	for range 5 {
		ticks <- time.Time{}
	}
	f.ask("young", deposit(1))
	for range 3 {
		ticks <- time.Time{}
	}
	eventually(t, "the old one goes", func() bool { return f.Stats().Active == 1 })
	if a := f.balance("young"); a != 1 || f.Stats().Activations != 2 {
		t.Errorf("balance %d after %d activations: the young one was passivated too", a, f.Stats().Activations)
	}
}

func TestTheLongestUnusedGoWhenThereAreTooMany(t *testing.T) {
	f := start(t, func(c *actors.Config) { c.MaxActive = 32 })
	for i := range 500 {
		var a actors.Answer
		eventually(t, "there is room", func() bool {
			a = f.ask(fmt.Sprintf("a-%d", i), deposit(1))
			return !errors.Is(a.Err, holdfast.ErrOverloaded)
		})
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		if active := f.Stats().Active; active > 40 {
			t.Fatalf("%d are active, the limit is 32 and a quarter", active)
		}
	}
	if f.Stats().Passivations == 0 {
		t.Error("none was passivated")
	}
}

func TestNoRoomForAnother(t *testing.T) {
	f := start(t, func(c *actors.Config) { c.MaxActive = 4 })
	f.store.hold() // so that none can be passivated
	var answers []<-chan actors.Answer
	for i := range 5 {
		answers = append(answers, f.send(fmt.Sprintf("a-%d", i), deposit(1)))
	}
	eventually(t, "all are appending", func() bool { return f.store.count() == 5 })
	if a := f.ask("one-more", deposit(1)); !errors.Is(a.Err, holdfast.ErrOverloaded) {
		t.Errorf("got %v, want overloaded", a.Err)
	}
	f.store.release()
	for _, answer := range answers {
		if a := f.await(answer); a.Err != nil {
			t.Error(a.Err)
		}
	}
}

func TestAPanicHarmsOnlyItsCaller(t *testing.T) {
	f := start(t, nil)
	f.ask("a", deposit(1))
	f.store.hold()
	first := f.send("a", deposit(1))
	eventually(t, "it is appending", func() bool { return f.store.count() == 1 })
	bad := f.send("a", deposit(13))
	var later []<-chan actors.Answer
	for range 20 {
		later = append(later, f.send("a", deposit(1)))
	}
	f.store.release()
	if a := f.await(bad); !errors.Is(a.Err, holdfast.ErrInternal) {
		t.Errorf("the panicking command got %v, want internal", a.Err)
	}
	for _, answer := range append(later, first) {
		if a := f.await(answer); a.Err != nil {
			t.Errorf("a command beside it got %v", a.Err)
		}
	}
	if b := f.balance("a"); b != 22 {
		t.Errorf("balance %d, want 22", b)
	}
	eventually(t, "the bug is logged", func() bool { return bytes.Contains([]byte(f.log.String()), []byte("thirteen")) })
}

func TestABugOfTheRuntimeLeavesNobodyWaiting(t *testing.T) {
	f := start(t, nil)
	f.ask("a", deposit(1))
	f.store.panics.Store(true)
	if a := f.ask("a", deposit(1)); !errors.Is(a.Err, holdfast.ErrUncertain) {
		t.Errorf("got %v, want uncertain", a.Err)
	}
	f.store.panics.Store(false)
	if a := f.ask("a", deposit(1)); a.Err != nil {
		t.Errorf("the next activation: %v", a.Err)
	}
}

// An aggregate that hangs as soon as it is back keeps no other from being read.
func TestHangingIsNotReading(t *testing.T) {
	f := start(t, func(c *actors.Config) { c.Loads = 1 })
	hangs, on := make(chan struct{}), make(chan struct{})
	f.Deliver(&actors.Request{Ref: holdfast.Ref{Type: "account", ID: "a"}, Done: func(actors.Answer) {
		close(hangs)
		<-on
	}})
	<-hangs
	if a := f.ask("b", deposit(1)); a.Err != nil {
		t.Error(a.Err)
	}
	close(on)
}

func TestAFullQueueRefusesAndRecovers(t *testing.T) {
	f := start(t, func(c *actors.Config) { c.Queue = 100 })
	f.ask("a", deposit(1))
	f.store.hold()
	first := f.send("a", deposit(1))
	eventually(t, "it is appending", func() bool { return f.store.count() == 1 })
	var answers []<-chan actors.Answer
	for range 1000 {
		answers = append(answers, f.send("a", deposit(1)))
	}
	refused := 0
	for _, answer := range answers[100:] {
		if a := f.await(answer); errors.Is(a.Err, holdfast.ErrOverloaded) {
			refused++
		}
	}
	f.store.release()
	for _, answer := range append(answers[:100], first) {
		if a := f.await(answer); a.Err != nil {
			t.Error(a.Err)
		}
	}
	if b := f.balance("a"); refused != 900 || b != 102 {
		t.Errorf("%d refused and balance %d, want 900 and 102", refused, b)
	}
}

func TestACorruptAggregateStopsAlone(t *testing.T) {
	f := start(t, nil)
	f.ask("good", deposit(1))
	f.store.Put(holdfast.Ref{Type: "account", ID: "bad"}, []byte("not a commit"))
	for range 2 {
		if a := f.ask("bad", deposit(1)); !errors.Is(a.Err, holdfast.ErrCorrupt) {
			t.Errorf("got %v, want corrupt", a.Err)
		}
	}
	if a := f.ask("good", deposit(1)); a.Err != nil {
		t.Errorf("another aggregate: %v", a.Err)
	}
}

func TestWhatIsRefusedAtTheDoor(t *testing.T) {
	f := start(t, nil)
	for name, c := range map[string]struct {
		ref  holdfast.Ref
		want error
	}{
		"unknown type": {holdfast.Ref{Type: "nothing", ID: "a"}, holdfast.ErrUnknown},
		"empty id":     {holdfast.Ref{Type: "account"}, holdfast.ErrMalformed},
	} {
		answer := make(chan actors.Answer, 1)
		f.Deliver(&actors.Request{Ref: c.ref, Done: func(a actors.Answer) { answer <- a }})
		if a := f.await(answer); !errors.Is(a.Err, c.want) {
			t.Errorf("%s: got %v, want %v", name, a.Err, c.want)
		}
	}
}

func TestStopAnswersWhatIsOnItsWay(t *testing.T) {
	f := start(t, nil)
	f.store.hold()
	var answers []<-chan actors.Answer
	for i := range 50 {
		answers = append(answers, f.send(fmt.Sprintf("a-%d", i), deposit(1)))
	}
	eventually(t, "all are appending", func() bool { return f.store.count() == 50 })
	waiting := f.send("a-0", deposit(1))
	stopped := make(chan error, 2)
	for range 2 {
		go func() { stopped <- f.Stop(context.Background()) }()
	}
	eventually(t, "it refuses", func() bool {
		answer := make(chan actors.Answer, 1)
		f.Deliver(&actors.Request{Ref: holdfast.Ref{Type: "nothing", ID: "a"}, Done: func(a actors.Answer) { answer <- a }})
		return errors.Is(f.await(answer).Err, holdfast.ErrUnavailable)
	})
	// Stop may not have come to this one yet.
	ended, end := context.WithCancel(context.Background())
	end()
	_, _ = f.Release(ended, func(ref holdfast.Ref) bool { return ref.ID != "a-0" })
	f.store.release()
	for _, answer := range answers {
		if a := f.await(answer); a.Err != nil {
			t.Errorf("on its way: %v", a.Err)
		}
	}
	if a := f.await(waiting); !errors.Is(a.Err, holdfast.ErrUnavailable) {
		t.Errorf("what waited got %v, want unavailable", a.Err)
	}
	for range 2 {
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	if n := f.Stats().Active; n != 0 {
		t.Errorf("%d are still active", n)
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	f := start(t, nil)
	f.store.hold()
	answer := f.send("a", deposit(1))
	eventually(t, "it is appending", func() bool { return f.store.count() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	if a := f.await(answer); !errors.Is(a.Err, holdfast.ErrUncertain) {
		t.Errorf("got %v, want uncertain", a.Err)
	}
}

func TestSnapshotsAreKeptAndUsed(t *testing.T) {
	ticks := make(chan time.Time)
	f := start(t, func(c *actors.Config) { c.Tick = ticks })
	for range 50 {
		f.ask("a", deposit(1))
	}
	eventually(t, "snapshots are saved", func() bool { return f.Stats().SnapshotsSaved == 2 })
	l, err := f.store.Load(context.Background(), holdfast.Ref{Type: "account", ID: "a"}, ledgerType.Fingerprint())
	if err != nil || l.Snapshot == nil || l.Snapshot.Head.Version != 40 || len(l.Commits) != 10 {
		t.Fatalf("snapshot %+v and %d commits: %v", l.Snapshot, len(l.Commits), err)
	}
	for range 9 {
		ticks <- time.Time{}
	}
	eventually(t, "it is passivated, and what has come since is kept", func() bool { return f.Stats().Active == 0 && f.Stats().SnapshotsSaved == 3 })
	if b := f.balance("a"); b != 50 {
		t.Errorf("balance %d, want 50", b)
	}
	// A damaged snapshot is ignored, said so, and the events decide.
	f.store.PutSnapshot(holdfast.Ref{Type: "account", ID: "a"}, []byte("rubbish"))
	for range 9 {
		ticks <- time.Time{}
	}
	eventually(t, "it is passivated again", func() bool { return f.Stats().Active == 0 })
	if b := f.balance("a"); b != 50 || f.Stats().SnapshotsIgnored != 1 {
		t.Errorf("balance %d, %d snapshots ignored, want 50 and 1", b, f.Stats().SnapshotsIgnored)
	}
}

// The last 1,024 ids are remembered across activations and snapshots; older ones are not.
func TestTheWindowOfCommandIDs(t *testing.T) {
	f := start(t, nil)
	for range actors.Window + 50 {
		f.ask("a", deposit(1)) // c-1 and so on
	}
	again := func(id string) actors.Answer {
		answer := make(chan actors.Answer, 1)
		r := &actors.Request{Ref: holdfast.Ref{Type: "account", ID: "a"}, Command: deposit(1), Done: func(a actors.Answer) { answer <- a }}
		r.Meta = holdfast.Meta{ID: id, At: time.Unix(1, 0)}
		f.Deliver(r)
		return f.await(answer)
	}
	if a := again("c-51"); a.Err != nil || !a.Receipt.Duplicate || a.Receipt.Version != 51 {
		t.Errorf("the oldest remembered: %+v %v", a.Receipt, a.Err)
	}
	if a := again("c-50"); a.Err != nil || a.Receipt.Duplicate || a.Receipt.Version != actors.Window+51 {
		t.Errorf("one older: %+v %v", a.Receipt, a.Err)
	}
}

// late has found the log damaged only when the time was up.
type late struct{ persistence.Store }

func (late) Load(ctx context.Context, _ holdfast.Ref, _ string) (persistence.Loaded, error) {
	<-ctx.Done()
	return persistence.Loaded{}, holdfast.Errorf(holdfast.CodeCorrupt, "commit at 0-7: a gap")
}

func TestDamageThatIsFoundLateIsDamage(t *testing.T) {
	f := start(t, func(c *actors.Config) { c.Store, c.LoadTimeout = late{c.Store}, time.Millisecond })
	if a := f.ask("a", deposit(1)); !errors.Is(a.Err, holdfast.ErrCorrupt) {
		t.Errorf("got %v, want corrupt", a.Err)
	}
}
