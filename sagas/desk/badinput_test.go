package desk_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

// Whatever is wrong is named.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.begin("o-1")
	w.operator = w.connectSkippingChecks()
	grace := []string{"Holdfast-User", "grace"}
	with := func(headers ...string) []string { return append(headers, grace...) }
	const list, show, resume, retry = "list", "show.checkout.o-1", "resume.checkout.o-1", "retry.checkout.o-1"
	for _, tt := range []struct {
		subject, body  string
		headers        []string
		status, wanted string
	}{
		{"nothing", ``, nil, "400", `the verb "nothing" is unknown: there are list show`},
		{"list.checkout", ``, nil, "400", "want <context>.sagas.list"},
		{"show", ``, nil, "400", "want <context>.sagas.show.<saga>.<id>"},
		{"show.checkout", ``, nil, "400", "want <context>.sagas.show.<saga>.<id>"},
		{"show.checkout.o.1", ``, nil, "400", "a dot in an id is written =2E"},
		{"show.checkout.o:1", ``, nil, "400", "must be written =3A"},
		{"show.Checkout.o-1", ``, nil, "400", `type "Checkout"`},
		{"show.checkout." + strings.Repeat("x", 129), ``, nil, "400", "id: it takes 129 bytes"},
		{"show.order.o-1", ``, nil, "404", "saga order is unknown: there are checkout, delivery, nagging"},
		{"skip.chekout.o-1", `{}`, grace, "404", "saga chekout is unknown: there are checkout"},

		{list, `[]`, nil, "400", "body: want one JSON object"},
		{list, `null`, nil, "400", "body: want one JSON object"},
		{list, `{`, nil, "400", "body: want one JSON object"},
		{list, `{} {}`, nil, "400", "body: want one JSON object, and nothing behind it"},
		{list, `{"saga"}`, nil, "400", "body: "},
		{list, `{"saga":}`, nil, "400", "body: saga: it is no JSON"},
		{list, "{\"saga\":\"\xff\"}", nil, "400", "body: it is not valid UTF-8"},
		{list, `{"sagas":"checkout"}`, nil, "400", "body: sagas: it is unknown: there are saga, status, olderThan, limit, after"},
		{list, `{"Saga":"checkout"}`, nil, "400", "body: Saga: it is unknown"},
		{list, `{"saga":"order"}`, nil, "404", "saga order is unknown: there are checkout"},
		{list, `{"saga":7}`, nil, "400", "body: saga: want a string"},
		{list, `{"saga":"checkout","saga":"checkout"}`, nil, "400", "body: saga: it is there twice"},
		{list, `{"status":"stuck"}`, nil, "400", `body: status: want a list such as ["stuck"]`},
		{list, `{"status":[7]}`, nil, "400", "body: status: want a list"},
		{list, `{"status":["Stuck"]}`, nil, "400", `body: status: "Stuck" is none of a saga that is not over: want running waiting compensating stuck`},
		{list, `{"status":["completed"]}`, nil, "400", `body: status: "completed" is none`},
		{list, `{"olderThan":"5"}`, nil, "400", "body: olderThan: want a time such as 5m"},
		{list, `{"olderThan":300}`, nil, "400", "body: olderThan: want a time"},
		{list, `{"olderThan":"-5m"}`, nil, "400", "body: olderThan: want a time"},
		{list, `{"olderThan":""}`, nil, "400", "body: olderThan: want a time"},
		{list, `{"limit":1001}`, nil, "400", "body: limit: want a whole number, 1000 at most"},
		{list, `{"limit":-1}`, nil, "400", "body: limit: want a whole number"},
		{list, `{"limit":1.5}`, nil, "400", "body: limit: want a whole number"},
		{list, `{"limit":"1"}`, nil, "400", "body: limit: want a whole number"},
		{list, `{"after":"checkout/o-1"}`, nil, "400", "body: after: want what the page before gave as next"},
		{list, `{"after":"2026-03-14T09:26:53Z checkout"}`, nil, "400", "body: after: want what the page before gave"},
		{list, ``, grace, "400", "header Holdfast-User: it is for cmd requests, not for list"},
		{list, ``, []string{"Holdfast-Stuck", "1"}, "400", "header Holdfast-Stuck: it is unknown"},
		{list, ``, []string{"Content-Type", "application/protobuf"}, "400", "header Content-Type: the desk reads and writes application/json only"},
		{list, ``, []string{"Content-Type", "text/plain"}, "400", "header Content-Type"},

		{show, `{"limit":1001}`, nil, "400", "body: limit: want a whole number, 1000 at most"},
		{show, `{"from":"1"}`, nil, "400", "body: from: want a whole number"},
		{show, `{"version":1}`, nil, "400", "body: version: it is unknown: there are from, limit"},
		{show, ``, []string{"Nats-Msg-Id", "1"}, "400", "header Nats-Msg-Id: it is for cmd requests, not for show"},

		{resume, `{` + why + `}`, nil, "400", "header Holdfast-User: it is missing: say who acts"},
		{resume, `{` + why + `}`, []string{"Holdfast-User", ""}, "400", "header Holdfast-User"},
		{resume, `{` + why + `}`, []string{"Holdfast-User", "\x7f"}, "400", "header Holdfast-User"},
		{resume, `{` + why + `}`, []string{"holdfast-user", "grace"}, "400", "it is written Holdfast-User"},
		{resume, `{` + why + `}`, with("Nats-Msg-Id", "a b"), "400", "header Nats-Msg-Id"},
		{resume, `{` + why + `}`, with("Holdfast-Expected-Version", "x"), "400", "header Holdfast-Expected-Version"},
		{resume, `{` + why + `}`, with("Holdfast-As-Of-Version", "1"), "400", "header Holdfast-As-Of-Version: it is for get requests"},
		{resume, `{` + why + `}`, with("Content-Type", "application/protobuf"), "400", "header Content-Type"},
		{resume, ``, grace, "400", "body: reason: it is missing: say why"},
		{resume, `{}`, grace, "400", "body: reason: it is missing: say why"},
		{resume, `{"reason":null}`, grace, "400", "body: reason: it is missing"},
		{resume, `{"reason":" \t"}`, grace, "400", "body: reason: it is missing"},
		{resume, `{"reason":7}`, grace, "400", "body: reason: want a string"},
		{resume, `{"reason":"` + strings.Repeat("x", 1025) + `"}`, grace, "400", "body: reason: it has 1025 bytes, the limit is 1024"},
		{resume, `{"step":"pay",` + why + `}`, grace, "400", "body: step: it is unknown: there are reason"},
		{"cancel.checkout.o-1", `{"status":"cancelled",` + why + `}`, grace, "400", "body: status: it is unknown: there are reason"},
		{retry, `{` + why + `}`, grace, "400", "body: step: it is missing"},
		{retry, `{"step":"",` + why + `}`, grace, "400", "body: step: it is missing"},
		{retry, `{"step":["pay"],` + why + `}`, grace, "400", "body: step: want a string"},
		{"edit.checkout.o-1", `{"step":"order",` + why + `}`, grace, "400", "body: command: it is missing"},
		{"edit.checkout.o-1", `{"command":{},` + why + `}`, grace, "400", "body: step: it is missing"},
		{"force.checkout.o-1", `{` + why + `}`, grace, "400", "body: status: it is missing"},
		{resume, strings.Repeat(" ", 512<<10) + "{}", grace, "413", "body: it has 524290 bytes, the limit is 524288"},
	} {
		code := map[string]string{"400": "malformed", "404": "unknown", "413": "too_large"}[tt.status]
		w.refused(tt.status, code, tt.wanted, tt.subject, tt.body, tt.headers...)
	}
	if s := w.state("checkout/o-1"); s.Status != "running" || len(w.shows("checkout/o-1", "").Timeline) != 2 {
		t.Errorf("the saga is %v", s)
	}
}

