package holdfasttest

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// A SagaScenario is a saga to which things happen: where it stands, what it has sent that
// nobody has answered yet, and when its timers ring. It is a value: several stories can start
// from one.
//
// A When has something happen and a Then looks at what came of the last one. The time is
// virtual: it passes in After, and nowhere else.
type SagaScenario struct {
	t    TB
	book *sagas.Book
	saga *sagas.Saga
	ref  holdfast.Ref
	history

	now      time.Time
	decided  time.Time // when the last commit was
	user     string
	closely  bool
	commands int                               // of clients
	versions map[holdfast.Ref]holdfast.Version // of the aggregates of which it was told
	open     []errand
	timers   []sagas.Timer
	last     *consequence
}

// An errand is a command of the saga that has not been answered.
type errand struct {
	step string // its name, or that of what was sent
	way  messages.SagaWay
	sagas.Command
}

// GivenSaga starts a scenario of the saga with that id, to which nothing has happened. types
// are the aggregate types with which it deals. It begins at noon on 1 June 2020, UTC, with
// nobody in particular.
func GivenSaga(t TB, saga *sagas.Saga, id string, types ...holdfast.Definition) SagaScenario {
	t.Helper()
	book, err := sagas.NewBook(types, saga)
	if err != nil {
		t.Fatalf("%s: %v", saga.Name(), err)
	}
	s := SagaScenario{
		t: t, book: book, saga: saga, ref: holdfast.Ref{Type: saga.Name(), ID: id},
		history: history{def: saga.Type(), state: saga.Type().Zero()}, now: begin,
	}
	if err := s.checkSnapshot(); err != nil {
		t.Fatalf("%s, when nothing has happened: %v", s.ref, err)
	}
	return s
}

// At says when the story begins.
func (s SagaScenario) At(at time.Time) SagaScenario {
	s.t.Helper()
	if s.last != nil {
		s.t.Fatalf("%s: it has begun at another time: let time pass with After", s.ref)
	}
	s.now = at
	return s
}

// As says on whose behalf commands are sent, and events happen, from now on.
func (s SagaScenario) As(user string) SagaScenario {
	s.user = user
	return s
}

// Closely has the Void looked at that follows each failure, and answered, as all that is
// sent: until its aggregate has taken it, the failed command might yet be executed, and so the
// saga waits. Without Closely, each Void is taken at once, before its command, and not shown.
func (s SagaScenario) Closely() SagaScenario {
	s.closely = true
	return s
}

// happens has something happen from now on: what comes of it goes into a new consequence.
func (s *SagaScenario) happens(format string, args ...any) {
	_, file, line, _ := runtime.Caller(2)
	c := &consequence{what: fmt.Sprintf(format, args...)}
	s.last = c
	s.t.Cleanup(func() {
		if !c.judged {
			s.t.Errorf("%s:%d: %s has no Then: nothing was expected of it", filepath.Base(file), line, c.what)
		}
	})
}

// take has the saga decide on a command, which is recorded, and done as its events ask.
func (s *SagaScenario) take(c holdfast.Command, m holdfast.Meta) {
	s.t.Helper()
	m.To = s.ref
	if m.At.IsZero() {
		m.At = s.now
	}
	if m.At.Before(s.decided) {
		m.At = s.decided
	}
	t, err := newTrial(s.history, c, m)
	if err != nil {
		s.fatalf(": %v", err)
	}
	v, err := t.decide(s.t)
	if err != nil {
		s.fatalf(": %v", err)
	}
	if s.last.rejection = v.rejection; v.rejection != nil || len(v.events) == 0 {
		return
	}
	before := len(s.recorded)
	for _, e := range v.events {
		if s.history, err = s.follow(e); err != nil {
			s.fatalf(": it decides %s, and: %v", describe(e), err)
		}
		if p, ok := e.(*messages.SagaParked); ok {
			s.fatalf(": it cannot be taken in, and is parked: %s", p.Reason)
		}
	}
	if _, err := s.checkAnew(s.t); err != nil {
		s.fatalf(": %v", err)
	}
	s.decided = m.At
	s.last.events = append(s.last.events, v.events...)
	s.ask(before, string(proto.MessageName(c)), m)
	s.confirm()
}

// ask has done what the events ask for that were recorded after so many.
func (s *SagaScenario) ask(before int, command string, m holdfast.Meta) {
	s.t.Helper()
	for _, task := range s.tasks(s.ref, before, command, m, s.recorded[before:]) {
		switch t := task.(type) {
		case sagas.Timer:
			s.cancel(t.Saga, t.Key)
			s.timers = append(s.timers, t)
			s.last.timers = append(s.last.timers, setting{t, s.now})
		case sagas.Cancel:
			s.cancel(t.Saga, t.Key)
		case sagas.Command:
			if t.Report != nil {
				s.send(t)
			}
		}
	}
}

// tasks gives what a commit of an aggregate asks of the saga.
func (s *SagaScenario) tasks(ref holdfast.Ref, before int, command string, m holdfast.Meta, events []*messages.Event) []sagas.Task {
	s.t.Helper()
	tasks, err := s.book.Tasks(s.saga, ref, &messages.Commit{
		FirstVersion: uint64(before) + 1,
		LastVersion:  uint64(before + len(events)),
		Time:         m.At.UnixNano(),
		Changes: []*messages.Change{{
			CommandId: m.ID, Command: command, CorrelationId: m.CorrelationID, CausationId: m.CausationID,
			User: m.User, Time: m.At.UnixNano(), Events: events,
		}},
	})
	if err != nil {
		s.fatalf(": %v", err)
	}
	return tasks
}

// send puts a command of the saga on its way, in the place of a former attempt.
func (s *SagaScenario) send(c sagas.Command) {
	a := c.Report(holdfast.Receipt{}, nil).Command.(*messages.SagaReport).Answer
	s.answered(a.Step)
	s.open = append(s.open, errand{a.Step, a.Way, c})
	if s.closely || a.Way != messages.SagaWay_SAGA_WAY_VOID {
		s.last.sent = append(s.last.sent, To(c.To.String(), c.Command))
	}
}

// answered takes what was sent under a name off those that are on their way.
func (s *SagaScenario) answered(step string) {
	s.open = slices.DeleteFunc(slices.Clone(s.open), func(e errand) bool { return e.step == step })
}

func (s *SagaScenario) cancel(saga holdfast.Ref, key string) {
	s.timers = slices.DeleteFunc(slices.Clone(s.timers), func(t sagas.Timer) bool { return t.Saga == saga && t.Key == key })
}

// report tells the saga what became of an errand.
func (s *SagaScenario) report(e errand, r holdfast.Receipt, err error) {
	s.t.Helper()
	s.answered(e.step)
	report := e.Report(r, err)
	s.take(report.Command, report.At(s.now).Meta)
}

// confirm has each Void taken before its command, unless the scenario looks closely.
func (s *SagaScenario) confirm() {
	s.t.Helper()
	if s.closely {
		return
	}
	isVoid := func(e errand) bool { return e.way == messages.SagaWay_SAGA_WAY_VOID }
	if i := slices.IndexFunc(s.open, isVoid); i >= 0 {
		s.report(s.open[i], holdfast.Receipt{}, nil)
	}
}

// version counts events of an aggregate.
func (s *SagaScenario) version(ref holdfast.Ref, events int) (before int) {
	before = int(s.versions[ref])
	if s.versions = maps.Clone(s.versions); s.versions == nil {
		s.versions = map[holdfast.Ref]holdfast.Version{}
	}
	s.versions[ref] += holdfast.Version(events)
	return before
}

// shown is the saga as an operator sees it.
func (s *SagaScenario) shown() *messages.SagaState {
	return s.def.Save(s.state).(*messages.SagaState)
}
