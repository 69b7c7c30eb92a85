package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

var (
	ada  = holdfast.Ref{Type: "account", ID: "a-1"}
	ada2 = holdfast.Ref{Type: "account", ID: "a-2"}
)

// at is a change that happened some minutes after dawn.
func at(minutes int, c holdfast.Command, events ...holdfast.Event) *messages.Change {
	id := fmt.Sprintf("c-%d", minutes)
	return change(c, holdfast.Meta{ID: id, CorrelationID: "s-1", CausationID: "c-0", User: "Ada", At: dawn.Add(time.Duration(minutes) * time.Minute)}, events...)
}

// story records seven events in three commits, the second of which holds two commands
// and one that changed nothing, and lets it be an hour later.
func (w *world) story(t *testing.T) {
	t.Helper()
	deposit := func(n int64) holdfast.Event { return &bankpb.Deposited{Amount: n} }
	w.record(t, ada, at(1, &bankpb.OpenAccount{}, &bankpb.AccountOpened{Owner: "Ada"}))
	w.record(t, ada,
		at(2, &bankpb.Deposit{}, deposit(10), deposit(20)),
		at(3, &bankpb.Deposit{}),
		at(4, &bankpb.Deposit{}, deposit(40), deposit(80)))
	w.record(t, ada, at(5, &bankpb.Deposit{}, deposit(160), deposit(320)))
	w.clock.set(dawn.Add(time.Hour))
}

func TestGetNow(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.record(t, ada, at(1, &bankpb.CloseAccount{}, &bankpb.AccountClosed{}))
	for _, body := range []string{"", " {} "} {
		reply := w.accepted(t, "bank.get.account.a-1", body)
		check(t, "body", string(reply.Data), `{"ref":"account/a-1","version":1,"position":"0-1","time":"2026-03-14T09:27:53.589793238Z","state":{"owner":"","balance":"0","open":false}}`)
		check(t, "headers", fmt.Sprint(reply.Header), "map[Holdfast-Position:[0-1] Holdfast-Version:[1]]")
	}
	reply := w.accepted(t, "bank.get.account.a-1", "", "Content-Type", "application/protobuf")
	var got messages.GetReply
	if err := proto.Unmarshal(reply.Data, &got); err != nil {
		t.Fatal(err)
	}
	want := &messages.GetReply{Ref: "account/a-1", Version: 1, Position: "0-1", Time: dawn.Add(time.Minute).UnixNano(), StateType: "bank.v1.Account"}
	if !proto.Equal(&got, want) {
		t.Errorf("got %v, want %v", &got, want)
	}
}

func TestGetThePast(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.story(t)
	const byVersion, byTime = "Holdfast-As-Of-Version", "Holdfast-As-Of"
	minute := func(n int, more time.Duration) string {
		return dawn.Add(time.Duration(n)*time.Minute + more).Format(time.RFC3339Nano)
	}
	for _, test := range []struct {
		header, value string
		version       int
		position      string
		minute        int
		balance       int
	}{
		{byVersion, "1", 1, "0-1", 1, 0},
		{byVersion, "2", 2, "0-2", 2, 10}, // in the middle of a command's events
		{byVersion, "3", 3, "0-2", 2, 30}, // in the middle of a commit
		{byVersion, "4", 4, "0-2", 4, 70},
		{byVersion, "7", 7, "0-3", 5, 630},
		{byTime, minute(1, 0), 1, "0-1", 1, 0},
		{byTime, minute(2, -1), 1, "0-1", 1, 0},
		{byTime, minute(2, 0), 3, "0-2", 2, 30},
		{byTime, minute(4, -1), 3, "0-2", 2, 30},
		{byTime, minute(4, time.Second), 5, "0-2", 4, 150},
		{byTime, minute(60, 0), 7, "0-3", 5, 630},
		{byTime, "2026-03-14T11:30:53.589793238+02:00", 5, "0-2", 4, 150},
	} {
		reply := w.accepted(t, "bank.get.account.a-1", "", test.header, test.value)
		check(t, test.value, string(reply.Data), fmt.Sprintf(
			`{"ref":"account/a-1","version":%d,"position":%q,"time":"2026-03-14T09:%d:53.589793238Z","state":{"owner":"Ada","balance":"%d","open":false}}`,
			test.version, test.position, 26+test.minute, test.balance))
		check(t, "version", reply.Header.Get("Holdfast-Version"), fmt.Sprint(test.version))
		check(t, "position", reply.Header.Get("Holdfast-Position"), test.position)
	}
}

// refused checks the answer to a request that must not go well.
func refused(t *testing.T, reply *nats.Msg, status, sentence string) {
	t.Helper()
	check(t, "status", reply.Header.Get("Nats-Service-Error-Code"), status)
	if got := reply.Header.Get("Nats-Service-Error"); !strings.Contains(got, sentence) || sentence == "" {
		t.Errorf("sentence:\n got %s\nwant %s", got, sentence)
	}
	if body := string(reply.Data); !strings.HasPrefix(body, `{"error":{"code":"`) || !strings.Contains(body, `"message":"`) {
		t.Errorf("body: %s", body)
	}
}

func TestGetRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.story(t)
	w.record(t, holdfast.Ref{Type: "plain", ID: "p-1"}, at(1, &bankpb.CloseAccount{}, &bankpb.AccountClosed{}))
	w.record(t, holdfast.Ref{Type: "account", ID: "void"}, at(1, &bankpb.Deposit{}))
	const byVersion, byTime = "Holdfast-As-Of-Version", "Holdfast-As-Of"
	for _, test := range []struct {
		subject, header, value string
		status, sentence       string
	}{
		{"account.nobody", "", "", "404", "account/nobody: nothing has happened"},
		{"account.nobody", byVersion, "1", "404", "account/nobody: nothing has happened"},
		{"account.nobody", byTime, "2026-03-14T09:00:00Z", "404", "account/nobody: nothing has happened"},
		{"account.void", byVersion, "1", "404", "it is at version 0"},
		{"account.void", byTime, "2026-03-14T10:00:00Z", "404", "nothing had happened yet"},
		{"account.a-1", byVersion, "0", "404", "at version 0 nothing has happened yet"},
		{"account.a-1", byVersion, "8", "404", "no version 8 yet, it is at version 7"},
		{"account.a-1", byVersion, "18446744073709551615", "404", "it is at version 7"},
		{"account.a-1", byTime, "2026-03-14T09:27:53Z", "404", "nothing had happened yet at 2026-03-14T09:27:53Z"},
		{"account.a-1", byTime, "1700-01-01T00:00:00Z", "404", "nothing had happened yet"},
		{"account.a-1", byTime, "2026-03-14T10:26:53.589793239Z", "400", "Holdfast-As-Of: 2026-03-14T10:26:53.589793239Z is in the future"},
		{"account.a-1", byTime, "2261-12-31T23:59:59Z", "400", "is in the future"},
		{"plain.p-1", "", "", "404", "nothing has happened"},
		{"plain.p-1", byVersion, "1", "404", "type plain has no state to show"},
	} {
		var headers []string
		if test.header != "" {
			headers = []string{test.header, test.value}
		}
		t.Run(test.subject+" "+test.value, func(t *testing.T) {
			refused(t, w.ask(t, "bank.get."+test.subject, "", headers...), test.status, test.sentence)
		})
	}
}

func TestGetThePastOfADamagedAggregate(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.story(t)
	w.record(t, ada, at(6, &bankpb.Deposit{}, &bankpb.Deposited{Amount: poison}))
	refused(t, w.ask(t, "bank.get.account.a-1", "", "Holdfast-As-Of-Version", "8"), "500", "internal error")
	if log := w.journal.String(); !strings.Contains(log, "an amount that nobody thought of") {
		t.Errorf("the log does not tell the panic: %s", log)
	}
	unread := at(7, &bankpb.Deposit{}, &bankpb.Deposited{})
	unread.Events[0].Type = "bank.v9.Invented"
	w.record(t, ada, unread)
	refused(t, w.ask(t, "bank.get.account.a-1", "", "Holdfast-As-Of-Version", "9"), "500", "internal error")

	w.record(t, ada2, unread)
	refused(t, w.ask(t, "bank.get.account.a-2", "", "Holdfast-As-Of-Version", "1"), "500", "neither Evolve nor Upcast for the recorded event bank.v9.Invented")
	w.ledger.store.Put(ada2, []byte("rubbish"))
	reply := w.ask(t, "bank.get.account.a-2", "", "Holdfast-As-Of-Version", "1")
	refused(t, reply, "500", "commit at 0-")
	check(t, "code", strings.HasPrefix(string(reply.Data), `{"error":{"code":"corrupt"`), true)
	w.accepted(t, "bank.get.account.a-1", "", "Holdfast-As-Of-Version", "7")
}

func TestGetTooLarge(t *testing.T) {
	t.Parallel()
	w := setupOn(t, natsd.Config{MaxPayload: 4096})
	w.record(t, ada, at(1, &bankpb.OpenAccount{}, &bankpb.AccountOpened{Owner: strings.Repeat("x", 3000)}))
	refused(t, w.ask(t, "bank.get.account.a-1", ""), "413", "the state at version 1 takes 31")
	w.record(t, ada, at(1, &bankpb.OpenAccount{}, &bankpb.AccountOpened{Owner: strings.Repeat("x", 2500)}))
	w.accepted(t, "bank.get.account.a-1", "")
}

func TestGetWhenTheTimeIsUp(t *testing.T) {
	t.Parallel()
	w := setup(t, timeout(20*time.Millisecond))
	w.ledger.setHook(func(ctx context.Context, _ holdfast.Ref, _ holdfast.Command, _ holdfast.Delivery) error {
		<-ctx.Done()
		return ctx.Err()
	})
	refused(t, w.ask(t, "bank.get.account.a-1", ""), "503", "the request was broken off")
	reply := w.ask(t, "bank.cmd.account.a-1.Deposit", `{"amount":1}`, "Nats-Msg-Id", "c-1")
	refused(t, reply, "504", "send it again with the header Nats-Msg-Id: c-1 to settle it")
	// A bug that shows late is a bug all the same, and is logged.
	w.ledger.setHook(func(ctx context.Context, _ holdfast.Ref, _ holdfast.Command, _ holdfast.Delivery) error {
		<-ctx.Done()
		return holdfast.Errorf(holdfast.CodeInternal, "a late bug")
	})
	refused(t, w.ask(t, "bank.cmd.account.a-1.Deposit", `{"amount":1}`), "500", "internal error")
	if !strings.Contains(w.journal.String(), "a late bug") {
		t.Error("the log does not tell the bug")
	}
}
