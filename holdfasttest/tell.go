package holdfasttest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
)

// A telling is what happened in a run, line by line.
type telling struct{ lines []string }

// Of a long story the beginning and the end are told.
const (
	toldFirst = 100
	toldLast  = 300
)

func (t *telling) String() string {
	lines := t.lines
	if n := len(lines) - toldFirst - toldLast; n > 0 {
		cut := fmt.Sprintf("%14s%d lines are left out", "", n)
		lines = slices.Concat(lines[:toldFirst], []string{cut}, lines[toldFirst+n:])
	}
	return strings.Join(lines, "\n")
}

// note tells something, if anybody wants to know.
func (s *Sim) note(format string, args ...any) {
	if s.told != nil {
		s.told.lines = append(s.told.lines, fmt.Sprintf("%12v  %s", s.now.Sub(begin), fmt.Sprintf(format, args...)))
	}
}

// answered tells what became of a command.
func (s *Sim) answered(c sagas.Command, r holdfast.Receipt, err error) {
	if s.told == nil {
		return
	}
	outcome := "nothing to do"
	switch {
	case err != nil:
		outcome = err.Error()
	case len(r.Events) > 0:
		outcome = strings.ReplaceAll(strings.Join(r.Events, ", "), "holdfast.v1.", "")
	}
	if r.Duplicate {
		outcome += ", as before"
	}
	s.note("%s → %s", spoken(c), outcome)
}

// spoken says what a command wants.
func spoken(c sagas.Command) string {
	switch m := c.Command.(type) {
	case *messages.SagaWake:
		return fmt.Sprintf("%s is woken", c.To)
	case *messages.SagaHear:
		return fmt.Sprintf("%s hears of %s: %s", c.To, m.Heard.GetFrom().GetRef(), opened(m.Heard.GetEvent()))
	case *messages.SagaReport:
		return fmt.Sprintf("%s is told of %s", c.To, reported(m.Answer))
	case *messages.Void:
		return fmt.Sprintf("%s is to take no more %s", c.To, c.Delivery.Meta.ID)
	}
	return fmt.Sprintf("%s, for %s: %s", c.Delivery.Meta.ID, c.To, describe(c.Command))
}

func reported(a *messages.SagaAnswered) string {
	ways := map[messages.SagaWay]string{messages.SagaWay_SAGA_WAY_UNDO: " undone", messages.SagaWay_SAGA_WAY_VOID: " made void"}
	text := fmt.Sprintf("%s%s, attempt %d: ", a.Step, ways[a.Way], a.Attempt)
	switch {
	case a.Code == "" && a.Way == messages.SagaWay_SAGA_WAY_VOID && len(a.Events) > 0:
		return text + "it has happened"
	case a.Code == "":
		return text + "accepted"
	}
	return text + cmp.Or(a.Reason, a.Code)
}

func opened(a *anypb.Any) string {
	m, err := a.UnmarshalNew()
	if err != nil {
		return a.GetTypeUrl()
	}
	return describe(m)
}
