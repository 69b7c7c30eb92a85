package sagas

import (
	"fmt"

	"github.com/holdfast-run/holdfast/messages"
)

func (d *Saga) save(s state) *messages.SagaState {
	m := &messages.SagaState{
		Status: string(s.status()), Reason: s.why(), Because: s.reason, Input: s.input, Heard: s.past,
		End: string(s.end), Back: s.back, Cancelled: s.cancelled, Turns: uint32(s.turns),
		Recorded: s.records, Parked: s.parked, Closing: string(s.closing), Began: s.began,
		CorrelationId: s.meta.CorrelationID, User: s.meta.User, Id: []byte(s.id),
	}
	for _, p := range s.steps {
		m.Steps = append(m.Steps, &messages.SagaStep{Name: p.name, Do: p.do.save(), Undo: p.undo.save(), Void: p.void.save(), Turn: uint32(p.turn)})
	}
	for _, a := range s.alarms {
		m.Alarms = append(m.Alarms, &messages.SagaAlarmed{Name: a.name, At: nanos(a.at)})
	}
	return m
}

// why says why the saga stands where it does.
func (s state) why() string {
	if s.status() != Stuck {
		return s.reason
	}
	if len(s.parked) > 0 {
		return s.parked[0].Reason
	}
	for _, p := range s.steps {
		for _, way := range ways {
			if r := p.errand(way); r.phase == exhausted {
				return fmt.Sprintf("%s: %s", p.name, r.reason)
			}
		}
	}
	return s.reason
}

func (r *errand) save() *messages.SagaErrand {
	if r.phase == idle {
		return nil
	}
	return &messages.SagaErrand{
		Phase: messages.SagaPhase(r.phase), Attempt: r.attempt, Fresh: r.fresh, Again: nanos(r.again), Deadline: nanos(r.deadline),
		Uncertain: r.uncertain, Effective: r.effective, Edits: r.edits, To: r.to, Command: r.command, Reason: r.reason,
		Of: r.of, Instead: r.instead, InsteadTo: r.insteadTo, Since: nanos(r.since),
	}
}

// load is the reverse of save. The data are made anew of what the saga began with and what
// it has heard, or recorded.
func (d *Saga) load(m *messages.SagaState) state {
	var s state
	if m.Began {
		s = d.begun(s, &messages.SagaBegun{Input: m.Input, CorrelationId: m.CorrelationId, User: m.User, Id: m.Id})
	}
	for _, e := range m.Heard {
		s = d.heard(s, e)
	}
	for _, e := range m.Recorded {
		s = d.recorded(s, mustOpen(e))
	}
	for _, st := range m.Steps {
		if d.reacts() {
			s.steps = append(s.steps, &progress{name: st.Name})
		}
		*d.progress(s, st.Name) = progress{name: st.Name, do: loadErrand(st.Do), undo: loadErrand(st.Undo), void: loadErrand(st.Void), turn: int(st.Turn)}
	}
	for _, a := range m.Alarms {
		s = d.alarmed(s, a)
	}
	s.closing, s.parked = Status(m.Closing), m.Parked
	s.end, s.back, s.cancelled, s.reason, s.turns = Status(m.End), m.Back, m.Cancelled, m.Because, int(m.Turns)
	return s
}

func loadErrand(m *messages.SagaErrand) errand {
	if m == nil {
		return errand{}
	}
	return errand{
		phase: phase(m.Phase), attempt: m.Attempt, fresh: m.Fresh, again: timeAt(m.Again), deadline: timeAt(m.Deadline),
		uncertain: m.Uncertain, effective: m.Effective, edits: m.Edits, to: m.To, command: m.Command, reason: m.Reason,
		of: m.Of, instead: m.Instead, insteadTo: m.InsteadTo, since: timeAt(m.Since),
	}
}
