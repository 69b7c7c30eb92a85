package holdfasttest

import (
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
)

// An Outcome is what became of a command. Each Then leads on to the scenario in which
// it has been decided, where the story may go on.
type Outcome struct {
	before, after Scenario
	command       string
	verdict       verdict
	judged        bool
}

func (o *Outcome) fatalf(format string, args ...any) {
	o.before.t.Helper()
	o.before.t.Fatalf("%s, %s: %s"+format, append([]any{o.before.def.Name(), o.before.when(), o.command}, args...)...)
}

// Then expects the decision on just these events, in this order.
func (o *Outcome) Then(events ...holdfast.Event) Scenario {
	o.before.t.Helper()
	o.judged = true
	if o.verdict.rejection != nil || !sameEvents(events, o.verdict.events) {
		o.fatalf(":\n  want  %s\n  got   %s", list(events), o.verdict)
	}
	return o.after
}

// ThenNothing expects that nothing needed to happen: neither events nor a rejection.
func (o *Outcome) ThenNothing() Scenario {
	o.before.t.Helper()
	return o.Then()
}

// ThenRejected expects the domain's no, with this reason.
func (o *Outcome) ThenRejected(reason string) Scenario {
	o.before.t.Helper()
	o.judged = true
	if o.verdict.rejection == nil || o.verdict.rejection.Reason != reason {
		o.fatalf(":\n  want  rejected %q\n  got   %s", reason, o.verdict)
	}
	return o.after
}

// ThenState expects that the command was not rejected, and this state after it, in the
// form of its snapshot message.
func (o *Outcome) ThenState(want proto.Message) Scenario {
	o.before.t.Helper()
	o.judged = true
	if o.verdict.rejection != nil {
		o.fatalf(":\n  want  a state\n  got   %s", o.verdict)
	}
	if d := o.after.stateDiffers(want); d != "" {
		o.fatalf(": %s", d)
	}
	return o.after
}
