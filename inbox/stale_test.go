package inbox_test

import (
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/inbox"
)

// One that was frozen before it removed what was kept of a command that is done leaves alone what its
// successor has kept of the next one.
func TestTheReplacedClearsNoOther(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve()
	w.clerk.hook(failing("first", errBug), nil)
	frozen, thaw, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.run(func(c *inbox.RunnerConfig) {
		*c = c.WithBefore(func(step, id string) error {
			switch {
			case id == "second":
				once.Do(func() { close(gone) })
				return errKilled
			case step == "clear":
				close(frozen)
				<-thaw
			}
			return nil
		})
	})
	release := sync.OnceFunc(func() { close(thaw) })
	t.Cleanup(release)
	w.left("account.ada.OpenAccount", "first", open)
	w.left("account.ada.Deposit", "second", deposit)
	w.parked(1)
	w.clerk.hook(failing("second", errBug), nil)
	if err := w.inbox.Retry(within(t), ada, "first", "otto"); err != nil {
		t.Fatal(err)
	}
	await := func(c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-within(t).Done():
			t.Fatal("nothing happens")
		}
	}
	await(frozen)
	w.run()
	w.eventually(func() error {
		if all := w.parked(1); all[0].CommandID != "second" {
			return errNotYet
		}
		return nil
	})
	release()
	await(gone)
	check(t, "parked", w.parked(1)[0].CommandID, "second")
	if err := w.inbox.Skip(within(t), ada, "second", "otto", "a test"); err != nil {
		t.Errorf("it cannot be skipped any more: %v", err)
	}
	check(t, "outcome", w.outcome("second").Status, "410")
}
