package holdfasttest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas"
)

// When sends the saga a command: the one that begins it, another of a client, or an
// operator's, such as messages.SagaResume.
func (s SagaScenario) When(c holdfast.Command) SagaScenario {
	s.t.Helper()
	s.happens("When(%s)", describe(c))
	s.commands++
	id := fmt.Sprintf("command-%d", s.commands)
	s.take(c, holdfast.Meta{ID: id, CorrelationID: id, User: s.user})
	return s
}

// WhenHears has events happen to an aggregate, as type/id. Nothing comes of those that
// concern another saga, or none.
func (s SagaScenario) WhenHears(ref string, events ...holdfast.Event) SagaScenario {
	s.t.Helper()
	s.happens("WhenHears(%s, %s)", ref, strings.Join(described(events), ", "))
	from, err := holdfast.ParseRef(ref)
	if err != nil {
		s.fatalf(": %v", err)
	}
	recorded := make([]*messages.Event, len(events))
	for i, e := range events {
		if err := s.happensTo(from.Type, e); err != nil {
			s.fatalf(": %v", err)
		}
		if recorded[i], err = persistence.EncodeEvent(e); err != nil {
			s.fatalf(": %v", err)
		}
	}
	before := s.version(from, len(events))
	id := fmt.Sprintf("%s@%d", ref, before+1)
	for _, task := range s.tasks(from, before, "", holdfast.Meta{ID: id, CorrelationID: id, User: s.user, At: s.now}, recorded) {
		c, _ := task.(sagas.Command)
		hear, ok := c.Command.(*messages.SagaHear)
		switch {
		case !ok:
			s.fatalf(": of itself a saga is not told: want an aggregate")
		case hear.Unrouted != "":
			s.fatalf(": %s", hear.Unrouted)
		case c.To == s.ref:
			s.take(c.Command, c.At(s.now).Meta)
		default:
			s.last.others = append(s.last.others, c.To.String())
		}
	}
	return s
}

// happensTo checks that an event can happen to an aggregate type.
func (s SagaScenario) happensTo(typ string, e holdfast.Event) error {
	i := slices.IndexFunc(s.book.Types(), func(def holdfast.Definition) bool { return def.Name() == typ })
	switch {
	case e == nil || !e.ProtoReflect().IsValid():
		return fmt.Errorf("an event is nil")
	case i < 0:
		return fmt.Errorf("there is no aggregate type %q among those that GivenSaga was given", typ)
	}
	if _, ok := s.book.Types()[i].NewEvent(string(proto.MessageName(e))); !ok {
		return fmt.Errorf("the type %q has no event %s", typ, proto.MessageName(e))
	}
	return nil
}

// WhenAccepted has the aggregate take what the saga has sent last under a name: that of a
// step, done, undone or made void, or that of a [sagas.Send].
func (s SagaScenario) WhenAccepted(name string) SagaScenario {
	s.t.Helper()
	s.happens("WhenAccepted(%q)", name)
	e := s.sent(name)
	var r holdfast.Receipt
	if e.way != messages.SagaWay_SAGA_WAY_VOID {
		r.Version = 1
	}
	s.report(e, r, nil)
	return s
}

// WhenRejected has the aggregate say no to what the saga has sent last under a name, as
// [holdfast.Reject] does.
func (s SagaScenario) WhenRejected(name, reason, message string) SagaScenario {
	s.t.Helper()
	s.happens("WhenRejected(%q, %q)", name, reason)
	s.report(s.sent(name), holdfast.Receipt{}, &holdfast.Rejection{Reason: reason, Message: message})
	return s
}

// WhenFails has an attempt fail to send what the saga has sent last under a name.
func (s SagaScenario) WhenFails(name string, code holdfast.Code) SagaScenario {
	s.t.Helper()
	s.happens("WhenFails(%q, %q)", name, code)
	s.report(s.sent(name), holdfast.Receipt{}, failure(code))
	return s
}

// WhenKeepsFailing is [SagaScenario.WhenFails] for every attempt, as long as any is made. Time
// passes meanwhile, and a Then sees what comes of the last one.
func (s SagaScenario) WhenKeepsFailing(name string, code holdfast.Code) SagaScenario {
	s.t.Helper()
	s.happens("WhenKeepsFailing(%q, %q)", name, code)
	s.persist(name, failure(code))
	return s
}

