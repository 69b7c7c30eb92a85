package coop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/coop"
)

// told plays the story and tells for each line what became of it: the version with its
// event, the reason of a rejection, or that the line was a repetition.
func told(t *testing.T) (outcomes []string, mistake string) {
	t.Helper()
	state := coop.Family.Zero()
	answered := map[string]bool{}
	version := 0
	for line := range strings.Lines(coop.Story) {
		var l struct {
			Ref, Command, ID, User, Note string
			Data                         json.RawMessage
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if l.Ref != "family/f-lovelace" || l.ID == "" || l.User == "" || l.Note == "" {
			t.Errorf("incomplete: %s", line)
		}
		c, ok := coop.Family.NewCommand(l.Command)
		if !ok {
			t.Fatalf("unknown command in %s", line)
		}
		if err := protojson.Unmarshal(l.Data, c); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if answered[l.ID] {
			outcomes = append(outcomes, "again")
			continue
		}
		answered[l.ID] = true
		decided, err := coop.Family.Decide(state, c, holdfast.Meta{ID: l.ID, User: l.User})
		if no, ok := errors.AsType[*holdfast.Rejection](err); ok {
			outcomes = append(outcomes, no.Reason)
			continue
		}
		if err != nil || len(decided) != 1 {
			t.Fatalf("%v and %d events, want one, for %s", err, len(decided), line)
		}
		version++
		name := proto.MessageName(decided[0])
		outcomes = append(outcomes, fmt.Sprintf("%d %s", version, name.Name()))
		if name == "coop.v1.FamilyWithdrawn" {
			mistake = fmt.Sprintf("%s@%d", l.Ref, version)
		}
		if name == "coop.v1.WithdrawalReversed" && !strings.Contains(line, `"original_event_id":"`+mistake+`"`) {
			t.Errorf("the reversal must name %s: %s", mistake, line)
		}
		if state, err = coop.Family.Apply(state, decided[0]); err != nil {
			t.Fatal(err)
		}
	}
	return outcomes, mistake
}

func TestStory(t *testing.T) {
	t.Parallel()
	outcomes, mistake := told(t)
	want := `1 FamilyEnrolled
2 ChildAdded
3 ChildAdded
4 EngagementScoreUpdated
5 PaymentFellDue
6 PaymentBecameOverdue
7 PortalLocked
payment_overdue
8 PaymentReceived
again
9 PortalRestored
10 FamilyWithdrawn
withdrawn
11 WithdrawalReversed
12 EngagementScoreUpdated`
	if got := strings.Join(outcomes, "\n"); got != want {
		t.Errorf("the story went\n%s\nwant\n%s", got, want)
	}
	if mistake != "family/f-lovelace@10" {
		t.Errorf("the mistake is %s", mistake)
	}
}
