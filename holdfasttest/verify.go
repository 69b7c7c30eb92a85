package holdfasttest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// verify checks what has to hold in every world.
func (s *Sim) verify() error {
	wrong := []error{s.verifyLog()}
	for _, ref := range s.log.begun {
		st := s.saga(ref)
		if st == nil {
			continue
		}
		status := sagas.Status(st.Status)
		switch left := unsettled(st); {
		case !status.Final() && !(s.world.Stuck && status == sagas.Stuck):
			wrong = append(wrong, fmt.Errorf("%s is %s, and nothing moves any more%s", ref, status, left))
		case status.Final() && left != "" && !s.forced[ref]:
			wrong = append(wrong, fmt.Errorf("%s is %s, and not all that it sent is settled%s", ref, status, left))
		}
	}
	return errors.Join(wrong...)
}

// verifyLog checks that no command took effect twice, and that sagas leave it at their end.
func (s *Sim) verifyLog() error {
	type use struct {
		ref holdfast.Ref
		id  string
	}
	var wrong []error
	used := make(map[use]bool, len(s.log.entries))
	over := map[holdfast.Ref]string{}
	for _, e := range s.log.entries {
		for _, ch := range e.commit.Changes {
			u := use{e.ref, ch.CommandId}
			if used[u] {
				wrong = append(wrong, fmt.Errorf("%s took the command %s twice", e.ref, ch.CommandId))
			}
			used[u] = true
			for _, event := range ch.Events {
				switch was := over[e.ref]; {
				case was == nameEnded, was == nameClosing && event.Type == nameHeard:
					wrong = append(wrong, fmt.Errorf("%s has recorded %s after its %s", e.ref, event.Type, was))
				case event.Type == nameEnded || event.Type == nameClosing:
					over[e.ref] = event.Type
				case event.Type == nameIntended:
					wrong = append(wrong, s.verifyIntent(e.ref, ch, event))
				}
			}
			if ch.Command == nameForce {
				s.forced[e.ref] = true
			}
		}
	}
	return errors.Join(wrong...)
}

// verifyIntent checks that no step is tried again after its time.
func (s *Sim) verifyIntent(ref holdfast.Ref, ch *messages.Change, recorded *messages.Event) error {
	var in messages.SagaIntended
	if err := proto.Unmarshal(recorded.Data, &in); err != nil {
		return err
	}
	if in.Attempt > 1 && in.Deadline != 0 && in.Edits == 0 && ch.Time >= in.Deadline {
		return fmt.Errorf("%s tries %s again, %v after its time", ref, in.Step, time.Duration(ch.Time-in.Deadline))
	}
	return nil
}

var (
	nameIntended = string(proto.MessageName((*messages.SagaIntended)(nil)))
	nameEnded    = string(proto.MessageName((*messages.SagaEnded)(nil)))
	nameClosing  = string(proto.MessageName((*messages.SagaClosing)(nil)))
	nameHeard    = string(proto.MessageName((*messages.SagaHeard)(nil)))
	nameForce    = string(proto.MessageName((*messages.SagaForce)(nil)))
)

// saga is the state of a saga that has begun; nil if it has not, or is none.
func (s *Sim) saga(ref holdfast.Ref) *messages.SagaState {
	if s.book.Saga(ref.Type) == nil {
		return nil
	}
	st, _ := s.state(ref).(*messages.SagaState)
	return st
}

// unsettled says what a saga has not come to the end of.
func unsettled(st *messages.SagaState) string {
	var b strings.Builder
	for _, p := range st.Steps {
		for _, way := range []struct {
			name   string
			errand *messages.SagaErrand
		}{{"", p.Do}, {" undone", p.Undo}, {" made void", p.Void}} {
			switch phase := way.errand.GetPhase(); phase {
			case messages.SagaPhase_SAGA_PHASE_UNSPECIFIED, messages.SagaPhase_SAGA_PHASE_ENDED, messages.SagaPhase_SAGA_PHASE_FAILED:
			default:
				fmt.Fprintf(&b, "; %s%s: %s %s", p.Name, way.name, strings.ToLower(strings.TrimPrefix(phase.String(), "SAGA_PHASE_")), way.errand.Reason)
			}
		}
	}
	for _, p := range st.Parked {
		fmt.Fprintf(&b, "; parked: %s", p.Reason)
	}
	return b.String()
}
