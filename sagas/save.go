package sagas

import (
	"github.com/holdfast-run/holdfast/messages"
)

func (d *Saga[S]) save(s state[S]) *messages.SagaState {
	m := &messages.SagaState{
		Status: string(s.status()), Reason: s.reason, Input: s.input, Heard: s.past,
		End: string(s.end), Back: s.back, Cancelled: s.cancelled, Turns: uint32(s.turns),
	}
	for i, name := range d.order {
		if i < len(s.steps) {
			p := &s.steps[i]
			m.Steps = append(m.Steps, &messages.SagaStep{Name: name, Do: p.do.save(), Undo: p.undo.save(), Void: p.void.save(), Turn: uint32(p.turn)})
		}
	}
	return m
}

func (r *errand) save() *messages.SagaErrand {
	if r.phase == idle {
		return nil
	}
	return &messages.SagaErrand{
		Phase: messages.SagaPhase(r.phase), Attempt: r.attempt, Fresh: r.fresh, Again: nanos(r.again), Deadline: nanos(r.deadline),
		Uncertain: r.uncertain, Effective: r.effective, Edits: r.edits, To: r.to, Command: r.command, Reason: r.reason,
		Of: r.of, Instead: r.instead,
	}
}

// load is the reverse of save. The data are made anew of what the saga began with and what
// it has heard.
func (d *Saga[S]) load(m *messages.SagaState) state[S] {
	var s state[S]
	if m.Input == nil {
		return s
	}
	s = d.begun(s, &messages.SagaBegun{Input: m.Input})
	for _, e := range m.Heard {
		s = d.heard(s, e)
	}
	for _, st := range m.Steps {
		s.steps[d.index(st.Name)] = progress{do: loadErrand(st.Do), undo: loadErrand(st.Undo), void: loadErrand(st.Void), turn: int(st.Turn)}
	}
	s.end, s.back, s.cancelled, s.reason, s.turns = Status(m.End), m.Back, m.Cancelled, m.Reason, int(m.Turns)
	return s
}

func loadErrand(m *messages.SagaErrand) errand {
	if m == nil {
		return errand{}
	}
	return errand{
		phase: phase(m.Phase), attempt: m.Attempt, fresh: m.Fresh, again: timeAt(m.Again), deadline: timeAt(m.Deadline),
		uncertain: m.Uncertain, effective: m.Effective, edits: m.Edits, to: m.To, command: m.Command, reason: m.Reason,
		of: m.Of, instead: m.Instead,
	}
}
