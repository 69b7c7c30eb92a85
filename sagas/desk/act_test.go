package desk_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/shop/shoppb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

const why = `"reason":"the customer has called"`

// Each action has its effect, and stands in the saga's history with who did it, and why.
func TestActions(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, tt := range []struct {
		verb, body string
		prepare    func(id string) string
		status     string // afterwards
		then       func(ref string) string
		want       string
	}{
		{"retry", `{"step":"confirm",` + why + `}`, w.stuck, "running", w.sends("confirm"), "attempt 21 of ConfirmOrder to order/retry"},
		{"skip", `{"step":"confirm",` + why + `}`, w.stuck, "completed", w.reason, ""},
		{"edit", `{"step":"confirm","command":{},"to":"order/o-2",` + why + `}`, w.stuck, "running", w.sends("void confirm"), "attempt 1 of  to order/edit"},
		{"resume", `{` + why + `}`, w.stuck, "running", w.sends("confirm"), "attempt 21 of ConfirmOrder to order/resume"},
		{"cancel", `{` + why + `}`, w.paid, "compensating", w.sends("void reserve"), "attempt 1 of  to stock/tea"},
		{"force", `{"status":"cancelled",` + why + `}`, w.stuck, "cancelled", w.reason, "the customer has called"},
	} {
		t.Run(tt.verb, func(t *testing.T) {
			ref := tt.prepare(tt.verb)
			w.pass(time.Second)
			got := w.answered(tt.verb+".checkout."+tt.verb, tt.body, "Holdfast-User", "grace", "Nats-Msg-Id", "op-"+tt.verb)
			for _, want := range []string{`"ref":"` + ref + `"`, `"holdfast.v1.SagaActed"`, `"duplicate":false`, `"status":"` + tt.status + `"`} {
				if !strings.Contains(got, want) {
					t.Errorf("the answer is %s, without %s", got, want)
				}
			}
			if got := tt.then(ref); got != tt.want {
				t.Errorf("then there is %q, want %q", got, tt.want)
			}
			a := w.acted(ref)
			if a.user != "grace" || a.id != "op-"+tt.verb || !a.at.Equal(w.now()) || a.data.Action != tt.verb || a.data.Reason != "the customer has called" {
				t.Errorf("the history has %+v", a)
			}
			again := w.answered(tt.verb+".checkout."+tt.verb, tt.body, "Holdfast-User", "grace", "Nats-Msg-Id", "op-"+tt.verb)
			if want := strings.Replace(got, `"duplicate":false`, `"duplicate":true`, 1); again != want {
				t.Errorf("sent again it answers %s\nwant %s", again, want)
			}
		})
	}
}

// sends tells what a step sends.
func (w *world) sends(step string) func(ref string) string {
	return func(ref string) string {
		r, _ := w.errand(ref, step)
		return fmt.Sprintf("attempt %d of %s to %s", r.GetAttempt(), r.GetCommand().MessageName().Name(), r.GetTo())
	}
}

func (w *world) reason(ref string) string { return w.state(ref).Reason }

// An act is an operator's action as it stands in the history.
type act struct {
	kind, user, id string
	at             time.Time
	data           *messages.SagaActed
}

// acted gives the last action in a saga's history.
func (w *world) acted(ref string) (a act) {
	w.t.Helper()
	of, err := holdfast.ParseRef(ref)
	w.must(err)
	for c, err := range w.store.Backwards(within(w.t), of, 0) {
		w.must(err)
		for _, ch := range c.Changes {
			for _, e := range ch.Events {
				event, err := persistence.DecodeEvent(w.config.Book.Saga(of.Type).Type(), e)
				w.must(err)
				if data, ok := event.(*messages.SagaActed); ok {
					a = act{ch.Command, ch.User, ch.CommandId, time.Unix(0, ch.Time), data}
				}
			}
		}
		if a.data != nil {
			return a
		}
	}
	w.t.Fatalf("nobody has acted on %s", ref)
	return a
}

