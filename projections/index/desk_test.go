package index_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/index"
)

// patient is how long anything may take on a machine that is busy.
const patient = time.Minute

// desked gives the index a desk, on a server whose messages have so many bytes at the most.
func (x *indexed) desked(source index.Source, most int32) (*nats.Conn, *index.Desk) {
	x.t.Helper()
	server, err := natsd.Start(x.ctx(), natsd.Config{
		DataDir: x.t.TempDir(), Context: "shop", Logger: slog.New(slog.DiscardHandler), RelaxedSync: true, MaxPayload: most,
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(server.Stop)
	nc, err := server.Connect(natsd.Node)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(nc.Close)
	d, err := index.Start(index.Config{Context: "shop", Conn: nc, Source: source, Timeout: patient, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { stop(x.t, d) })
	return nc, d
}

func stop(t testing.TB, d *index.Desk) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// ask gives an answer's body, or its error behind the code.
func ask(t *testing.T, nc *nats.Conn, subject, body string, headers ...string) string {
	t.Helper()
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	reply, err := nc.RequestMsg(m, patient)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return code + " " + reply.Header.Get("Nats-Service-Error")
	}
	return string(reply.Data)
}

func TestDesk(t *testing.T) {
	t.Parallel()
	x := open(t, sqlite(t))
	c := of("c-1", "click", 0, "shop.v1.OrderPlaced", "shop.v1.Paid")
	c.User = "ada"
	x.record(0, order("o.1"), c)
	x.record(0, order("o-2"), of("c-2", "order/o=2E1@2", time.Second, "shop.v1.OrderPlaced"))
	nc, d := x.desked(x, mega)
	const one = `{"position":"0-1","id":"order/o=2E1@1","ref":"order/o=2E1","version":1,"event":"shop.v1.OrderPlaced","time":"2026-03-14T09:26:53Z",` +
		`"user":"ada","command":"shop.v1.Do","commandId":"c-1","correlationId":"story","causationId":"click"}`
	for _, c := range []struct{ subject, body, want string }{
		{"events", `{"event":"OrderPlaced","limit":1}`, `{"events":[` + one + `],"next":"1773480413000000000-0-1-0"}`},
		{"events", `{"event":"OrderPlaced","ref":"order/o=2E1","since":"2026-03-14T09:26:53Z","until":"2026-03-14T10:26:54+01:00","correlationId":"story",` +
			`"causationId":"click","commandId":"c-1","user":"ada","after":"","limit":0}`, `{"events":[` + one + `],"next":""}`},
		{"events", `{"event":"OrderPlaced","after":"1773480413000000000-0-1-0"}`, `{"events":[{"position":"0-2","id":"order/o-2@1",`},
		{"events", `{"user":"nobody"}`, `{"events":[],"next":""}`},
		{"events", " ", one},
		{"explain", `{"commandId":"c-1"}`, `{"because":"click","command":{"id":"c-1","name":"shop.v1.Do","ref":"order/o=2E1","user":"ada","correlationId":"story",` +
			`"time":"2026-03-14T09:26:53Z","events":[` + one + `,{"position":"0-1","id":"order/o=2E1@2",`},
		{"explain", `{"commandId":"c-1"}`, `,"caused":[{"id":"c-2","name":"shop.v1.Do","ref":"order/o-2",`},

		{"explain", `{"commandId":"c-3"}`, `404 the index has no event of the command "c-3"`},
		{"explain", ``, `400 body: commandId: it has 0 bytes, want 1 to 128`},
		{"explain", `{"commandId":"a b"}`, `400 body: commandId: want printable ASCII`},
		{"explain", `{"commandID":"c-1"}`, `400 body: commandID: it is unknown: there are commandId`},
		{"events", `{"user":"a","user":"b"}`, `400 body: user: it is there twice`},
		{"events", `{"since":"yesterday"}`, `400 body: since: want a time such as 2026-03-14T09:26:53Z (RFC 3339)`},
		{"events", `{"until":5}`, `400 body: until: want a time such as`},
		{"events", `{"limit":1001}`, `400 body: limit: want a whole number, 1000 at most`},
		{"events", `{"limit":-1}`, `400 body: limit: want a whole number`},
		{"events", `{"ref":"Order"}`, `400 ref: type "Order"`},
		{"events", `{"after":"x"}`, `400 after: "x" is no page's next`},
		{"events", `[]`, `400 body: want one JSON object`},
		{"events", `{} {}`, `400 body: want one JSON object`},
		{"events", "{\"user\":\"\xff\"}", `400 body: it is not valid UTF-8`},
		{"events", `{"user":"` + strings.Repeat("a", 16<<10-10) + `"}`, `413 body: it has 16385 bytes, the limit is 16384`},
		{"delete", ``, `400 subject "shop.index.delete": the verb "delete" is unknown: there are events and explain`},
	} {
		if got := ask(t, nc, "shop.index."+c.subject, c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s %.100s: %s\nwant %s", c.subject, c.body, got, c.want)
		}
	}
	for want, header := range map[string][2]string{
		"400 header Content-Type: the index reads and writes application/json only":    {messages.HeaderContentType, messages.TypeProtobuf},
		"400 header Holdfast-Expected-Version: it is for cmd requests, not for events": {messages.HeaderExpectedVersion, "1"},
	} {
		if got := ask(t, nc, "shop.index.events", "", header[0], header[1]); !strings.Contains(got, want) {
			t.Errorf("with %v: %s\nwant %s", header, got, want)
		}
	}
	stop(t, d)
	stop(t, d)
	if _, err := nc.Request("shop.index.events", nil, patient); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after its end it answers: %v", err)
	}
}

// What does not fit into a message is left to the next page, and a story is cut.
func TestDeskFits(t *testing.T) {
	t.Parallel()
	x := open(t, sqlite(t))
	x.commit(0, fill(`'order', 'order/' || n, 1, 'shop.v1.E', 'E', 'shop.v1.Do', 'c-' || n, 's', CASE WHEN n = 1 THEN '' ELSE 'c-1' END, 'ada'`, 300))
	nc, _ := x.desked(x, 16<<10)
	var page index.Page
	seen, pages := 0, 0
	for after := ""; pages == 0 || after != ""; pages++ {
		body := ask(t, nc, "shop.index.events", fmt.Sprintf(`{"limit":1000,"after":%q}`, after))
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, e := range page.Events {
			if seen++; e.Ref != fmt.Sprintf("order/%d", seen) {
				t.Fatalf("event %d is %s", seen, e.ID)
			}
		}
		after = page.Next
	}
	if seen != 300 || pages < 3 || pages > 8 {
		t.Errorf("there are %d events on %d pages", seen, pages)
	}
	if got := ask(t, nc, "shop.index.explain", `{"commandId":"c-1"}`); !strings.HasSuffix(got, `,"cut":true}`) {
		t.Errorf("a story that does not fit: %.300s", got)
	}
}

// A broken index has its requests fail, with the reason that concerns those who ask.
type broken struct{ err error }

func (b broken) Query(context.Context, func(projections.Batch) error) error { return b.err }

func TestDeskOfABrokenIndex(t *testing.T) {
	t.Parallel()
	x := open(t, sqlite(t))
	nc, _ := x.desked(broken{holdfast.Errorf(holdfast.CodeUnavailable, "the database is gone")}, mega)
	if got := ask(t, nc, "shop.index.events", ""); !strings.Contains(got, "503 the database is gone") {
		t.Errorf("events: %s", got)
	}
	if got := ask(t, nc, "shop.index.events", `{"event":"%"}`); !strings.Contains(got, "400 event") {
		t.Errorf("a query that cannot be: %s", got)
	}
	for _, c := range []index.Config{{Context: "shop", Conn: nc}, {Context: "shop", Source: x}} {
		if _, err := index.Start(c); err == nil || !strings.Contains(err.Error(), "Conn or Source is nil") {
			t.Errorf("without one of what it needs: %v", err)
		}
	}
}
