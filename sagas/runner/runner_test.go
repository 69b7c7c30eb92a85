package runner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/runner"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// tally is the data of a saga that hears of every deposit, one for each account.
type tally struct{}

var tallies = sagas.Define("tally",
	sagas.On("account", func(_ *bankpb.Deposited, from sagas.Source) string { return from.Ref.ID }, func(tally, *bankpb.Deposited, sagas.Source) sagas.Then { return sagas.Then{} }),
)

// A world is a log in memory, and what the runner does to everything else.
type world struct {
	t     *testing.T
	saga  *sagas.Saga
	store *memory.Store
	heads map[holdfast.Ref]persistence.Head

	first func(context.Context) (uint64, error)

	mu    sync.Mutex
	calls []string
	done  uint64
	// answer says what becomes of a command.
	answer func(to holdfast.Ref, c holdfast.Command) error
}

func (w *world) log(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

func (w *world) noted() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// took gives what was done, and forgets it.
func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *world) Ensure(ctx context.Context, _ string, first func(context.Context) (uint64, error)) error {
	_, err := first(ctx)
	return err
}

func (w *world) Hold(ctx context.Context, seat string, first func(context.Context) (uint64, error), work follow.Work) {
	if seat != "saga."+w.saga.Name()+".0" {
		w.t.Errorf("the seat is called %s", seat)
	}
	w.first = first
	_ = work(ctx, w.done, func(done uint64) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = done
	})
}

func (w *world) Send(ctx context.Context, to holdfast.Ref, c holdfast.Command, opts ...holdfast.SendOption) (holdfast.Receipt, error) {
	err := w.answer(to, c)
	w.log("%s %s %s: %v", proto.MessageName(c).Name(), to, holdfast.NewDelivery(opts...).Meta.ID, err)
	return holdfast.Receipt{}, err
}

func (w *world) Set(_ context.Context, t timers.Timer) error {
	w.log("set %s", t.For)
	return nil
}

func (w *world) Cancel(_ context.Context, of holdfast.Ref, _ string) error {
	w.log("cancel %s", of)
	return nil
}

func (w *world) Run(ctx context.Context, _ timers.Handle) error {
	<-ctx.Done()
	return nil
}

func (w *world) Add(_ context.Context, saga holdfast.Ref, _ time.Time) error {
	w.log("list %s", saga)
	return nil
}

func (w *world) Remove(_ context.Context, saga holdfast.Ref) error {
	w.log("do not list %s", saga)
	return nil
}

// append records events of an aggregate.
func (w *world) append(ref holdfast.Ref, events ...holdfast.Event) {
	w.t.Helper()
	c := &messages.Change{CommandId: "c", Time: time.Now().UnixNano()}
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Events = append(c.Events, recorded)
	}
	w.store.Append(ref, w.heads[ref], []*messages.Change{c}, func(h persistence.Head, err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.heads[ref] = h
	})
}

// run runs the sagas in a world where time passes only when nothing else happens.
func run(t *testing.T, saga *sagas.Saga, inFlight int, story func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, saga: saga, store: memory.New("test"), heads: map[holdfast.Ref]persistence.Head{},
			answer: func(holdfast.Ref, holdfast.Command) error { return nil },
		}
		book, err := sagas.NewBook([]holdfast.Definition{bank.Account}, saga)
		if err != nil {
			t.Fatal(err)
		}
		r, err := runner.Start(t.Context(), runner.Config{
			Book: book, Sagas: []*sagas.Saga{saga}, Log: w.store, Sender: w, Timers: w, List: w, Seats: w, Logger: slog.New(slog.DiscardHandler), InFlight: inFlight,
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		story(w)
		r.Stop()
		r.Stop()
	})
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A saga type that has never been run begins at the end of the log, and one that has at its
// first saga, if it is not known how far it had come.
func TestWhereToBegin(t *testing.T) {
	run(t, tallies, 0, func(w *world) {
		want := func(seq uint64) {
			t.Helper()
			if got, err := w.first(t.Context()); err != nil || got != seq {
				t.Errorf("it begins after %d, %v; want %d", got, err, seq)
			}
		}
		want(0)
		w.append(account("a"), &bankpb.Deposited{Amount: 1})
		w.append(account("a"), &bankpb.Deposited{Amount: 1})
		want(2)
		w.append(holdfast.Ref{Type: "tally", ID: "a"}, &messages.SagaBegun{})
		w.append(account("a"), &bankpb.Deposited{Amount: 1})
		want(2)
		w.append(holdfast.Ref{Type: "tally", ID: "b"}, &messages.SagaBegun{})
		want(2)
	})
}

