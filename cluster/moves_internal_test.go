package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
)

// A load deposits one at each of some accounts, again and again, through members in turn.
type load struct {
	r       *ring
	turn    sync.RWMutex // held while a request is under way
	members []*Member

	mu       sync.Mutex
	accepted map[holdfast.Ref]int64
	maybe    map[holdfast.Ref]int64
	took     []time.Duration
	refused  []error
	stop     context.CancelFunc
	workers  sync.WaitGroup
}

const accounts = 200

func (r *ring) load(workers int, members ...*Member) *load {
	r.t.Helper()
	l := &load{r: r, members: members, accepted: map[holdfast.Ref]int64{}, maybe: map[holdfast.Ref]int64{}}
	for i := range accounts {
		eventually(r.t, "the account is open", func() bool { // a member may lose its lease meanwhile
			_, err := members[0].Send(r.t.Context(), account(i), &bankpb.OpenAccount{Owner: "Ada"}, holdfast.WithID("open"))
			return err == nil
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	r.t.Cleanup(func() { // the next test wants the machine for itself
		cancel()
		l.workers.Wait()
	})
	for w := range workers {
		l.workers.Go(func() {
			for n := w; ctx.Err() == nil; n += workers {
				if l.deposit(n) == nil {
					continue
				}
				select { // whom it fails is to come to itself
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

// through has requests go through these members, and returns when all others are answered.
func (l *load) through(members ...*Member) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.members = members
}

func (l *load) deposit(n int) error {
	l.turn.RLock()
	defer l.turn.RUnlock()
	members := l.members
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	ref := account(n % accounts)
	_, err := members[n/accounts%len(members)].Send(ctx, ref, &bankpb.Deposit{Amount: 1}, holdfast.WithID(fmt.Sprint("d-", n)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, time.Since(begun))
	switch {
	case err == nil:
		l.accepted[ref]++
		return nil
	case errors.Is(err, holdfast.ErrUncertain):
		l.maybe[ref]++
	case errors.Is(err, holdfast.ErrUnavailable), errors.Is(err, holdfast.ErrOverloaded):
	default:
		l.r.t.Errorf("%s: %v", ref, err)
	}
	l.refused = append(l.refused, err)
	return err
}

// pause returns when so many more requests have been answered, and gives how long they took.
func (l *load) pause(more int) []time.Duration {
	l.mu.Lock()
	from := len(l.took)
	l.mu.Unlock()
	eventually(l.r.t, "requests are answered", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.took) >= from+more
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	took := slices.Sorted(slices.Values(l.took[from:]))
	return took
}

// end stops the load and compares what is in the accounts with what was answered.
func (l *load) end(through *Member) (failed int) {
	l.stop()
	l.workers.Wait()
	for i := range accounts {
		ref := account(i)
		var v holdfast.View
		eventually(l.r.t, "the account is shown", func() (so bool) {
			var err error
			v, err = through.View(l.r.t.Context(), ref)
			return err == nil
		})
		balance := v.State.(*bankpb.Account).Balance
		if least := l.accepted[ref]; balance < least || balance > least+l.maybe[ref] {
			l.r.t.Errorf("%s: the balance is %d, and %d deposits were accepted and %d perhaps", ref, balance, least, l.maybe[ref])
		}
	}
	return len(l.refused)
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// Members join and leave while all the others work: nobody's request fails.
func TestJoinAndLeaveUnderLoad(t *testing.T) {
	r := startRing(t)
	first := r.member()
	l := r.load(16, first)
	calm := p99(l.pause(5000))
	second := r.member()
	third := r.member()
	eventually(t, "all see three", func() bool { return sees(first, 3) && sees(second, 3) && sees(third, 3) })
	l.through(first, second, third)
	joined := p99(l.pause(5000))
	l.through(second, third)
	if err := first.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := first.Stats().Active; n != 0 {
		t.Errorf("%d are active on a member that has been drained", n)
	}
	r.stop(first)
	left := p99(l.pause(5000))
	if failed := l.end(second); failed > 0 {
		t.Errorf("%d requests failed, the first: %v", failed, l.refused[0])
	}
	t.Logf("p99 alone %v, with a join %v, with a leave %v", calm, joined, left)
}

// freeOne has one of those that are stuck go, which does not wait for the others.
func (r *ring) freeOne(ctx context.Context, to *Member, stuck int) {
	r.t.Helper()
	var moving []holdfast.Ref
	for i := range stuck {
		if to.current.Load().scene.Load().mine(account(i)) {
			moving = append(moving, account(i))
		}
	}
	if len(moving) < 2 {
		r.t.Fatalf("of those that are stuck only %v move", moving)
	}
	r.store.let(moving[0])
	if _, err := to.View(ctx, moving[0]); err != nil {
		r.t.Errorf("%s: %v", moving[0], err)
	}
}

// Some aggregates cannot go, since the log does not answer: the others move without them.
func TestStragglers(t *testing.T) {
	r := startRing(t)
	one := r.member()
	l := r.load(1, one)
	l.pause(1)
	l.stop()
	l.workers.Wait()
	const stuck = 20
	r.store.set(true)
	var waiting sync.WaitGroup
	for i := range stuck {
		waiting.Go(func() {
			if _, err := one.Send(t.Context(), account(i), &bankpb.Deposit{Amount: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all wait for the log", func() bool { return r.store.holds() == stuck })
	two := r.member()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := stuck; i < accounts; i++ {
		if _, err := two.View(ctx, account(i)); err != nil {
			t.Fatalf("%s: %v", account(i), err)
		}
	}
	r.freeOne(ctx, two, stuck)
	r.store.set(false)
	waiting.Wait()
	for i := range stuck {
		if _, err := two.View(ctx, account(i)); err != nil {
			t.Errorf("%s: %v", account(i), err)
		}
	}
	if one.Stats().Active == 0 || two.Stats().Active == 0 {
		t.Error("nothing has moved")
	}
}