func (w *world) connectSkippingChecks() *nats.Conn {
	w.t.Helper()
	nc, err := w.server.Connect(natsd.Node, nats.SkipSubjectValidation())
	w.must(err)
	w.t.Cleanup(nc.Close)
	return nc
}

// Headers that cannot be read are refused rather than dropped with who acts.
func TestGarbledHeaders(t *testing.T) {
	t.Parallel()
	w := setup(t)
	admin, err := natsd.ReadAdmin(w.server.Config().DataDir)
	w.must(err)
	u, err := url.Parse(admin.URL)
	w.must(err)
	conn, err := net.Dial("tcp", u.Host)
	w.must(err)
	defer conn.Close()
	w.must(conn.SetDeadline(time.Now().Add(patient)))
	const header, body = "NATS/1.0\r\nHoldfast-Expected-Version 5\r\n\r\n", `{}`
	fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false,\"user\":%q,\"pass\":%q}\r\nSUB _INBOX.raw 1\r\nHPUB shop.sagas.list _INBOX.raw %d %d\r\n%s%s\r\n",
		admin.User, admin.Password, len(header), len(header)+len(body), header, body)
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		w.must(err)
		if strings.HasPrefix(line, "{") {
			if !strings.Contains(line, `"code":"malformed"`) || !strings.Contains(line, "header") {
				t.Errorf("it answers %s", line)
			}
			return
		}
	}
}