func account(id string) holdfast.Ref { return holdfast.Ref{Type: "account", ID: id} }

var unavailable = holdfast.Errorf(holdfast.CodeUnavailable, "not now")

// A saga is told of events one after the other, whatever becomes of the first attempts, and
// others do not wait for it.
func TestEventsAreToldInOrder(t *testing.T) {
	run(t, tallies, 0, func(w *world) {
		refusals := 3
		w.answer = func(to holdfast.Ref, _ holdfast.Command) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if to.ID == "a" && refusals > 0 {
				refusals--
				return unavailable
			}
			return nil
		}
		for range 3 {
			w.append(account("a"), &bankpb.Deposited{Amount: 1})
			w.append(account("b"), &bankpb.Deposited{Amount: 1})
		}
		pass(10 * time.Second)
		told := map[string][]string{}
		for _, c := range w.took() {
			if id := strings.TrimSuffix(strings.Fields(c)[2], ":"); strings.HasPrefix(c, "SagaHear") && strings.HasSuffix(c, "<nil>") {
				told[id[:len(id)-2]] = append(told[id[:len(id)-2]], id[len(id)-1:])
			}
		}
		for _, id := range []string{"account/a", "account/b"} {
			if !slices.Equal(told[id], []string{"1", "2", "3"}) {
				t.Errorf("of %s it is told %v", id, told[id])
			}
		}
		if w.noted() != 6 {
			t.Errorf("%d of 6 are done", w.noted())
		}
	})
}

// What is never taken keeps nothing else from being done, and is not noted as done.
func TestWhatFailsForLongMakesRoom(t *testing.T) {
	run(t, tallies, 4, func(w *world) {
		var mended atomic.Bool
		w.answer = func(to holdfast.Ref, _ holdfast.Command) error {
			if !mended.Load() && strings.HasPrefix(to.ID, "bad") {
				return holdfast.Errorf(holdfast.CodeInternal, "a bug")
			}
			return nil
		}
		w.append(account("good-0"), &bankpb.Deposited{Amount: 1})
		for i := range 20 {
			w.append(account(fmt.Sprintf("bad-%d", i)), &bankpb.Deposited{Amount: 1})
		}
		w.append(account("good-1"), &bankpb.Deposited{Amount: 1})
		pass(2 * time.Minute)
		if !slices.ContainsFunc(w.took(), func(c string) bool { return strings.HasPrefix(c, "SagaHear tally/good-1") }) {
			t.Error("the last one is not told")
		}
		if w.noted() != 1 {
			t.Errorf("%d are noted as done", w.noted())
		}
		mended.Store(true)
		pass(time.Minute)
		if w.noted() != 22 {
			t.Errorf("%d of 22 are done in the end", w.noted())
		}
	})
}

// A refusal is an answer.
func TestARefusedEventIsDone(t *testing.T) {
	run(t, tallies, 0, func(w *world) {
		w.answer = func(holdfast.Ref, holdfast.Command) error { return holdfast.Reject("over", "it is over") }
		w.append(account("a"), &bankpb.Deposited{Amount: 1})
		pass(time.Second)
		if calls := w.took(); len(calls) != 1 || w.noted() != 1 {
			t.Errorf("%d are done: %v", w.noted(), calls)
		}
	})
}

