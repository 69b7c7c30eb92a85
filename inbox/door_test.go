package inbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/inbox"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// refusal is what is wrong with a command, as JetStream tells it and as a NATS service does.
type refusal struct {
	Error struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
		Reason      string `json:"reason"`
	} `json:"error"`
}

// Whatever is wrong with a command is told with its field, and nothing is stored.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve(func(c *inbox.DoorConfig) { c.MaxBody = 1000 })
	conn := w.connect(natsd.Node)
	for _, tt := range []struct {
		name, subject, body string
		header              []string
		status              int
		reason, want        string
	}{
		{"no command", "account.a", open, nil, 400, "malformed", "want <context>.inbox.<type>.<id>.<Command>"},
		{"a dot in the id", "account.a.b.OpenAccount", open, nil, 400, "malformed", "where a dot in an id is written =2E"},
		{"an odd type", "Account.a.OpenAccount", open, nil, 400, "malformed", `type "Account"`},
		{"an odd id", "account.a=61.OpenAccount", open, nil, 400, "malformed", `id "a=61"`},
		{"another type", "order.a.OpenAccount", open, nil, 404, "unknown", "type order is unknown: there are account"},
		{"another command", "account.a.Rob", open, nil, 404, "unknown", "type account knows no command Rob: there are CloseAccount, Deposit"},
		{"no body", "account.a.OpenAccount", "", nil, 400, "malformed", "body: it is empty: send {}"},
		{"no JSON", "account.a.OpenAccount", "{", nil, 400, "malformed", "body: it is not a bank.v1.OpenAccount in JSON"},
		{"an unknown field", "account.a.OpenAccount", `{"own":1}`, nil, 400, "malformed", `unknown field "own"`},
		{"no protobuf", "account.a.OpenAccount", "{", []string{"Content-Type", "application/protobuf"}, 400, "malformed", "body: it is not a protobuf"},
		{"too much", "account.a.OpenAccount", strings.Repeat(" ", 1001), nil, 413, "too_large", "body: it has 1001 bytes, the limit is 1000"},
		{"an id with a space", "account.a.OpenAccount", open, []string{"Nats-Msg-Id", "a b"}, 400, "malformed", "header Nats-Msg-Id"},
		{"a long id", "account.a.OpenAccount", open, []string{"Nats-Msg-Id", strings.Repeat(".", 43)}, 400, "malformed", "header Nats-Msg-Id: it must fit into the subject of the outcome: id: it takes 129 bytes encoded"},
		{"an expectation of JetStream's", "account.a.OpenAccount", open, []string{"Nats-Expected-Stream", "BANK_INBOX"}, 400, "malformed", "header Nats-Expected-Stream: a request may not have it"},
		{"a header of ours", "account.a.OpenAccount", open, []string{"Holdfast-Command-Id", "x"}, 400, "malformed", "header Holdfast-Command-Id: it is unknown"},
		{"a time", "account.a.OpenAccount", open, []string{"Holdfast-As-Of", "2026-03-14T09:26:53Z"}, 400, "malformed", "header Holdfast-As-Of: it is for get requests, not for inbox"},
		{"a user of two lines", "account.a.OpenAccount", open, []string{"Holdfast-User", "a\tb"}, 400, "malformed", "header Holdfast-User"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &nats.Msg{Subject: "bank.inbox." + tt.subject, Data: []byte(tt.body), Header: nats.Header{}}
			for i := 0; i < len(tt.header); i += 2 {
				m.Header.Set(tt.header[i], tt.header[i+1])
			}
			answer, err := conn.RequestMsgWithContext(within(t), m)
			if err != nil {
				t.Fatal(err)
			}
			var r refusal
			if err := json.Unmarshal(answer.Data, &r); err != nil {
				t.Fatal(err)
			}
			check(t, "status", r.Error.Code, tt.status)
			check(t, "code", r.Error.ErrCode, 50_000+tt.status)
			check(t, "reason", r.Error.Reason, tt.reason)
			if !strings.Contains(r.Error.Description, tt.want) {
				t.Errorf("it says %q, want %q", r.Error.Description, tt.want)
			}
			check(t, "header", answer.Header.Get("Nats-Service-Error-Code"), fmt.Sprint(tt.status))
			check(t, "sentence", answer.Header.Get("Nats-Service-Error"), r.Error.Description)
			_, err = w.client.PublishMsg(within(t), m)
			if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.Code != tt.status {
				t.Errorf("a JetStream publish ends with %v", err)
			}
		})
	}
	check(t, "stored", w.waiting(), 0)
}

