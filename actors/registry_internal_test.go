package actors

import (
	"context"
	"testing"

	"github.com/holdfast-run/holdfast"
)

// A lastMoment has ended by the time that it is waited for, and with that the last
// aggregate goes.
type lastMoment struct {
	context.Context
	registry *registry
	last     *aggregate
}

func (c lastMoment) Done() <-chan struct{} {
	c.registry.remove(c.last)
	return c.Context.Done()
}

// When the last aggregate goes in the moment in which the time is up, all is well.
func TestWaitEmptyInTheLastMoment(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	for range 100 { // of two things that are ready, either may be seen
		var r registry
		r.init()
		ref := holdfast.Ref{Type: "account", ID: "a"}
		a, err := r.add(ref, func() (*aggregate, error) { return &aggregate{engine: &Engine{ref: ref}}, nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := r.waitEmpty(lastMoment{ended, &r, a}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.add(ref, func() (*aggregate, error) { return a, nil }); err != nil {
			t.Fatal(err)
		}
		if err := r.waitEmpty(ended); err == nil {
			t.Fatal("it does not say that the time is up while an aggregate is active")
		}
	}
}