func pay(deadline time.Duration) *messages.SagaIntended {
	e := &messages.SagaIntended{Step: "withdraw", Way: messages.SagaWay_SAGA_WAY_DO, Attempt: 1, To: "account/a"}
	if deadline > 0 {
		e.Deadline = time.Now().Add(deadline).UnixNano()
	}
	e.Command, _ = anypb.New(&bankpb.Withdraw{Amount: 1})
	return e
}

// What became of a command is asked once, and told until it is taken.
func TestOutcomesAreTold(t *testing.T) {
	run(t, bank.Transfer, 0, func(w *world) {
		refusals := 2
		w.answer = func(to holdfast.Ref, c holdfast.Command) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if r, ok := c.(*messages.SagaReport); ok && refusals > 0 {
				if refusals--; r.Answer.Reason != "no" {
					return errors.New("another outcome is told")
				}
				return unavailable
			}
			if to.Type == "account" {
				return holdfast.Reject("no", "not today")
			}
			return nil
		}
		w.append(holdfast.Ref{Type: "transfer", ID: "t"}, pay(0))
		pass(5 * time.Second)
		want := []string{
			"Withdraw account/a transfer/t:withdraw: no: not today",
			"SagaReport transfer/t transfer/t@1!report: unavailable: not now",
			"SagaReport transfer/t transfer/t@1!report: unavailable: not now",
			"SagaReport transfer/t transfer/t@1!report: <nil>",
		}
		if calls := w.took(); !slices.Equal(calls, want) {
			t.Errorf("done is %q", calls)
		}
		if w.noted() != 1 {
			t.Error("it is not noted as done")
		}
	})
}

// What is needless within a second is not done at all, and what is not, is done then.
func TestWhatIsHeld(t *testing.T) {
	ended := &messages.SagaStepEnded{Step: "withdraw", Way: messages.SagaWay_SAGA_WAY_DO}
	ref := holdfast.Ref{Type: "transfer", ID: "t"}
	only := func(calls []string) []string {
		return slices.DeleteFunc(calls, func(c string) bool { return strings.HasPrefix(c, "Withdraw") || strings.HasPrefix(c, "SagaReport") })
	}
	run(t, bank.Transfer, 0, func(w *world) {
		w.append(ref, &messages.SagaBegun{}, pay(time.Minute))
		pass(500 * time.Millisecond)
		if w.noted() != 0 {
			t.Errorf("%d are noted as done while something is held", w.noted())
		}
		w.append(ref, ended, &messages.SagaEnded{})
		pass(10 * time.Second)
		if calls := only(w.took()); len(calls) > 0 || w.noted() != 2 {
			t.Errorf("%d are done, with %q", w.noted(), calls)
		}
	})
	run(t, bank.Transfer, 0, func(w *world) {
		w.append(ref, &messages.SagaBegun{}, pay(time.Minute))
		pass(2 * time.Second)
		calls := only(w.took())
		if slices.Sort(calls); !slices.Equal(calls, []string{"list transfer/t", "set transfer/t"}) || w.noted() != 1 {
			t.Errorf("%d are done, with %q", w.noted(), calls)
		}
		w.append(ref, ended, &messages.SagaEnded{})
		pass(time.Second)
		calls = only(w.took())
		if slices.Sort(calls); !slices.Equal(calls, []string{"cancel transfer/t", "do not list transfer/t"}) || w.noted() != 2 {
			t.Errorf("%d are done, with %q", w.noted(), calls)
		}
	})
	run(t, bank.Transfer, 0, func(w *world) { // what is due soon is set at once
		w.append(ref, pay(time.Second))
		synctest.Wait()
		if calls := only(w.took()); !slices.Equal(calls, []string{"set transfer/t"}) {
			t.Errorf("done is %q", calls)
		}
	})
}
