package sagas

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// TestTasks plays the scripts in testdata/tasks, and tells what the events ask for instead of
// the events.
func TestTasks(t *testing.T) { playAll(t, "tasks", journey) }

func book(t *testing.T) *Book {
	t.Helper()
	b, err := NewBook([]holdfast.Definition{account}, journey, guard)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func change(t *testing.T, at time.Time, events ...holdfast.Event) *messages.Change {
	t.Helper()
	c := &messages.Change{CommandId: "c-1", CorrelationId: "story", User: "ada", Time: at.UnixNano()}
	for _, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		c.Events = append(c.Events, recorded)
	}
	return c
}

// tasks tells what the events from the n-th on ask for.
func (s *stage) tasks(n int) {
	c := &messages.Commit{FirstVersion: uint64(n + 1), Changes: []*messages.Change{change(s.t, s.at, s.events[n:]...)}}
	tasks, err := book(s.t).Tasks(journey, holdfast.Ref{Type: "journey", ID: "j/1"}, c)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, task := range tasks {
		fmt.Fprintln(&s.out, s.task(task))
	}
}

func (s *stage) task(task Task) string {
	text := ""
	switch k := task.(type) {
	case Timer:
		text = fmt.Sprintf("timer at %v", s.since(k.At.UnixNano()))
	case Cancel:
		text = "cancel"
	case Listing:
		if text = "list"; k.Since.IsZero() {
			text = "do not list"
		}
	case Command:
		m := k.Delivery.Meta
		text = fmt.Sprintf("send %s{%v} to %s as %s, for %s in %s because of %s, once since %v", proto.MessageName(k.Command).Name(), k.Command, k.To, m.ID, m.User, m.CorrelationID, m.CausationID, s.since(k.Delivery.Once.UnixNano()))
		if k.Report != nil {
			r := k.Report(holdfast.Receipt{Version: 3, Events: []string{"e"}, Duplicate: true}, nil)
			text += fmt.Sprintf("\n  and report %v to %s as %s", r.Command.(*messages.SagaReport).Answer, r.To, r.Delivery.Meta.ID)
		}
	}
	if lane := task.Lane(); lane != "" {
		text += ", in the lane " + lane
	}
	return strings.ReplaceAll(text, "  ", " ") // protobuf's text form is not stable
}

// An event is told to the saga that it concerns, in its newest form.
func TestHearing(t *testing.T) {
	at := time.Unix(100, 0).UTC()
	c := &messages.Commit{FirstVersion: 7, Changes: []*messages.Change{change(t, at, &bankpb.Withdrawn{Amount: 5}, &bankpb.Deposited{Amount: 2})}}
	tasks, err := book(t).Tasks(guard, holdfast.Ref{Type: "account", ID: "a"}, c)
	if err != nil || len(tasks) != 3 {
		t.Fatalf("%v, %v", tasks, err)
	}
	for i, want := range []struct {
		id     string
		amount int64
	}{{"account/a@7", -5}, {"account/a@7#1", 1}, {"account/a@8", 2}} {
		k := tasks[i].(Command)
		h := k.Command.(*messages.SagaHear).Heard
		e := mustOpen(h.Event).(*bankpb.Deposited)
		if k.To != (holdfast.Ref{Type: "guard", ID: "g-1"}) || k.Report != nil || k.Lane() != "guard/g-1" || k.Delivery.Meta.ID != want.id ||
			k.Delivery.Meta.CorrelationID != "story" || k.Delivery.Once != at || e.Amount != want.amount || h.From.EventId != want.id || h.From.User != "ada" {
			t.Errorf("task %d: %v", i, k)
		}
	}
}

