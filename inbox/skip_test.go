package inbox_test

import (
	"errors"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/inbox"
)

// doomed has a command parked whose next attempt is refused, and may have been sent before.
func (w *world) doomed() {
	w.t.Helper()
	w.serve()
	w.left("account.ada.OpenAccount", "o", open)
	w.left("account.ada.Withdraw", "w", `{"amount":7}`)
	w.clerk.hook(failing("w", errBug), nil)
	r := w.run()
	w.parked(1)
	r.Stop()
	w.clerk.hook(nil, nil)
}

// A command that an operator skips before its refusal is kept is skipped, wherever the runner
// is killed afterwards.
func TestSkipBeforeTheRefusal(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.doomed()
	r := w.run(func(c *inbox.RunnerConfig) {
		*c = c.WithBefore(func(step, id string) error {
			switch {
			case step == "verdict":
				return w.inbox.Skip(within(t), ada, "w", "otto", "a mistake")
			case step == "tell" && id == "w":
				return errKilled
			}
			return nil
		})
	})
	w.eventually(func() error {
		if p := w.parked(1)[0]; p.Wish == nil {
			return errNotYet
		}
		return nil
	})
	r.Stop()
	w.killAt("tell", "w")
	w.killAt("remove", "w")
	w.run()
	w.empty()
	check(t, "status", w.outcome("w").Status, "410")
	check(t, "outcomes", len(w.outcomes("w")), 1)
}

// A command that is void because it was refused is parked no more: its refusal is the outcome,
// though the runner is killed before it is told, and nobody can skip it.
func TestSkipAfterTheVoid(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.doomed()
	w.killAt("tell", "w")
	if err := w.inbox.Skip(within(t), ada, "w", "otto", "a mistake"); !errors.Is(err, holdfast.ErrUnknown) {
		t.Errorf("skipping what is void is answered with %v", err)
	}
	w.run()
	w.empty()
	check(t, "status", w.outcome("w").Status, "422")
	check(t, "outcomes", len(w.outcomes("w")), 1)
}
