package sagas

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

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
	edits     uint32    // how often an operator has put another command in its place
	to        string
	command   *anypb.Any
	instead   *anypb.Any       // an operator's, to be sent when it is certain that command is not executed
	of        messages.SagaWay // of a void errand: whose command
	reason    string           // why it failed
}

// open reports whether something is on its way, or will be.
func (r *errand) open() bool {
	return r.phase == sent || r.phase == pausing || r.phase == doomed || r.phase == exhausted
}

// progress is how far a step has come.
type progress struct {
	do, undo errand
	void     errand // makes sure that a command is not executed any more
	turn     int    // when it was done, among the others; 0 before
}

// state is a saga as its events tell it. It is a value: what changes is copied.
type state[S any] struct {
	data      S
	input     *anypb.Any            // what it began with
	past      []*messages.SagaHeard // what it has heard
	began     bool
	end       Status // once it is over
	back      bool   // what has been done is undone
	cancelled bool   // because an operator wants it
	reason    string // why it goes back
	steps     []progress
	turns     int
}

// with gives the state with one step changed.
func (s state[S]) with(i int, change func(*progress)) state[S] {
	s.steps = slices.Clone(s.steps)
	change(&s.steps[i])
	return s
}

// errand gives the step's errand in a way.
func (p *progress) errand(way messages.SagaWay) *errand {
	switch way {
	case undo:
		return &p.undo
	case void:
		return &p.void
	}
	return &p.do
}

// stuck reports whether an operator has to help.
func (s state[S]) stuck() bool {
	return slices.ContainsFunc(s.steps, func(p progress) bool {
		return p.do.phase == exhausted || p.undo.phase == exhausted || p.void.phase == exhausted
	})
}

// status is what operators see.
func (s state[S]) status() Status {
	switch {
	case !s.began:
		return ""
	case s.end != "":
		return s.end
	case s.stuck():
		return Stuck
	case s.back:
		return Compensating
	}
	if slices.ContainsFunc(s.steps, func(p progress) bool { return p.do.open() || p.void.open() }) {
		return Running
	}
	return Waiting
}