// What stands beside a command comes to its aggregate, and the client hears its id.
func TestWhatIsAccepted(t *testing.T) {
	t.Parallel()
	dawn := time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.UTC)
	w := setup(t, func(c *inbox.Config) { c.Now = func() time.Time { return dawn } })
	w.serve(func(c *inbox.DoorConfig) { c.NewID = func() string { return "made" } })
	conn := w.connect(natsd.Node)
	body, err := proto.Marshal(&bankpb.OpenAccount{Owner: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	answer, err := conn.RequestMsgWithContext(within(t), &nats.Msg{Subject: "bank.inbox.account.=2E.OpenAccount", Data: body, Header: nats.Header{
		"Content-Type": {"application/protobuf"}, "Holdfast-Expected-Version": {"0"}, "Holdfast-User": {"Ada Lövelace"},
		"Holdfast-Correlation-Id": {"story"}, "Holdfast-Causation-Id": {"cause"}, "traceparent": {trace}, "X-Own": {"x"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "answer", strings.Replace(string(answer.Data), "true", "false", 1), // a slow server is asked again
		`{"stream":"BANK_INBOX","seq":1,"duplicate":false,"commandId":"made"}`)
	check(t, "id", answer.Header.Get("Holdfast-Command-Id"), "made")
	type sent struct {
		to holdfast.Ref
		c  holdfast.Command
		d  holdfast.Delivery
	}
	came := make(chan sent, 1)
	sender := senderFunc(func(to holdfast.Ref, c holdfast.Command, d holdfast.Delivery) { came <- sent{to, c, d} })
	w.run(func(c *inbox.RunnerConfig) { c.Sender = sender })
	s := <-came
	check(t, "to", s.to, holdfast.Ref{Type: "account", ID: "."})
	check(t, "owner", s.c.(*bankpb.OpenAccount).Owner, "Ada")
	check(t, "meta", s.d.Meta, holdfast.Meta{ID: "made", CorrelationID: "story", CausationID: "cause", User: "Ada Lövelace", Trace: trace, At: dawn})
	check(t, "once since", s.d.Once, dawn)
	check(t, "expected", *s.d.Expected, 0)
	w.outcome("made")
	w.empty()
}

// A full stream is told as overload, and when there is room again commands are accepted.
func TestFull(t *testing.T) {
	t.Parallel()
	for what, limit := range map[string]func(*inbox.Config){
		"messages": func(c *inbox.Config) { c.MaxWaiting = 2 },
		"bytes":    func(c *inbox.Config) { c.MaxBytes = 500 },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := setup(t, limit)
			w.serve()
			var api *jetstream.APIError
			for i := 0; ; i++ {
				if _, err := w.leave("account.a.OpenAccount", fmt.Sprint("c-", i), open); err != nil {
					var ok bool
					if api, ok = errors.AsType[*jetstream.APIError](err); !ok || i < 2 {
						t.Fatalf("command %d: %v", i, err)
					}
					if api.Code == 504 { // a slow server was asked again, and was full by then
						continue
					}
					break
				}
			}
			if api.Code != 429 || !strings.Contains(api.Description, "maximum "+what+" exceeded") || !strings.Contains(api.Description, "send it again later") {
				t.Errorf("it is told as %v", api)
			}
			w.run()
			w.empty()
			w.left("account.a.Deposit", "late", deposit)
			w.outcome("late")
		})
	}
}

// Without a stream, commands are not accepted, and the client hears so.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.serve(func(c *inbox.DoorConfig) { c.Timeout = 2 * time.Second })
	if err := w.client.DeleteStream(within(t), "BANK_INBOX"); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() error {
		_, err := w.leave("account.a.OpenAccount", "c", open)
		api, ok := errors.AsType[*jetstream.APIError](err)
		if ok && api.Code == 504 { // an attempt had no time left
			return err
		}
		if !ok || api.Code != 503 || !strings.Contains(api.Description, "it was not accepted: send it again") {
			t.Errorf("it is told as %v", err)
		}
		return nil
	})
}

// A publish of which nobody would hear whether it was accepted is not.
func TestNoReply(t *testing.T) {
	t.Parallel()
	w := setup(t)
	door := w.serve()
	conn := w.connect(natsd.Node)
	for _, reply := range []string{"", "bank.accepted.account.a.OpenAccount", "shop.outcome.x"} {
		if err := conn.PublishMsg(&nats.Msg{Subject: "bank.inbox.account.a.OpenAccount", Reply: reply, Data: []byte(open)}); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually(func() error {
		if s := door.Stats(); s.Ignored != 1 || s.Forbidden != 2 {
			return fmt.Errorf("stats are %+v: %w", s, errNotYet)
		}
		return nil
	})
	check(t, "stored", w.waiting(), 0)
}

// A stream that would lose commands is refused by name, and so is a wrong configuration.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	w := setup(t)
	good := inbox.Config{Context: "shop", Core: w.core, Public: w.core, Types: []holdfast.Definition{bank.Account}, Logger: slog.New(slog.DiscardHandler)}
	for want, change := range map[string]func(*inbox.Config){
		"Context: context \"Shop\"":    func(c *inbox.Config) { c.Context = "Shop" },
		"Core or Public is nil":        func(c *inbox.Config) { c.Public = nil },
		"Types is empty":               func(c *inbox.Config) { c.Types = nil },
		"MaxWaiting, MaxBytes":         func(c *inbox.Config) { c.MaxBytes = -1 },
		"Window is less than 100ms or": func(c *inbox.Config) { c.Window = 1 },
	} {
		c := good
		change(&c)
		if _, err := inbox.Open(within(t), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if _, err := w.inbox.Serve(inbox.DoorConfig{}); err == nil || !strings.Contains(err.Error(), "Conn is nil") {
		t.Errorf("a door without a connection: %v", err)
	}
	if _, err := w.inbox.Run(inbox.RunnerConfig{}); err == nil || !strings.Contains(err.Error(), "Sender or Seats is nil") {
		t.Errorf("a runner without a sender: %v", err)
	}
	for setting, made := range map[string]jetstream.StreamConfig{
		"subjects is a, but must be shop.accepted.>": {Subjects: []string{"a"}},
		"storage is memory":                          {Storage: jetstream.MemoryStorage},
		"max_age is 1h0m0s":                          {MaxAge: time.Hour},
		"discard is":                                 {Discard: jetstream.DiscardOld},
		"deny_delete is true":                        {DenyDelete: true},
		"metadata holdfast-format is missing":        {Metadata: map[string]string{"x": "y"}},
	} {
		if made.Name = "SHOP_INBOX"; made.Subjects == nil {
			made.Subjects = []string{"shop.accepted.>"}
		}
		if made.Metadata == nil {
			made.Metadata = map[string]string{"holdfast-format": "1"}
		}
		if !strings.HasPrefix(setting, "discard") {
			made.Discard = jetstream.DiscardNew
		}
		w.eventually(func() error { // the server may still be deleting the one before
			_, err := w.client.CreateStream(within(t), made)
			return err
		})
		_, err := inbox.Open(within(t), good)
		if _, ok := errors.AsType[*inbox.SettingError](err); !ok || !strings.Contains(err.Error(), "stream SHOP_INBOX: its setting "+setting) {
			t.Errorf("want %s, got %v", setting, err)
		}
		if err := w.client.DeleteStream(within(t), "SHOP_INBOX"); err != nil {
			t.Fatal(err)
		}
	}
}
