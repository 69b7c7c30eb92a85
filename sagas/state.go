package sagas

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// Status is where a saga stands.
type Status string

// What a saga can be. The last three are final.
const (
	Running      Status = "running"      // commands are on their way, or will be tried again
	Waiting      Status = "waiting"      // for events
	Compensating Status = "compensating" // what has been done is being undone
	Stuck        Status = "stuck"        // an operator has to help
	Completed    Status = "completed"
	Compensated  Status = "compensated"
	Cancelled    Status = "cancelled"
)

// Final reports whether a saga of that status is over.
func (s Status) Final() bool { return s == Completed || s == Compensated || s == Cancelled }

// phase is where a step stands in one way, done or undone.
type phase messages.SagaPhase

const (
	idle      = phase(messages.SagaPhase_SAGA_PHASE_UNSPECIFIED)
	sent      = phase(messages.SagaPhase_SAGA_PHASE_SENT)
	pausing   = phase(messages.SagaPhase_SAGA_PHASE_PAUSING)
	doomed    = phase(messages.SagaPhase_SAGA_PHASE_DOOMED)
	accepted  = phase(messages.SagaPhase_SAGA_PHASE_ACCEPTED)
	ended     = phase(messages.SagaPhase_SAGA_PHASE_ENDED)
	failed    = phase(messages.SagaPhase_SAGA_PHASE_FAILED)
	exhausted = phase(messages.SagaPhase_SAGA_PHASE_EXHAUSTED)
)

// An errand is a step in one way.
type errand struct {
	phase     phase
	attempt   uint32
	fresh     uint32    // attempts before these count no more: an operator has helped
	again     time.Time // when the next attempt is due
	deadline  time.Time // zero for none
	uncertain bool      // an attempt may have been executed, and none has certainly been
	effective bool      // its command has been accepted
	since     time.Time // when the command was first intended under its id
	edits     uint32    // how often an operator has put another command in its place
	to        string
	command   *anypb.Any
	instead   *anypb.Any       // an operator's, to be sent when it is certain that command is not executed
	insteadTo string           // where, if it is elsewhere
	of        messages.SagaWay // of a void errand: whose command
	reason    string           // why it failed
}

// open reports whether something is on its way, or will be.
func (r *errand) open() bool {
	return r.phase == sent || r.phase == pausing || r.phase == doomed || r.phase == exhausted
}

// progress is how far a step has come.
type progress struct {
	name     string
	do, undo errand
	void     errand // makes sure that a command is not executed any more
	turn     int    // when it was done, among the others; 0 before
}

// state is a saga as its events tell it. It is a value: what changes is copied.
type state struct {
	id        string
	data      any                   // nil before it has begun
	input     *anypb.Any            // what it began with
	past      []*messages.SagaHeard // what it has heard, if it is one of steps
	records   []*anypb.Any          // events of its own, if it is one of reactions
	began     bool
	meta      holdfast.Meta // of what it sends: the correlation, and the user
	end       Status        // once it is over
	closing   Status        // what it will be then
	back      bool          // what has been done is undone
	cancelled bool          // because an operator wants it
	reason    string        // why it goes back
	steps     []*progress   // which are never changed
	turns     int
	alarms    []alarm
	parked    []*messages.SagaParked // what could not be taken in
}

type alarm struct {
	name string
	at   time.Time
}

// step finds a step by its name; nil if there is none.
func (s state) step(name string) *progress {
	for _, p := range s.steps {
		if p.name == name {
			return p
		}
	}
	return nil
}

// with gives the state with one step changed.
func (s state) with(p *progress, change func(*progress)) state {
	changed := *p
	change(&changed)
	s.steps = slices.Clone(s.steps)
	s.steps[slices.Index(s.steps, p)] = &changed
	return s
}

// errand gives the step's errand in a way.
func (p *progress) errand(way messages.SagaWay) *errand {
	switch way {
	case undo:
		return &p.undo
	case void:
		return &p.void
	default:
		return &p.do
	}
}

func (p *progress) open() bool { return p.do.open() || p.undo.open() || p.void.open() }

// stuck reports whether an operator has to help.
func (s state) stuck() bool {
	return len(s.parked) > 0 || slices.ContainsFunc(s.steps, func(p *progress) bool {
		return p.do.phase == exhausted || p.undo.phase == exhausted || p.void.phase == exhausted
	})
}

// status is what operators see.
func (s state) status() Status {
	switch {
	case s.end != "":
		return s.end
	case !s.began && len(s.parked) == 0:
		return ""
	case s.stuck():
		return Stuck
	case s.back:
		return Compensating
	}
	if slices.ContainsFunc(s.steps, (*progress).open) {
		return Running
	}
	return Waiting
}
