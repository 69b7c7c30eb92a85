package sagas

import (
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// purse is an aggregate type with what a journey deals with.
var purse = holdfast.Define("account",
	holdfast.Decide(func(struct{}, *bankpb.Withdraw) (holdfast.Events, error) { return nil, nil }),
	holdfast.Decide(func(struct{}, *bankpb.Deposit) (holdfast.Events, error) { return nil, nil }),
	holdfast.Evolve(func(s struct{}, _ *bankpb.Deposited) struct{} { return s }),
)

// tasksOf gives what a commit of a journey asks for.
func tasksOf(t *testing.T, events ...holdfast.Event) []Task {
	t.Helper()
	book, err := NewBook([]holdfast.Definition{purse}, journey)
	if err != nil {
		t.Fatal(err)
	}
	ch := &messages.Change{Time: 1}
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		ch.Events = append(ch.Events, recorded)
	}
	tasks, err := book.Tasks(journey, holdfast.Ref{Type: "journey", ID: "j-1"}, &messages.Commit{FirstVersion: 1, Changes: []*messages.Change{ch}})
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

// Each pause has a timer of its own: one that was taken for another would be a wake that the
// saga has had, and nothing would be tried any more. The attempts to make a command void are
// counted anew when it is another command.
func TestTimersOfPauses(t *testing.T) {
	pause := func(again time.Duration) *messages.SagaAnswered {
		return &messages.SagaAnswered{Step: "a", Way: void, Attempt: 1, Code: "uncertain", Again: int64(again)}
	}
	tasks := tasksOf(t, pause(time.Second), pause(time.Minute))
	first, second := tasks[0].(Timer), tasks[1].(Timer)
	if first.Key == second.Key || first.Command(first.At).Delivery.Meta.ID == second.Command(second.At).Delivery.Meta.ID {
		t.Errorf("both are %q", first.Key)
	}
}
