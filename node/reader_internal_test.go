package node

import (
	"context"
	"errors"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/memory"
)

// What a node that is cut off reads is not shown, be it something or nothing.
func TestLinkedReader(t *testing.T) {
	store := memory.New("demo")
	there, missing := holdfast.Ref{Type: "account", ID: "a-1"}, holdfast.Ref{Type: "account", ID: "a-2"}
	appended := make(chan error, 1)
	sub, err := persistence.LogSubject("demo", there, 1)
	if err != nil {
		t.Fatal(err)
	}
	change := &messages.Change{Command: "Open", CommandId: "c-1", Events: []*messages.Event{{Type: "bank.v1.AccountOpened"}}}
	store.Append(there, persistence.HeadAt(sub), []*messages.Change{change}, func(_ persistence.Head, err error) { appended <- err })
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	for _, cutOff := range []error{nil, holdfast.ErrUnavailable} {
		r := linkedReader{store, func() error { return cutOff }}
		for ref, want := range map[holdfast.Ref]int{there: 1, missing: 0} {
			commits := 0
			var failed error
			for _, err := range r.Backwards(context.Background(), ref, 0) {
				if failed = err; err == nil {
					commits++
				}
			}
			if cutOff != nil {
				want = 0
			}
			if commits != want || !errors.Is(failed, cutOff) {
				t.Errorf("%s while cut off for %v: %d commits and %v", ref, cutOff, commits, failed)
			}
		}
	}
}