// What became of a command is told in words that can be recorded.
func TestReports(t *testing.T) {
	o := origin{book: book(t), saga: journey, ref: holdfast.Ref{Type: "journey", ID: "j"}, version: 4, change: &messages.Change{}}
	do, empty := &messages.SagaIntended{Step: "a", Way: do, Attempt: 2}, &messages.SagaIntended{Step: "a", Way: void, Attempt: 2}
	done := holdfast.Receipt{Version: 9, Events: []string{"e"}}
	again := done
	again.Duplicate = true
	for name, tt := range map[string]struct {
		in   *messages.SagaIntended
		r    holdfast.Receipt
		err  error
		want *messages.SagaAnswered
	}{
		"accepted":          {do, done, nil, &messages.SagaAnswered{Version: 9, Events: []string{"e"}}},
		"rejected":          {do, done, holdfast.Reject("no", "not %s", "\xff"), &messages.SagaAnswered{Code: "rejected", Reason: "no", Message: "not \uFFFD"}},
		"failed":            {do, done, holdfast.Errorf(holdfast.CodeUncertain, "what"), &messages.SagaAnswered{Code: "uncertain", Message: "uncertain: what"}},
		"void":              {empty, done, nil, &messages.SagaAnswered{}},
		"void but executed": {empty, again, nil, &messages.SagaAnswered{Version: 9, Events: []string{"e"}}},
	} {
		k := o.report(tt.in, tt.r, tt.err)
		got := k.Command.(*messages.SagaReport).Answer
		tt.want.Step, tt.want.Way, tt.want.Attempt = "a", tt.in.Way, 2
		if !proto.Equal(got, tt.want) || k.Delivery.Meta.ID != "journey/j@4!report" || k.To.ID != "j" {
			t.Errorf("%s: %v as %s\nwant %v", name, got, k.Delivery.Meta.ID, tt.want)
		}
	}
}

// An event of which it cannot be said which saga it concerns is kept, and passed on later.
func TestUnrouted(t *testing.T) {
	lost := true
	d := Define("finder", OnCommand(watch.begin), On("account", func(*bankpb.Deposited, Source) string {
		if lost {
			panic("which one?")
		}
		return "f-1"
	}, watch.deposited), OnTime("late", watch.late), Evolve(watch.took))
	b, err := NewBook([]holdfast.Definition{account}, d)
	if err != nil {
		t.Fatal(err)
	}
	c := &messages.Commit{FirstVersion: 7, Changes: []*messages.Change{change(t, time.Unix(100, 0), &bankpb.Deposited{Amount: 2})}}
	tasks, err := b.Tasks(d, holdfast.Ref{Type: "account", ID: "a"}, c)
	if err != nil || len(tasks) != 1 {
		t.Fatalf("%v, %v", tasks, err)
	}
	kept := tasks[0].(Command)
	if !strings.HasPrefix(kept.To.ID, "unrouted-") {
		t.Errorf("it is told to %s", kept.To)
	}
	r := newRun(t, d.Type())
	r.must(kept.Command)
	if s := r.state.(state); s.status() != Stuck || !strings.Contains(s.why(), "which one?") {
		t.Errorf("%s: %s", s.status(), s.why())
	}
	if err := r.send(&messages.SagaResume{Reason: "to see"}); err == nil || !strings.Contains(err.Error(), "which one?") {
		t.Errorf("resumed: %v", err)
	}
	lost = false
	r.must(&messages.SagaResume{Reason: "mended"})
	if s := r.state.(state); s.status() != Completed {
		t.Errorf("%s: %s", s.status(), s.why())
	}
	c = &messages.Commit{FirstVersion: 1, Changes: []*messages.Change{change(t, time.Unix(200, 0), r.events...)}}
	tasks, err = b.Tasks(d, kept.To, c)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, task := range tasks {
		if k, ok := task.(Command); ok && k.To.ID == "f-1" && k.Delivery.Meta.ID == "account/a@7" {
			passed++
		}
	}
	if passed != 1 {
		t.Errorf("it is passed on %d times: %v", passed, tasks)
	}
}

// Each pause has a timer of its own: one that was taken for another would be a wake that the
// saga has had, and nothing would be tried any more. The attempts to make a command void are
// counted anew when it is another command.
func TestTimersOfPauses(t *testing.T) {
	pause := func(again time.Duration) *messages.SagaAnswered {
		return &messages.SagaAnswered{Step: "a", Way: void, Attempt: 1, Code: "uncertain", Again: int64(again)}
	}
	c := &messages.Commit{FirstVersion: 1, Changes: []*messages.Change{change(t, time.Unix(1, 0), pause(time.Second), pause(time.Minute))}}
	tasks, err := book(t).Tasks(journey, holdfast.Ref{Type: "journey", ID: "j-1"}, c)
	if err != nil {
		t.Fatal(err)
	}
	first, second := tasks[0].(Timer), tasks[1].(Timer)
	if first.Key == second.Key || first.Command().Delivery.Meta.ID == second.Command().Delivery.Meta.ID {
		t.Errorf("both are %q", first.Key)
	}
}
