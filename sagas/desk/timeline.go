package desk

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/sagas"
)

// A moment is one event in the life of a saga.
type moment struct {
	Version   uint64          `json:"version"`
	Time      string          `json:"time"`
	What      string          `json:"what"`
	Step      string          `json:"step,omitempty"`
	Way       string          `json:"way,omitempty"`
	Attempt   uint32          `json:"attempt,omitempty"`
	Text      string          `json:"text"`
	User      string          `json:"user,omitempty"`
	From      string          `json:"from,omitempty"`      // the event of another aggregate
	To        string          `json:"to,omitempty"`        // the aggregate that something is sent to
	Command   string          `json:"command,omitempty"`   // what is sent, or began it
	CommandID string          `json:"commandId,omitempty"` // of that, or of an operator's action
	Event     string          `json:"event,omitempty"`     // what was heard, or recorded
	Data      json.RawMessage `json:"data,omitempty"`      // of the command or event
	Outcome   string          `json:"outcome,omitempty"`   // accepted, rejected, or the code of an error
	Reason    string          `json:"reason,omitempty"`
	Action    string          `json:"action,omitempty"` // an operator's
	Alarm     string          `json:"alarm,omitempty"`
	Until     string          `json:"until,omitempty"` // a deadline, the next attempt, when an alarm rings
	By        string          `json:"by,omitempty"`    // the command on which it was recorded
	Undecoded []byte          `json:"undecoded,omitempty"`
}

// A teller tells the life of a saga, in the order in which it went.
type teller struct {
	saga *sagas.Saga
	ref  holdfast.Ref
	// sent are the last intents that were told, by step and way: what became of one stands in
	// the log without its command. recall finds one that was not told.
	sent   map[errandKey]*messages.SagaIntended
	recall func(errandKey) (*messages.SagaIntended, error)
}

type errandKey struct {
	step string
	way  messages.SagaWay
}

// tell makes a moment of an event. What cannot be read is shown as it stands in the log.
func (t *teller) tell(version uint64, ch *messages.Change, recorded *messages.Event) (moment, error) {
	m := moment{Version: version, Time: showNanos(ch.Time), User: ch.User, By: ch.Command}
	event, err := persistence.DecodeEvent(t.saga.Type(), recorded)
	if err != nil {
		m.What, m.Event, m.Undecoded, m.Text = "unreadable", recorded.Type, recorded.Data, serve.Sentence(err.Error(), "it cannot be read")
		return m, nil
	}
	switch e := event.(type) {
	case *messages.SagaBegun:
		m.begun(e, ch.CommandId)
	case *messages.SagaHeard:
		m.What, m.From, m.Event, m.Data = "heard", e.GetFrom().GetEventId(), name(e.Event), data(e.Event)
		m.Text = fmt.Sprintf("heard of %s, %s", last(m.Event), m.From)
	case *messages.SagaIntended:
		t.intended(&m, e)
	case *messages.SagaAnswered:
		err = t.answered(&m, e)
	case *messages.SagaStepEnded:
		m.stepEnded(e)
	case *messages.SagaActed:
		m.What, m.Action, m.Step, m.Reason = "acted", e.Action, e.Step, e.Reason
		m.To, m.Command, m.Data, m.CommandID = e.To, name(e.Command), data(e.Command), ch.CommandId
		m.Way = wayName(e.Way)
		m.Text = fmt.Sprintf("an operator's %s: %s", e.Action, e.Reason)
	default:
		m.other(event)
	}
	return m, err
}

func (m *moment) begun(e *messages.SagaBegun, commandID string) {
	m.What, m.Command, m.Data, m.CommandID = "begun", name(e.Input), data(e.Input), commandID
	switch m.From = e.GetFrom().GetEventId(); {
	case m.From != "":
		m.Text = "begun by the event " + m.From
	case m.Command != "":
		m.Text = "begun with " + last(m.Command)
	default:
		m.Text = "begun"
	}
}

func (t *teller) intended(m *moment, e *messages.SagaIntended) {
	t.sent[errandKey{e.Step, e.Way}] = e
	m.What, m.Step, m.Way, m.Attempt, m.To, m.Until = "sent", e.Step, way(e.Way), e.Attempt, e.To, showNanos(e.Deadline)
	m.Command, m.Data = name(e.Command), data(e.Command)
	switch m.CommandID = t.commandID(e); {
	case e.To == "":
		m.What, m.CommandID, m.Text = "needless", "", "there is nothing to "+m.Way
		return
	case e.Way == wayVoid:
		m.Text = fmt.Sprintf("makes certain that what was to %s it is not executed any more at %s", way(e.Of), e.To)
	case e.Way == wayUndo:
		m.Text = fmt.Sprintf("undoes it: sends %s to %s", last(m.Command), e.To)
	default:
		m.Text = fmt.Sprintf("sends %s to %s", last(m.Command), e.To)
	}
	if e.Attempt > 1 {
		m.Text += fmt.Sprintf(", attempt %d", e.Attempt)
	}
	if e.Edits > 0 && e.Way != wayVoid {
		m.Text += ", as an operator edited it"
	}
}

