package desk

import (
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// What a saga can wait for.
const (
	forOperator = "operator"
	forAnswer   = "answer"
	forTime     = "time"
	forEvent    = "event"
)

// A wait is one thing that a saga waits for.
type wait struct {
	For       string          `json:"for"`
	Step      string          `json:"step,omitempty"`
	Way       string          `json:"way,omitempty"`
	Attempt   uint32          `json:"attempt,omitempty"`
	To        string          `json:"to,omitempty"`
	Command   string          `json:"command,omitempty"`
	CommandID string          `json:"commandId,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"` // the command's
	Alarm     string          `json:"alarm,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Until     string          `json:"until,omitempty"` // when it is over with waiting, if time ends it
}

const (
	wayDo   = messages.SagaWay_SAGA_WAY_DO
	wayUndo = messages.SagaWay_SAGA_WAY_UNDO
	wayVoid = messages.SagaWay_SAGA_WAY_VOID
)

// way gives do, undo or void.
func way(w messages.SagaWay) string {
	return strings.ToLower(strings.TrimPrefix(w.String(), "SAGA_WAY_"))
}

// waits gives what a saga waits for.
func waits(ref holdfast.Ref, s *messages.SagaState) []wait {
	out := []wait{}
	if sagas.Status(s.Status).Final() {
		return out
	}
	for _, p := range s.Parked {
		out = append(out, wait{For: forOperator, Command: name(p.Input), Reason: p.Reason})
	}
	for _, st := range s.Steps {
		for _, one := range []struct {
			way    messages.SagaWay
			errand *messages.SagaErrand
		}{{wayDo, st.Do}, {wayUndo, st.Undo}, {wayVoid, st.Void}} {
			if w, is := waitOf(one.errand); is {
				w.Step, w.Way = st.Name, way(one.way)
				of := one.way
				if of == wayVoid {
					of = one.errand.Of
				}
				w.CommandID = sagas.CommandID(ref, st.Name, of, one.errand.Edits)
				out = append(out, w)
			}
		}
	}
	for _, a := range s.Alarms {
		out = append(out, wait{For: forTime, Alarm: a.Name, Until: showNanos(a.At)})
	}
	if len(out) == 0 {
		out = append(out, wait{For: forEvent})
	}
	return out
}

// waitOf gives what a step waits for in a way, if it does.
func waitOf(r *messages.SagaErrand) (w wait, is bool) {
	if r == nil {
		return w, false
	}
	w = wait{Attempt: r.Attempt, To: r.To, Command: name(r.Command), Data: data(r.Command), Reason: r.Reason, Until: showNanos(r.Deadline)}
	switch r.Phase {
	case messages.SagaPhase_SAGA_PHASE_SENT:
		w.For, w.Reason = forAnswer, ""
	case messages.SagaPhase_SAGA_PHASE_PAUSING:
		w.For, w.Until = forTime, showNanos(r.Again)
	case messages.SagaPhase_SAGA_PHASE_ACCEPTED:
		w.For, w.Reason = forEvent, ""
	case messages.SagaPhase_SAGA_PHASE_EXHAUSTED:
		w.For, w.Until = forOperator, ""
	default: // it has come to its end, or to what the way void tells
		return w, false
	}
	return w, true
}

// name is the full name of what is packed; empty when nothing is.
func name(a *anypb.Any) string { return string(a.MessageName()) }

// data shows what is packed; nil when nothing is, or it cannot be shown.
func data(a *anypb.Any) json.RawMessage {
	if a == nil {
		return nil
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil
	}
	shown, err := serve.Show(m)
	if err != nil {
		return nil
	}
	return shown
}

// showNanos gives a recorded time; nothing for none.
func showNanos(nanos int64) string {
	if nanos == 0 {
		return ""
	}
	return serve.ShowTime(time.Unix(0, nanos))
}