// A client has nothing to do with the desk: not even that it is there can be seen.
func TestClientsDoNotReachTheDesk(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ref := w.stuck("o-1")
	refusals := make(chan error, 16)
	client := w.dial(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	before := w.state(ref)
	for _, subject := range []string{"list", "show.checkout.o-1", "force.checkout.o-1", "cancel.checkout.o-1"} {
		m := &nats.Msg{Subject: "shop.sagas." + subject, Data: []byte(`{"status":"completed",` + why + `}`), Header: nats.Header{"Holdfast-User": {"mallory"}}}
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		go func() {
			defer cancel()
			if reply, err := client.RequestMsgWithContext(ctx, m); err == nil {
				refusals <- fmt.Errorf("%s is answered: %s", subject, reply.Data)
			}
		}()
		select {
		case err := <-refusals:
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), m.Subject) {
				t.Errorf("%s: %v", subject, err)
			}
		case <-time.After(patient):
			t.Fatalf("%s: the server says nothing", subject)
		}
		cancel()
	}
	if reply, err := client.Request("$SRV.INFO", nil, patient); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a client finds the desk: %v, %v", reply, err)
	}
	if after := w.state(ref); after.Status != "stuck" || len(before.Steps) != len(after.Steps) {
		t.Errorf("a client has changed the saga: %v", after)
	}
}

// An answer is sent to nobody who could make something else of it; a request without a reply
// subject is none.
func TestReplySubjects(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ref := w.stuck("o-1")
	for _, reply := range []string{"", "$JS.API.STREAM.DELETE.SHOP_LOG_0", "shop.log.0.checkout.o-1", "bank.sagas.force.checkout.o-1"} {
		w.must(w.operator.PublishMsg(&nats.Msg{
			Subject: "shop.sagas.force.checkout.o-1", Reply: reply, Header: nats.Header{"Holdfast-User": {"grace"}}, Data: []byte(`{"status":"completed",` + why + `}`),
		}))
	}
	w.answered("list", "") // which comes behind them
	if got := w.state(ref).Status; got != "stuck" {
		t.Errorf("a request that nobody hears the answer of was executed: the saga is %s", got)
	}
	if n := strings.Count(w.journal.String(), "an answer may not be sent to its reply subject"); n != 3 {
		t.Errorf("the log tells of %d", n)
	}
}
