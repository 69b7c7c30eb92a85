package inbox_test

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
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/inbox"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

var errKilled = errors.New("killed")

// killAt executes commands until the runner is killed before a step with one of them.
func (w *world) killAt(step, id string) {
	w.t.Helper()
	w.mortal(step, id)()
}

// mortal executes commands, and gives what waits until the runner is killed.
func (w *world) mortal(step, id string) (await func()) {
	w.t.Helper()
	var runner atomic.Pointer[inbox.Runner]
	killed, known := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := w.run(func(c *inbox.RunnerConfig) {
		*c = c.WithBefore(func(at, of string) error {
			if at != step || of != id {
				return nil
			}
			<-known
			runner.Load().Kill()
			once.Do(func() { close(killed) })
			return errKilled
		})
	})
	runner.Store(r)
	close(known)
	return func() {
		w.t.Helper()
		select {
		case <-killed:
		case <-within(w.t).Done():
			w.t.Fatalf("it does not come to %s %s", step, id)
		}
		r.Stop()
	}
}

// Wherever it is killed, each command has one effect and one outcome, in order.
func TestKilledBetweenSteps(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	for i, step := range inbox.Steps {
		account := fmt.Sprintf("a-%d", i)
		w.left("account."+account+".OpenAccount", account+"-open", open)
		w.left("account."+account+".Deposit", account+"-deposit", deposit)
		w.left("account."+account+".Withdraw", account+"-no", `{"amount":1000}`)
		w.left("account."+account+".OpenAccount", account+"-again", open)
		for _, id := range []string{"open", "deposit", "no"} {
			w.killAt(step, account+"-"+id)
		}
		r := w.run()
		w.empty()
		r.Stop()
		if did := w.clerk.did(account); !slices.Equal(did, []string{account + "-open", account + "-deposit"}) {
			t.Errorf("killed before %s it did %v", step, did)
		}
		for id, status := range map[string]string{"open": "", "deposit": "", "no": "422", "again": "422"} {
			all := w.outcomes(account + "-" + id)
			if len(all) != 1 || all[0].Status != status {
				t.Errorf("killed before %s, the outcomes of %s are %+v", step, id, all)
			}
		}
	}
}

// A refusal that was told is not changed by what happens until the command is removed.
func TestAnOutcomeStands(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	await := w.mortal("remove", "no")
	w.left("account.a.OpenAccount", "o", open)
	w.outcome("o") // what comes now is sent by this run only
	w.left("account.a.Withdraw", "no", `{"amount":7}`)
	await()
	if _, err := w.clerk.Send(t.Context(), holdfast.Ref{Type: "account", ID: "a"}, command(t, "Deposit", deposit), holdfast.WithID("d")); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.empty()
	all := w.outcomes("no")
	if did := w.clerk.did("a"); len(all) != 1 || all[0].Status != "422" || !slices.Equal(did, []string{"o", "d"}) {
		t.Errorf("outcomes are %+v, and it did %v", all, did)
	}
}

// A command that was refused when it was sent again, and of which an earlier attempt arrives
// later, has not both effects: either it is done, or refused for ever.
func TestALateAttempt(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.left("account.a.OpenAccount", "o", open)
	w.left("account.a.Withdraw", "w", `{"amount":7}`)
	ref := holdfast.Ref{Type: "account", ID: "a"}
	var late atomic.Pointer[holdfast.Delivery]
	w.clerk.hook(func(_ context.Context, _ holdfast.Ref, _ holdfast.Command, d holdfast.Delivery) error {
		if d.Meta.ID == "w" && late.CompareAndSwap(nil, &d) {
			return holdfast.Errorf(holdfast.CodeUncertain, "nobody answers")
		}
		return nil
	}, nil)
	for _, step := range []string{"verdict", "void", "tell", "remove", "clear"} {
		w.killAt(step, "w")
	}
	w.run()
	w.empty()
	check(t, "status", w.outcome("w").Status, "422")
	if _, err := w.clerk.Send(t.Context(), ref, command(t, "Deposit", deposit), holdfast.WithID("d")); err != nil {
		t.Fatal(err)
	}
	_, err := w.clerk.Send(t.Context(), ref, command(t, "Withdraw", `{"amount":7}`), func(d *holdfast.Delivery) { *d = *late.Load() })
	if did := w.clerk.did("a"); err == nil || !slices.Equal(did, []string{"o", "d"}) {
		t.Errorf("what came late is answered with %v, and done is %v", err, did)
	}
}

// When the earlier attempt has taken effect between the refusal and its word being kept, the
// outcome is what it did.
func TestAnAttemptThatWasInTime(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.left("account.a.OpenAccount", "o", open)
	w.left("account.a.Withdraw", "w", `{"amount":7}`)
	ref := holdfast.Ref{Type: "account", ID: "a"}
	w.clerk.hook(func(ctx context.Context, to holdfast.Ref, c holdfast.Command, d holdfast.Delivery) error {
		if _, void := c.(*messages.Void); !void {
			return nil
		}
		w.clerk.hook(nil, nil)
		if _, err := w.clerk.Send(ctx, ref, command(t, "Deposit", deposit), holdfast.WithID("d")); err != nil {
			return err
		}
		_, err := w.clerk.Send(ctx, ref, command(t, "Withdraw", `{"amount":7}`), holdfast.WithMeta(d.Meta), holdfast.Once(d.Once))
		return err
	}, nil)
	w.run()
	w.empty()
	o := w.outcome("w")
	if did := w.clerk.did("a"); o.Status != "" || o.Version != 3 || !slices.Equal(did, []string{"o", "d", "w"}) {
		t.Errorf("outcome is %+v, and done is %v", o, did)
	}
}

// When two execute at the same time, since one has not noticed yet that it is replaced, each
// command still has one effect and one outcome, in order.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	want := map[string][]string{}
	for i := range 30 {
		for _, account := range []string{"a", "b", "c"} {
			name, body := "Deposit", deposit
			if i == 0 {
				name, body = "OpenAccount", open
			}
			id := fmt.Sprintf("%s-%d", account, i)
			w.left("account."+account+"."+name, id, body)
			want[account] = append(want[account], id)
		}
	}
	runners := []*inbox.Runner{w.run(), w.run()}
	w.empty()
	for _, r := range runners {
		w.eventually(func() error { // neither is stuck with what the other has done
			if s := r.Status(); s.Waiting > 0 {
				return fmt.Errorf("status is %+v: %w", s, errNotYet)
			}
			return nil
		})
		r.Stop()
	}
	for account, ids := range want {
		if did := w.clerk.did(account); !slices.Equal(did, ids) {
			t.Errorf("%s did %v", account, did)
		}
		for _, id := range ids {
			check(t, "outcomes of "+id, len(w.outcomes(id)), 1)
		}
	}
}

// Nodes take over from one another, whether the one before gave up its seat or not.
func TestTakeover(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	node := func(name string) *inbox.Runner {
		seats, err := follow.Open(within(t), follow.Config{
			Context: "bank", Conn: w.connect(natsd.Node), Node: name, Lease: time.Second, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return w.run(func(c *inbox.RunnerConfig) { c.Seats = seats })
	}
	nodes := []*inbox.Runner{node("n1"), node("n2"), node("n3")}
	holder := func() (r *inbox.Runner) {
		w.eventually(func() error {
			var held int
			for _, n := range nodes {
				if n.Status().Holds {
					r, held = n, held+1
				}
			}
			if held != 1 {
				return fmt.Errorf("%d nodes hold the seat: %w", held, errNotYet)
			}
			return nil
		})
		return r
	}
	w.left("account.a.OpenAccount", "o", open)
	want := []string{"o"}
	for i := range 2 {
		for j := range 50 {
			id := fmt.Sprintf("d-%d-%d", i, j)
			w.left("account.a.Deposit", id, deposit)
			want = append(want, id)
		}
		h := holder()
		h.Stop()
		nodes = slices.DeleteFunc(nodes, func(n *inbox.Runner) bool { return n == h })
	}
	w.empty()
	if did := w.clerk.did("a"); !slices.Equal(did, want) {
		t.Errorf("done is %s", strings.Join(did, " "))
	}
	for _, id := range want {
		check(t, "outcomes of "+id, len(w.outcomes(id)), 1)
	}
}

// What was acknowledged, what is parked and what was told is there after a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newClerk()
	w := setupIn(t, dir, k)
	door := w.serve()
	k.hook(failing("bad", errBug), nil)
	r := w.run()
	w.left("account.a.OpenAccount", "o", open)
	w.left("account.b.OpenAccount", "bad", open)
	w.outcome("o")
	w.parked(1)
	r.Stop()
	w.left("account.a.Deposit", "d", deposit)
	if err := door.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	w.server.Stop()

	w = setupIn(t, dir, k)
	check(t, "outcome before", w.outcome("o").Version, 1)
	p := w.parked(1)[0]
	check(t, "attempts", p.Attempts, 5)
	w.run()
	check(t, "outcome after", w.outcome("d").Version, 2)
	w.eventually(func() error { // it is tried once when a runner begins
		if again := w.parked(1)[0]; again.Attempts != 6 || !again.Since.Equal(p.Since) {
			return fmt.Errorf("parked is %+v: %w", again, errNotYet)
		}
		return nil
	})
}
