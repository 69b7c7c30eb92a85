package holdfasttest

import (
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
)

// TB is what the kit needs of a *testing.T. Fatalf must not return.
//
// With a *testing.T the kit also finds what reads the clock: it repeats decisions and
// evolutions while the clock stands in another year.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// A Scenario is an aggregate with a history, and who sends the next command and when.
// It is a value: several stories can start from one.
type Scenario struct {
	t TB
	history
	at       time.Time
	user     string
	commands int
}

// Given starts a scenario with the events that have happened, retired ones too. The
// next command comes at noon on 1 June 2020, UTC, from nobody in particular.
func Given(t TB, def holdfast.Definition, events ...holdfast.Event) Scenario {
	t.Helper()
	s := Scenario{
		t:       t,
		history: history{def: def, state: def.Zero()},
		at:      begin,
	}
	if err := s.checkSnapshot(); err != nil {
		t.Fatalf("%s, when nothing has happened: %v", def.Name(), err)
	}
	for i, e := range events {
		var err error
		if s.history, err = s.follow(e); err != nil {
			t.Fatalf("%s, event %d of what was given: %v", def.Name(), i+1, err)
		}
	}
	if _, err := s.checkAnew(t); err != nil {
		t.Fatalf("%s, %s: %v", def.Name(), s.when(), err)
	}
	return s
}

// when says how far the history goes.
func (h history) when() string {
	switch len(h.recorded) {
	case 0:
		return "when nothing has happened"
	case 1:
		return "after 1 event"
	default:
		return fmt.Sprintf("after %d events", len(h.recorded))
	}
}

// At says when the next commands come: the At of their meta.
func (s Scenario) At(at time.Time) Scenario {
	s.at = at
	return s
}

// As says who sends the next commands: the User of their meta.
func (s Scenario) As(user string) Scenario {
	s.user = user
	return s
}

// When has the aggregate decide on c, whose id in the meta is command-1, command-2 and
// so on. The test fails unless the outcome is looked at with a Then.
func (s Scenario) When(c holdfast.Command) *Outcome {
	s.t.Helper()
	s.commands++
	id := fmt.Sprintf("command-%d", s.commands)
	t, err := newTrial(s.history, c, holdfast.Meta{ID: id, CorrelationID: id, User: s.user, At: s.at})
	if err != nil {
		s.t.Fatalf("%s: %v", s.def.Name(), err)
	}
	o := &Outcome{before: s, after: s, command: describe(c)}
	if o.verdict, err = t.decide(s.t); err != nil {
		o.fatalf(": %v", err)
	}
	for _, e := range o.verdict.events {
		if o.after.history, err = o.after.follow(e); err != nil {
			o.fatalf(": it decides %s, and: %v", describe(e), err)
		}
	}
	if _, err := o.after.checkAnew(s.t); err != nil {
		o.fatalf(": %v", err)
	}
	_, file, line, _ := runtime.Caller(1)
	s.t.Cleanup(func() {
		if !o.judged {
			s.t.Errorf("%s:%d: When(%s) has no Then: nothing was expected of it", filepath.Base(file), line, o.command)
		}
	})
	return o
}

// ThenState expects the state, in the form of its snapshot message.
func (s Scenario) ThenState(want proto.Message) Scenario {
	s.t.Helper()
	if d := s.stateDiffers(want); d != "" {
		s.t.Fatalf("%s, %s: %s", s.def.Name(), s.when(), d)
	}
	return s
}

func (h history) stateDiffers(want proto.Message) string {
	got := h.def.Save(h.state)
	switch {
	case got == nil:
		return "the type has no Snapshot, so there is no state to look at"
	case want == nil || proto.MessageName(want) != proto.MessageName(got):
		return fmt.Sprintf("the state is a %s, not a %s", proto.MessageName(got), proto.MessageName(want))
	case proto.Equal(want, got):
		return ""
	}
	return "the state is not the expected one:" + fieldsOf(want).differences("%s: want %s, got %s", fieldsOf(got))
}
