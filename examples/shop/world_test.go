package shop_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
)

// A world is one saga and the aggregates that it works on, in memory. What the saga intends
// is decided by the very definitions that a node runs.
type world struct {
	t        *testing.T
	saga     string // its ref
	types    map[string]holdfast.Definition
	states   map[string]any      // by ref
	executed map[string][]string // what a command has recorded, by its id
	intended []*messages.SagaIntended
	at       time.Time       // now
	away     map[string]bool // aggregate types that cannot be reached
	deaf     bool            // the first answer to each command is lost
}

func newWorld(t *testing.T, saga string, defs ...holdfast.Definition) *world {
	t.Helper()
	w := &world{
		t: t, saga: saga, types: map[string]holdfast.Definition{}, states: map[string]any{}, executed: map[string][]string{},
		at: time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC), away: map[string]bool{},
	}
	for _, def := range defs {
		w.types[def.Name()] = def
	}
	return w
}

func (w *world) find(ref string) (holdfast.Definition, any) {
	w.t.Helper()
	name, _, _ := strings.Cut(ref, "/")
	def, ok := w.types[name]
	if !ok {
		w.t.Fatalf("%s is of no type of this world", ref)
	}
	if state, ok := w.states[ref]; ok {
		return def, state
	}
	return def, def.Zero()
}

// shows gives the state of an aggregate as it is shown.
func (w *world) shows(ref string) proto.Message {
	w.t.Helper()
	def, state := w.find(ref)
	return def.Save(state)
}

func (w *world) sagaState() *messages.SagaState { return w.shows(w.saga).(*messages.SagaState) }

// send has an aggregate decide on a command, and gives the names of what it recorded.
func (w *world) send(ref string, c holdfast.Command) (recorded []string, err error) {
	w.t.Helper()
	def, state := w.find(ref)
	to, err := holdfast.ParseRef(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	decided, err := def.Decide(state, c, holdfast.Meta{At: w.at, To: to})
	if err != nil {
		return nil, err
	}
	for _, e := range decided {
		if state, err = def.Apply(state, e); err != nil {
			w.t.Fatal(err)
		}
		if in, ok := e.(*messages.SagaIntended); ok && in.To != "" {
			w.intended = append(w.intended, in)
		}
		recorded = append(recorded, string(proto.MessageName(e)))
	}
	w.states[ref] = state
	return recorded, nil
}

func (w *world) must(ref string, c holdfast.Command) {
	w.t.Helper()
	if _, err := w.send(ref, c); err != nil {
		w.t.Fatal(err)
	}
}

// step does one thing that the saga intends, or waits for what is due next. It reports
// whether there was any.
func (w *world) step() bool {
	w.t.Helper()
	if len(w.intended) > 0 {
		in := w.intended[0]
		w.intended = w.intended[1:]
		w.must(w.saga, &messages.SagaReport{Answer: w.answer(in)})
		return true
	}
	var due int64
	for _, s := range w.sagaState().Steps {
		for _, r := range []*messages.SagaErrand{s.Do, s.Undo, s.Void} {
			if r.GetPhase() == messages.SagaPhase_SAGA_PHASE_PAUSING && (due == 0 || r.Again < due) {
				due = r.Again
			}
		}
	}
	if due == 0 {
		return false
	}
	w.at = time.Unix(0, due).UTC()
	w.must(w.saga, &messages.SagaWake{})
	return true
}

func (w *world) answer(in *messages.SagaIntended) *messages.SagaAnswered {
	w.t.Helper()
	a := &messages.SagaAnswered{Step: in.Step, Way: in.Way, Attempt: in.Attempt}
	way := in.Way
	if way == messages.SagaWay_SAGA_WAY_VOID {
		way = in.Of
	}
	id := fmt.Sprint(w.saga, in.Step, way, in.Edits)
	name, _, _ := strings.Cut(in.To, "/")
	switch {
	case w.away[name]:
		a.Code = string(holdfast.CodeUnavailable)
		return a
	case in.Way != way || len(w.executed[id]) > 0:
		a.Events = w.executed[id]
		return a
	}
	c, err := in.Command.UnmarshalNew()
	if err != nil {
		w.t.Fatal(err)
	}
	a.Events, err = w.send(in.To, c)
	w.executed[id] = a.Events
	no, isNo := errors.AsType[*holdfast.Rejection](err)
	switch {
	case w.deaf && in.Attempt == 1:
		return &messages.SagaAnswered{Step: in.Step, Way: in.Way, Attempt: in.Attempt, Code: string(holdfast.CodeUncertain)}
	case isNo:
		a.Code, a.Reason, a.Message = string(holdfast.CodeRejected), no.Reason, no.Message
	case err != nil:
		w.t.Fatal(err)
	}
	return a
}