// WhenKeepsRejecting is [SagaScenario.WhenRejected] for every attempt, as long as any is made:
// of what is tried again though the aggregate said no. Time passes meanwhile, and a Then sees
// what comes of the last one.
func (s SagaScenario) WhenKeepsRejecting(name, reason, message string) SagaScenario {
	s.t.Helper()
	s.happens("WhenKeepsRejecting(%q, %q)", name, reason)
	s.persist(name, &holdfast.Rejection{Reason: reason, Message: message})
	return s
}

// most is how many attempts are made of what is not given up.
const most = 100

// persist has every attempt of what is on its way under a name end in an error.
func (s *SagaScenario) persist(name string, err error) {
	s.t.Helper()
	way := s.sent(name).way
	for range most {
		i := slices.IndexFunc(s.open, func(e errand) bool { return e.step == name && e.way == way })
		if i >= 0 {
			attempt := To(s.open[i].To.String(), s.open[i].Command.Command)
			s.last.sent = slices.DeleteFunc(s.last.sent, attempt.same)
			s.report(s.open[i], holdfast.Receipt{}, err)
		}
		again := s.again(name, way)
		if again.IsZero() {
			return
		}
		s.pass(again)
	}
	s.fatalf(": after %d attempts it is not given up", most)
}

func failure(code holdfast.Code) error { return holdfast.Errorf(code, "so it is told") }

// again is when the next attempt is due of what pauses; zero if it does not.
func (s *SagaScenario) again(name string, way messages.SagaWay) time.Time {
	for _, p := range s.shown().Steps {
		r := map[messages.SagaWay]*messages.SagaErrand{
			messages.SagaWay_SAGA_WAY_DO: p.Do, messages.SagaWay_SAGA_WAY_UNDO: p.Undo, messages.SagaWay_SAGA_WAY_VOID: p.Void,
		}[way]
		if p.Name == name && r.GetPhase() == messages.SagaPhase_SAGA_PHASE_PAUSING {
			return time.Unix(0, r.Again).UTC()
		}
	}
	return time.Time{}
}

// WhenExecuted has the aggregate answer a Void, in a scenario that looks [SagaScenario.Closely]:
// it comes too late, and the command has been executed, with these events.
func (s SagaScenario) WhenExecuted(name string, events ...holdfast.Event) SagaScenario {
	s.t.Helper()
	s.happens("WhenExecuted(%q, %s)", name, strings.Join(described(events), ", "))
	e := s.sent(name)
	switch {
	case e.way != messages.SagaWay_SAGA_WAY_VOID:
		s.fatalf(": it is no Void that is on its way under this name: want WhenAccepted, or a scenario that looks Closely")
	case len(events) == 0:
		s.fatalf(": say with which events")
	}
	r := holdfast.Receipt{Version: holdfast.Version(len(events)), Duplicate: true}
	for _, event := range events {
		r.Events = append(r.Events, string(proto.MessageName(event)))
	}
	s.report(e, r, nil)
	return s
}

// sent finds what is on its way under a name.
func (s *SagaScenario) sent(name string) errand {
	s.t.Helper()
	i := slices.IndexFunc(s.open, func(e errand) bool { return e.step == name })
	if i < 0 {
		s.fatalf(": nothing is on its way under this name; %s", s.standing())
	}
	return s.open[i]
}

// After lets time pass: timers ring, each when its time comes. If none does, a Then is not
// needed.
func (s SagaScenario) After(d time.Duration) SagaScenario {
	s.t.Helper()
	s.happens("After(%v)", d)
	s.pass(s.now.Add(d))
	s.last.judged = len(s.last.events) == 0
	return s
}

// pass has the timers ring that are due until then.
func (s *SagaScenario) pass(until time.Time) {
	s.t.Helper()
	for len(s.timers) > 0 {
		next := slices.MinFunc(s.timers, func(a, b sagas.Timer) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
		if next.At.After(until) {
			break
		}
		s.cancel(next.Saga, next.Key)
		if next.At.After(s.now) {
			s.now = next.At
		}
		wake := next.Command()
		s.take(wake.Command, wake.At(s.now).Meta)
	}
	s.now = until
}
