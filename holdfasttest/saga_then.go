package holdfasttest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// A Sent is a command that a saga sends. [To] makes one.
type Sent struct {
	to      string
	command holdfast.Command
}

// To is a command for an aggregate, as type/id.
func To(ref string, c holdfast.Command) Sent { return Sent{ref, c} }

func (s Sent) String() string { return s.to + " " + describe(s.command) }

func (s Sent) same(o Sent) bool { return s.to == o.to && proto.Equal(s.command, o.command) }

// A consequence is what came of what has happened.
type consequence struct {
	what      string // has happened
	events    holdfast.Events
	sent      []Sent
	timers    []setting
	rejection *holdfast.Rejection
	others    []string // sagas that were told of it
	judged    bool
}

// A setting is a timer that was set at a time.
type setting struct {
	sagas.Timer
	at time.Time
}

// own are the events that a saga of reactions has recorded of its own.
func (c *consequence) own() (own holdfast.Events) {
	for _, e := range c.events {
		if !runtimes(string(proto.MessageName(e))) {
			own = append(own, e)
		}
	}
	return own
}

// String says what came of it, in words.
func (c *consequence) String() string {
	var lines []string
	for _, e := range c.own() {
		lines = append(lines, "it records "+describe(e))
	}
	for _, sent := range c.sent {
		lines = append(lines, "it sends "+sent.String())
	}
	switch {
	case len(lines) > 0:
		return strings.Join(lines, below)
	case len(c.events) > 0:
		return "it takes note of that"
	}
	return "nothing"
}

func (s *SagaScenario) fatalf(format string, args ...any) {
	s.t.Helper()
	s.last.judged = true
	s.t.Fatalf("%s, %s"+format, append([]any{s.ref, s.last.what}, args...)...)
}

// judge begins a Then.
func (s *SagaScenario) judge() *consequence {
	s.t.Helper()
	if s.last == nil {
		s.t.Fatalf("%s: nothing has happened yet: a Then is for what a When has come to", s.ref)
	}
	s.last.judged = true
	return s.last
}

func (s *SagaScenario) differs(want, got string) {
	s.t.Helper()
	if r := s.last.rejection; r != nil {
		got = fmt.Sprintf("rejected %q: %s", r.Reason, r.Message)
	}
	text := fmt.Sprintf(":\n  want  %s\n  got   %s\n  it %s", want, got, s.standing())
	if len(s.last.others) > 0 {
		text += "\n  told of it is " + strings.Join(s.last.others, ", ")
	}
	s.fatalf("%s", text)
}

// standing says where the saga stands.
func (s *SagaScenario) standing() string {
	st := s.shown()
	lines := []string{"is " + cmp.Or(st.Status, "not begun")}
	if st.Reason != "" {
		lines[0] += ", because: " + st.Reason
	}
	for _, e := range s.open {
		lines = append(lines, fmt.Sprintf("     on its way is %s: %s", e.step, To(e.To.String(), e.Command.Command)))
	}
	return strings.Join(lines, "\n")
}

// column writes things one a line.
func column[T fmt.Stringer](things []T) string {
	if len(things) == 0 {
		return "nothing"
	}
	lines := make([]string, len(things))
	for i, t := range things {
		lines[i] = t.String()
	}
	return strings.Join(lines, below)
}

// ThenSends expects that just these commands were sent, in this order.
func (s SagaScenario) ThenSends(want ...Sent) SagaScenario {
	s.t.Helper()
	c := s.judge()
	if c.rejection != nil || !slices.EqualFunc(want, c.sent, Sent.same) {
		s.differs(column(want), column(c.sent))
	}
	return s
}

// ThenNothing expects that nothing came of it: nothing was recorded, nor refused.
func (s SagaScenario) ThenNothing() SagaScenario {
	s.t.Helper()
	if c := s.judge(); c.rejection != nil || len(c.events) > 0 {
		s.differs("nothing", c.String())
	}
	return s
}

// ThenRejected expects that the command was refused, with this reason.
func (s SagaScenario) ThenRejected(reason string) SagaScenario {
	s.t.Helper()
	if c := s.judge(); c.rejection == nil || c.rejection.Reason != reason {
		s.differs(fmt.Sprintf("rejected %q", reason), c.String())
	}
	return s
}

// ThenRecords expects that a saga of reactions recorded just these events of its own.
func (s SagaScenario) ThenRecords(want ...holdfast.Event) SagaScenario {
	s.t.Helper()
	c := s.judge()
	if own := c.own(); c.rejection != nil || !sameEvents(want, own) {
		s.differs(list(want), list(own))
	}
	return s
}

// ThenWakesAfter expects that a timer was set, to ring after d: a deadline, an alarm, or the
// pause before another attempt, of which d is the length without what [sagas.Backoff] takes
// off it.
func (s SagaScenario) ThenWakesAfter(d time.Duration) SagaScenario {
	s.t.Helper()
	c := s.judge()
	text := "no timer"
	for i, t := range c.timers {
		in := t.At.Sub(t.at)
		if in == d || c.pause(t.At) && in <= d && in >= d-d/4 {
			return s
		}
		if i > 0 {
			text += fmt.Sprintf(", %v", in)
		} else {
			text = fmt.Sprintf("a timer, after %v", in)
		}
	}
	s.differs(fmt.Sprintf("a timer, after %v", d), text)
	return s
}

// pause reports whether that is when another attempt is made.
func (c *consequence) pause(at time.Time) bool {
	return slices.ContainsFunc(c.events, func(e holdfast.Event) bool {
		a, ok := e.(*messages.SagaAnswered)
		return ok && a.Again == at.UnixNano()
	})
}

// ThenGoesOn expects that it was not refused, and that the saga neither is over nor needs
// help, and looks no closer.
func (s SagaScenario) ThenGoesOn() SagaScenario {
	s.t.Helper()
	c := s.judge()
	if status := sagas.Status(s.shown().Status); c.rejection != nil || status == "" || status == sagas.Stuck || status.Final() {
		s.differs("a saga that goes on", c.String())
	}
	return s
}

// ThenStatus expects where the saga stands now.
func (s SagaScenario) ThenStatus(want sagas.Status) SagaScenario {
	s.t.Helper()
	s.judge()
	if got := s.shown().Status; got != string(want) {
		s.differs(cmp.Or(string(want), "not begun"), cmp.Or(got, "not begun"))
	}
	return s
}

// ThenReason expects why the saga stands where it does, for a person: why it is stuck, or was
// undone.
func (s SagaScenario) ThenReason(want string) SagaScenario {
	s.t.Helper()
	s.judge()
	if got := s.shown().Reason; got != want {
		s.differs(cmp.Or(want, "no reason"), cmp.Or(got, "no reason"))
	}
	return s
}

// ThenState expects the state as an operator sees it, in all that want says.
func (s SagaScenario) ThenState(want *messages.SagaState) SagaScenario {
	s.t.Helper()
	s.judge()
	said, got := saidIn(want).byPath(), fieldsOf(s.shown()).byPath()
	var wants, gets []string
	for _, path := range slices.Sorted(maps.Keys(said)) {
		if got[path] != said[path] {
			wants = append(wants, path+": "+said[path])
			gets = append(gets, path+": "+cmp.Or(got[path], "nothing"))
		}
	}
	if len(wants) > 0 {
		s.differs(strings.Join(wants, below), strings.Join(gets, below))
	}
	return s
}