// What a saga does not let itself be told is answered with its reason.
func TestRejections(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.begin("begun")
	w.shipped("shipped")
	w.stuck("stuck")
	w.parked("parked")
	w.paid("turned")
	w.answered("cancel.checkout.turned", `{`+why+`}`, "Holdfast-User", "grace")
	w.stuck("over")
	w.answered("force.checkout.over", `{"status":"completed",`+why+`}`, "Holdfast-User", "grace")
	w.send("delivery/d-1", account("ada"), "")
	w.accept("delivery/d-1", "send")
	w.send("nagging/n-1", account("ada"), "")

	for _, tt := range []struct{ subject, body, status, code, sentence string }{
		{"retry.checkout.none", `{"step":"pay",` + why + `}`, "422", "not_begun", "there is no such saga"},
		{"edit.checkout.none", `{"step":"pay","command":{},` + why + `}`, "422", "not_begun", "there is no such saga"},
		{"resume.checkout.over", `{` + why + `}`, "422", "over", "it is completed"},
		{"retry.checkout.begun", `{"step":"payy",` + why + `}`, "422", "no_such_step", "it has order, pay, reserve, ship, confirm, take-out, notify"},
		{"edit.checkout.begun", `{"step":"payy","command":{},` + why + `}`, "422", "no_such_step", "it has order, pay"},
		{"skip.checkout.begun", `{` + why + `}`, "422", "no_such_step", `no step ""`},
		{"retry.checkout.begun", `{"step":"order",` + why + `}`, "422", "under_way", "wait for its answer"},
		{"skip.checkout.begun", `{"step":"order",` + why + `}`, "422", "under_way", "wait for its answer"},
		{"edit.checkout.begun", `{"step":"order","command":{},` + why + `}`, "422", "under_way", "wait for its answer"},
		{"retry.checkout.begun", `{"step":"pay",` + why + `}`, "422", "not_open", "has not begun"},
		{"edit.checkout.begun", `{"step":"pay","command":{},` + why + `}`, "422", "not_open", "has not begun"},
		{"skip.checkout.shipped", `{"step":"pay",` + why + `}`, "422", "not_open", "needs nothing more"},
		{"retry.delivery.d-1", `{"step":"send",` + why + `}`, "422", "waiting", "waits for an event"},
		{"edit.delivery.d-1", `{"step":"send","command":{},` + why + `}`, "422", "waiting", "waits for an event"},
		{"resume.checkout.begun", `{` + why + `}`, "422", "not_stuck", "the saga is running"},
		{"resume.checkout.parked", `{` + why + `}`, "422", "still_failing", ""},
		{"cancel.checkout.parked", `{` + why + `}`, "422", "parked", "resume the saga, or skip that"},
		{"cancel.checkout.shipped", `{` + why + `}`, "422", "past_pivot", `"ship" has begun`},
		{"cancel.checkout.turned", `{` + why + `}`, "422", "turned_back", "undone already"},
		{"force.checkout.stuck", `{"status":"stuck",` + why + `}`, "422", "no_such_status", "completed, compensated or cancelled"},
	} {
		w.refused(tt.status, tt.code, tt.sentence, tt.subject, tt.body, "Holdfast-User", "grace")
	}
	w.refused("409", "conflict", "is at version", "resume.checkout.stuck", `{`+why+`}`, "Holdfast-User", "grace", "Holdfast-Expected-Version", "3")
	w.answered("resume.checkout.stuck", `{`+why+`}`, "Holdfast-User", "grace", "Nats-Msg-Id", "once")
	w.refused("400", "malformed", "", "retry.checkout.stuck", `{"step":"confirm",`+why+`}`, "Holdfast-User", "grace", "Nats-Msg-Id", "once")
}

// What is parked first can be left out, and a saga that acts on no step is cancelled.
func TestActionsOfOthers(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ref := w.parked("o-1")
	got := w.answered("skip.checkout.o-1", `{`+why+`}`, "Holdfast-User", "grace")
	if !strings.Contains(got, `"status":"running"`) || len(w.state(ref).Parked) > 0 {
		t.Errorf("it answers %s, and the saga is %v", got, w.state(ref))
	}
	w.send("nagging/n-1", account("ada"), "")
	got = w.answered("cancel.nagging.n-1", `{`+why+`}`, "Holdfast-User", "grace")
	if s := w.state("nagging/n-1"); !strings.Contains(got, `"status":"running"`) || s.Closing != "cancelled" {
		t.Errorf("it answers %s, and the saga is %v", got, s)
	}
}

// What is put in the place of a step's command is of its type, and of that alone.
func TestEdit(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ref := w.shipped("o.1")
	w.exhaust(ref, "notify")
	edit := func(body string) string { return `{"step":"notify",` + why + `,` + body + `}` }
	for body, sentence := range map[string]string{
		`"command":{"too":"ada"}`:               `body: command: it is not a shop.v1.Notify in JSON: (line 1:2): unknown field "too"`,
		`"command":{"to":5}`:                    "body: command: it is not a shop.v1.Notify in JSON: (line 1:7): invalid value for string field to",
		`"command":[]`:                          "body: command: it is not a shop.v1.Notify in JSON",
		`"command":null`:                        "body: command: it is missing",
		`"to":"mail/o-1"`:                       "body: command: it is missing",
		`"command":{},"to":"mail"`:              "body: to: ref",
		`"command":{},"to":"mail/o.1"`:          "body: to: id",
		`"command":{},"to":"stock/tea"`:         "body: to: the type stock takes no shop.v1.Notify: there are mail that do",
		`"command":{},"to":7`:                   "body: to: want a string",
		`"command":{"to":"a"},"command":{}`:     "body: command: it is there twice",
		`"command":{"to":"a"},"status":"stuck"`: "body: status: it is unknown: there are reason, step, command, to",
	} {
		w.refused("400", "malformed", sentence, "edit.checkout.o=2E1", edit(body), "Holdfast-User", "grace")
	}
	w.answered("edit.checkout.o=2E1", edit(`"command":{"to":"ada","text":"it is on its way"},"to":"mail/ada=2E1"`), "Holdfast-User", "grace")
	w.report(ref, "void notify", &messages.SagaAnswered{}) // it will not be executed any more
	r, _ := w.errand(ref, "notify")
	sent, err := r.Command.UnmarshalNew()
	w.must(err)
	if mail := sent.(*pb.Notify); r.To != "mail/ada=2E1" || mail.To != "ada" || mail.Text != "it is on its way" {
		t.Errorf("it sends %v to %s", mail, r.To)
	}
}