// commandID is that of what is sent; none when there is nothing to send.
func (t *teller) commandID(in *messages.SagaIntended) string {
	if in == nil || in.To == "" {
		return ""
	}
	of := in.Way
	if of == wayVoid {
		of = in.Of
	}
	return sagas.CommandID(t.ref, in.Step, of, in.Edits)
}

func (t *teller) answered(m *moment, e *messages.SagaAnswered) (err error) {
	m.What, m.Step, m.Way, m.Attempt, m.Until = "answered", e.Step, way(e.Way), e.Attempt, showNanos(e.Again)
	in, told := t.sent[errandKey{e.Step, e.Way}]
	if !told {
		if in, err = t.recall(errandKey{e.Step, e.Way}); err != nil {
			return err
		}
	}
	m.To, m.CommandID, m.Outcome, m.Reason = in.GetTo(), t.commandID(in), cmp.Or(e.Code, "accepted"), e.Reason
	var events []string
	for _, full := range e.Events {
		events = append(events, last(full))
	}
	happened := strings.Join(events, ", ")
	switch {
	case e.Code == "" && e.Way == wayVoid && happened == "":
		m.Text = "it is certain now"
	case e.Code == "" && e.Way == wayVoid:
		m.Text = "it had been executed: " + happened
	case e.Code == "":
		m.Text = "accepted: " + cmp.Or(happened, "nothing needed to happen")
	case e.Reason != "":
		m.Text = fmt.Sprintf("rejected: %s: %s", e.Reason, e.Message)
	default:
		m.Text = e.Code + ": " + e.Message
	}
	if e.Again != 0 {
		m.Text += "; another attempt is due"
	}
	return nil
}

func (m *moment) stepEnded(e *messages.SagaStepEnded) {
	m.What, m.Step, m.Way, m.Reason = "ended", e.Step, way(e.Way), e.Failed
	switch {
	case e.Skipped:
		m.Outcome, m.Text = "skipped", "an operator has ended it, as it is"
	case e.Stuck:
		m.Outcome, m.Text = "stuck", "is stuck: "+e.Failed
	case e.Failed != "":
		m.Outcome, m.Text = "failed", "has failed: "+e.Failed
	case e.Way == wayUndo:
		m.Outcome, m.Text = "done", "is undone"
	case e.Way == wayVoid:
		m.Outcome, m.Text = "done", "nothing of it is open any more"
	default:
		m.Outcome, m.Text = "done", "is done"
	}
}

// other tells what concerns no step.
func (m *moment) other(event holdfast.Event) {
	switch e := event.(type) {
	case *messages.SagaTurned:
		m.What, m.Step, m.Reason, m.Text = "turned", e.Step, e.Reason, "turns back: "+e.Reason
	case *messages.SagaAlarmed:
		m.What, m.Alarm, m.Until, m.Text = "alarmed", e.Name, showNanos(e.At), "sets the alarm "+e.Name
		if e.At == 0 {
			m.Text = "takes the alarm " + e.Name + " away"
		}
	case *messages.SagaRang:
		m.What, m.Alarm, m.Text = "rang", e.Name, "the alarm "+e.Name+" rings"
	case *messages.SagaClosing:
		m.What, m.Outcome, m.Reason, m.Text = "closing", e.Status, e.Reason, because("will be "+e.Status, e.Reason)
	case *messages.SagaParked:
		m.parked(e.Input, e.Reason)
	case *messages.SagaUnparked:
		m.What, m.Text = "unparked", "what was parked first is not any more"
	case *messages.SagaRouted:
		m.What, m.From, m.Text = "routed", e.GetHeard().GetFrom().GetEventId(), "the event was passed on to "+e.To
	case *messages.SagaEnded:
		m.What, m.Outcome, m.Reason, m.Text = "over", e.Status, e.Reason, because("is "+e.Status, e.Reason)
		if e.Forced {
			m.Text = because("an operator has forced it to be "+e.Status, e.Reason)
		}
	default:
		m.What, m.Event = "recorded", string(proto.MessageName(event))
		m.Text = "records " + last(m.Event)
		if shown, err := serve.Show(event); err == nil {
			m.Data = shown
		}
	}
}

func (m *moment) parked(input *anypb.Any, reason string) {
	m.What, m.Command, m.Data, m.Reason = "parked", name(input), data(input), reason
	m.Text = fmt.Sprintf("could not take in a %s: %s", last(m.Command), reason)
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

// wayName is empty for what concerns none.
func wayName(w messages.SagaWay) string {
	if w == messages.SagaWay_SAGA_WAY_UNSPECIFIED {
		return ""
	}
	return way(w)
}

// last is what follows the last dot of a full name.
func last(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }
