package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/gateway"
)

type badInput struct {
	name          string
	subject, body string
	headers       []string
	status        string
	sentence      string
}

const deposit = "bank.cmd.account.a-1.Deposit"

var (
	asProtobuf = []string{"Content-Type", "application/protobuf"}

	badBodies = []badInput{
		{"not JSON", deposit, `amount: 1`, nil, "400", "body: it is not a bank.v1.Deposit in JSON (protobuf needs the header Content-Type: application/protobuf): syntax error (line 1:1)"},
		{"cut JSON", deposit, `{"amount": 1`, nil, "400", "unexpected"},
		{"more than JSON", deposit, `{"amount": 1} {}`, nil, "400", "unexpected token"},
		{"JSON null", deposit, `null`, nil, "400", "unexpected token null"},
		{"JSON of another message", deposit, `{"owner":"Ada"}`, nil, "400", `unknown field "owner"`},
		{"unknown field", deposit, `{"amount":1,"currency":"EUR"}`, nil, "400", `unknown field "currency"`},
		{"field twice", deposit, `{"amount":1,"amount":2}`, nil, "400", `duplicate field "amount"`},
		{"wrong kind", deposit, `{"amount":true}`, nil, "400", "field amount"},
		{"object for a number", deposit, `{"amount":{}}`, nil, "400", "field amount"},
		{"number out of range", deposit, `{"amount":9223372036854775808}`, nil, "400", "field amount"},
		{"fraction", deposit, `{"amount":0.5}`, nil, "400", "field amount"},
		{"not UTF-8", "bank.cmd.account.a-1.OpenAccount", "{\"owner\":\"\xff\"}", nil, "400", "invalid UTF-8"},
		{"empty body", deposit, ``, nil, "400", "body: it is empty: send {} for a bank.v1.Deposit without values"},
		{"blank body", deposit, " \n", nil, "400", "body: it is empty"},
		{"field for a message without", "bank.cmd.account.a-1.CloseAccount", `{"why":1}`, nil, "400", `unknown field "why"`},
		{"truncated protobuf", deposit, "\x08", asProtobuf, "400", "body: it is not a protobuf bank.v1.Deposit"},
		{"protobuf of another message", deposit, "\x0a\x03Ada", asProtobuf, "400", "a bank.v1.Deposit has no field number 1"},
		{"unknown protobuf field", deposit, "\x08\x01\x98\x06\x01", asProtobuf, "400", "a bank.v1.Deposit has no field number 99"},
		{"JSON as protobuf", deposit, `{"amount":1}`, asProtobuf, "400", "body: it is not a protobuf bank.v1.Deposit"},
		{"body over the limit", deposit, `{"amount":` + strings.Repeat(" ", 2000) + `1}`, nil, "413", "body: it has 2012 bytes, the limit is 2000"},
		{"body of a get", "bank.get.account.a-1", `{"version":3}`, nil, "400", "body: a get has none"},
		{"protobuf body of a get", "bank.get.account.a-1", `{}`, asProtobuf, "400", "body: a get has none"},
		{"history: truncated protobuf", "bank.history.account.a-1", "\x08", asProtobuf, "400", "body: it is not a protobuf holdfast.v1.HistoryRequest"},
		{"history: unknown protobuf field", "bank.history.account.a-1", "\x98\x06\x01", asProtobuf, "400", "has no field number 99"},
	}

	badSubjects = []badInput{
		{"unknown type", "bank.cmd.acount.a-1.Deposit", `{}`, nil, "404", "type acount is unknown: there are account, plain"},
		{"unknown command", "bank.cmd.account.a-1.Deposited", `{}`, nil, "404", "type account knows no command Deposited: there are CloseAccount, Deposit, Int32Value, OpenAccount, Withdraw"},
		{"unknown type of a get", "bank.get.acount.a-1", ``, nil, "404", "type acount is unknown"},
		{"unknown type of a history", "bank.history.acount.a-1", ``, nil, "404", "type acount is unknown"},
		{"no id", "bank.cmd.account.Deposit", `{}`, nil, "400", "want <context>.cmd.<type>.<id>.<Command>"},
		{"no id in a get", "bank.get.account", ``, nil, "400", "want <context>.get.<type>.<id>"},
		{"nothing but a token", "bank.history.x", ``, nil, "400", "want <context>.history.<type>.<id>"},
		{"id too long", "bank.get.account." + strings.Repeat("x", 129), ``, nil, "400", "id: it takes 129 bytes encoded, the limit is 128"},
		{"id with a dot", "bank.cmd.account.a.1.Deposit", `{}`, nil, "400", "a dot in an id is written =2E"},
		{"id with dots in a get", "bank.get.account.a.1.2", ``, nil, "400", "a dot in an id is written =2E"},
		{"id with a colon", "bank.get.account.a:1", ``, nil, "400", "must be written =3A"},
		{"id of odd bytes", "bank.get.account.\x01\x7f\xff", ``, nil, "400", "must be written =01"},
		{"id with an umlaut", "bank.get.account.ä", ``, nil, "400", "must be written =C3"},
		{"id with a bad escape", "bank.get.account.a=2e", ``, nil, "400", "two capital hex digits"},
		{"id with a needless escape", "bank.get.account.=41", ``, nil, "400", "stands for itself"},
		{"wildcard for an id", "bank.cmd.account.*.Deposit", `{}`, nil, "400", "must be written =2A"},
		{"wildcards at the end", "bank.get.account.>", ``, nil, "400", "must be written =3E"},
		{"type with odd letters", "bank.get.Account.a-1", ``, nil, "400", `type "Account"`},
		{"command with odd letters", "bank.cmd.account.a-1.De-posit", `{}`, nil, "400", `command "De-posit"`},
	}

	badHeaders = []badInput{
		{"expected version stale", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", "0"}, "409", "is at version 7, not at 0"},
		{"expected version to come", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", "8"}, "409", "is at version 7, not at 8"},
		{"expected version negative", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", "-1"}, "400", "header Holdfast-Expected-Version"},
		{"expected version no number", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", "seven"}, "400", "header Holdfast-Expected-Version"},
		{"expected version too large", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", "18446744073709551616"}, "400", "header Holdfast-Expected-Version"},
		{"expected version empty", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", ""}, "400", "header Holdfast-Expected-Version"},
		{"expected version twice", deposit, `{"amount":1}`, []string{"Holdfast-Expected-Version", "7", "Holdfast-Expected-Version", "7"}, "400", "given 2 times"},
		{"expected version misspelt", deposit, `{"amount":1}`, []string{"holdfast-expected-version", "0"}, "400", "it is written Holdfast-Expected-Version"},
		{"expected version of a get", "bank.get.account.a-1", ``, []string{"Holdfast-Expected-Version", "7"}, "400", "it is for cmd requests"},
		{"unknown header of ours", deposit, `{"amount":1}`, []string{"Holdfast-If-Open", "1"}, "400", "header Holdfast-If-Open: it is unknown"},
		{"content type", deposit, `{"amount":1}`, []string{"Content-Type", "text/plain"}, "400", "header Content-Type"},
		{"command id with a space", deposit, `{"amount":1}`, []string{"Nats-Msg-Id", "c 1"}, "400", "header Nats-Msg-Id"},
		{"command id too long", deposit, `{"amount":1}`, []string{"Nats-Msg-Id", strings.Repeat("c", 129)}, "400", "header Nats-Msg-Id"},
		{"correlation id", deposit, `{"amount":1}`, []string{"Holdfast-Correlation-Id", "ä"}, "400", "header Holdfast-Correlation-Id"},
		{"causation id", deposit, `{"amount":1}`, []string{"Holdfast-Causation-Id", ""}, "400", "header Holdfast-Causation-Id"},
		{"user too long", deposit, `{"amount":1}`, []string{"Holdfast-User", strings.Repeat("u", 257)}, "400", "header Holdfast-User"},
		{"trace", deposit, `{"amount":1}`, []string{"traceparent", "00-00-00-00"}, "400", "header traceparent"},
		{"spoof: rollup", deposit, `{"amount":1}`, []string{"Nats-Rollup", "all"}, "400", "header Nats-Rollup: a request may not have it"},
		{"spoof: last message id", deposit, `{"amount":1}`, []string{"Nats-Expected-Last-Msg-Id", "x"}, "400", "header Nats-Expected-Last-Msg-Id"},
		{"spoof: sequence", deposit, `{"amount":1}`, []string{"Nats-Sequence", "1"}, "400", "header Nats-Sequence"},
		{"spoof: time to live", deposit, `{"amount":1}`, []string{"nats-ttl", "1s"}, "400", "header nats-ttl"},
		{"as of in the future", "bank.get.account.a-1", ``, []string{"Holdfast-As-Of", "2026-03-14T10:26:54Z"}, "400", "is in the future"},
		{"as of before the first event", "bank.get.account.a-1", ``, []string{"Holdfast-As-Of", "2026-03-14T09:26:53Z"}, "404", "nothing had happened yet"},
		{"as of malformed", "bank.get.account.a-1", ``, []string{"Holdfast-As-Of", "yesterday"}, "400", "header Holdfast-As-Of"},
		{"as of a year that no event has", "bank.get.account.a-1", ``, []string{"Holdfast-As-Of", "0001-01-01T00:00:00Z"}, "400", "header Holdfast-As-Of"},
		{"as of a version malformed", "bank.get.account.a-1", ``, []string{"Holdfast-As-Of-Version", "1.0"}, "400", "header Holdfast-As-Of-Version"},
		{"as of twice", "bank.get.account.a-1", ``, []string{"Holdfast-As-Of", "2026-03-14T10:00:00Z", "Holdfast-As-Of-Version", "1"}, "400", "give one of them"},
		{"as of for a command", deposit, `{"amount":1}`, []string{"Holdfast-As-Of-Version", "1"}, "400", "it is for get requests"},
		{"as of for a history", "bank.history.account.a-1", ``, []string{"Holdfast-As-Of-Version", "1"}, "400", "it is for get requests"},
	}
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *gateway.Config) { c.MaxBody = 2000 })
	w.story(t)
	w.client = w.connect(t, nats.SkipSubjectValidation())
	for _, test := range append(append(append([]badInput{}, badBodies...), badSubjects...), badHeaders...) {
		t.Run(test.name, func(t *testing.T) {
			reply := w.ask(t, test.subject, test.body, test.headers...)
			if test.headers != nil && test.headers[1] == "application/protobuf" {
				check(t, "status", reply.Header.Get("Nats-Service-Error-Code"), test.status)
				if got := reply.Header.Get("Nats-Service-Error"); !strings.Contains(got, test.sentence) {
					t.Errorf("sentence:\n got %s\nwant %s", got, test.sentence)
				}
				return
			}
			refused(t, reply, test.status, test.sentence)
		})
	}
	check(t, "version", w.version(t, "a-1"), 7)
	w.underWay(t, 0)
	w.accepted(t, deposit, `{"amount":1}`)
}

// An empty token makes no subject: the server does not let it through, and says so to the
// client's library, or that nobody answers there.
func TestEmptyID(t *testing.T) {
	t.Parallel()
	w := setup(t)
	said := make(chan error, 1)
	client := w.connect(t, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err }))
	if err := client.PublishRequest("bank.cmd.account..Deposit", nats.NewInbox(), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-said:
		check(t, "a permissions violation: "+err.Error(), errors.Is(err, nats.ErrPermissionViolation), true)
	case <-time.After(patient):
		t.Fatal("the server said nothing")
	}
	_, err := w.node(t).Request("bank.cmd.account..Deposit", []byte(`{}`), patient)
	check(t, "no responders", errors.Is(err, nats.ErrNoResponders), true)
	check(t, "commands", w.ledger.calls(), 0)
}

// raw sends a command with a header block of whatever form, as no library would, and
// gives the answer.
func (w *world) raw(t *testing.T, header string) string {
	t.Helper()
	u, err := url.Parse(w.server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	const body = `{"amount":1}`
	fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"no_responders\":true,\"verbose\":false}\r\nSUB _INBOX.raw 1\r\nHPUB %s _INBOX.raw %d %d\r\n%s%s\r\n",
		deposit, len(header), len(header)+len(body), header, body)
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("no answer to the header %q: %v", header, err)
		}
		if strings.HasPrefix(line, "{") {
			return line
		}
	}
}

func TestGarbledHeaders(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, header := range []string{
		"Holdfast-Expected-Version: 5\r\n\r\n",
		"NATS/1.0\r\nHoldfast-Expected-Version: 5",
		"NATS/1.0\r\nHoldfast-Expected-Version 5\r\n\r\n",
		"NATS/9\r\nHoldfast-Expected-Version: 5\r\n\r\n",
		"NATS/1.0\r\n Holdfast-Expected-Version: 5\r\n\r\n",
		"NATS/1.0\r\nHoldfast-Expected-Version : 5\r\n\r\n",
		"NATS/1.0\r\nX: 1\r\n\tHoldfast-Expected-Version: 5\r\n\r\n",
		"NATS/1.0\r\n\x00Holdfast-Expected-Version: 5\r\n\r\n",
		"x",
	} {
		got := w.raw(t, header)
		if !strings.Contains(got, `"code":"malformed"`) || !strings.Contains(got, "header") {
			t.Errorf("header %q: %s", header, got)
		}
	}
	check(t, "version", w.version(t, "a-1"), 0)
	if got := w.raw(t, "NATS/1.0\r\nHoldfast-Expected-Version: 0\r\n\r\n"); !strings.Contains(got, `"version":1`) {
		t.Errorf("a well-formed header: %s", got)
	}
}
