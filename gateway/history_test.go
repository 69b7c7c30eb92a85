package gateway_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

type page struct {
	Ref    string
	Events []struct {
		Version   uint64
		Data      json.RawMessage
		Undecoded []byte
		KeyID     string
	}
	Next uint64
}

// versions gives a page as its versions and where the next one starts.
func (p page) versions() string {
	var b strings.Builder
	for _, e := range p.Events {
		fmt.Fprintf(&b, "%d ", e.Version)
	}
	return fmt.Sprintf("%s→ %d", b.String(), p.Next)
}

func (w *world) page(t *testing.T, body string) (p page) {
	t.Helper()
	reply := w.accepted(t, "bank.history.account.a-1", body)
	if err := json.Unmarshal(reply.Data, &p); err != nil {
		t.Fatalf("%v: %s", err, reply.Data)
	}
	return p
}

func TestHistoryInJSON(t *testing.T) {
	t.Parallel()
	w := setup(t)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	first := at(1, &bankpb.OpenAccount{}, &bankpb.AccountOpened{Owner: "<Ada & Bob>"})
	first.Trace = trace
	retired := at(2, &bankpb.Deposit{}, &wrapperspb.StringValue{Value: "as it was"})
	retired.User, retired.CausationId = "", ""
	w.record(t, ada, first, retired)

	reply := w.accepted(t, "bank.history.account.a-1", "")
	check(t, "body", string(reply.Data), `{"ref":"account/a-1","events":[`+
		`{"version":1,"id":"account/a-1@1","type":"bank.v1.AccountOpened","time":"2026-03-14T09:27:53.589793238Z","user":"Ada","command":"bank.v1.OpenAccount",`+
		`"commandId":"c-1","correlationId":"s-1","causationId":"c-0","trace":"`+trace+`","data":{"owner":"<Ada & Bob>"}},`+
		`{"version":2,"id":"account/a-1@2","type":"google.protobuf.StringValue","time":"2026-03-14T09:28:53.589793238Z","user":"","command":"bank.v1.Deposit",`+
		`"commandId":"c-2","correlationId":"s-1","causationId":"","data":"as it was"}],"next":0}`)
	check(t, "headers", len(reply.Header), 0)
}

func TestHistoryInProtobuf(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.story(t)
	body, err := proto.Marshal(&messages.HistoryRequest{From: 4, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	reply := w.accepted(t, "bank.history.account.a-1", string(body), "Content-Type", "application/protobuf")
	var got messages.HistoryReply
	if err := proto.Unmarshal(reply.Data, &got); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(&bankpb.Deposited{Amount: 40})
	if err != nil {
		t.Fatal(err)
	}
	want := &messages.HistoryReply{Ref: "account/a-1", Next: 5, Events: []*messages.HistoryEvent{{
		Version: 4, Id: "account/a-1@4", Type: "bank.v1.Deposited", Time: at(4, &bankpb.Deposit{}).Time, User: "Ada",
		Command: "bank.v1.Deposit", CommandId: "c-4", CorrelationId: "s-1", CausationId: "c-0", Data: data,
	}}}
	if !proto.Equal(&got, want) {
		t.Errorf("got %v\nwant %v", &got, want)
	}
}

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.story(t)
	for _, test := range []struct{ body, want string }{
		{"", "1 2 3 4 5 6 7 → 0"},
		{"{}", "1 2 3 4 5 6 7 → 0"},
		{`{"from":0,"limit":0}`, "1 2 3 4 5 6 7 → 0"},
		{`{"from":"3"}`, "3 4 5 6 7 → 0"},
		{`{"limit":1}`, "1 → 2"},
		{`{"from":2,"limit":1}`, "2 → 3"},
		{`{"from":2,"limit":2}`, "2 3 → 4"},
		{`{"from":3,"limit":3}`, "3 4 5 → 6"},
		{`{"from":5,"limit":2}`, "5 6 → 7"},
		{`{"from":5,"limit":3}`, "5 6 7 → 0"},
		{`{"from":7,"limit":1}`, "7 → 0"},
		{`{"limit":6}`, "1 2 3 4 5 6 → 7"},
		{`{"limit":7}`, "1 2 3 4 5 6 7 → 0"},
		{`{"limit":1000}`, "1 2 3 4 5 6 7 → 0"},
		{`{"from":8}`, "→ 0"},
		{`{"from":"18446744073709551615","limit":1000}`, "→ 0"},
	} {
		check(t, test.body, w.page(t, test.body).versions(), test.want)
	}
}

func TestHistoryRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.story(t)
	w.record(t, ada2, at(1, &bankpb.Deposit{}))
	for _, test := range []struct{ id, body, status, sentence string }{
		{"nobody", "", "404", "account/nobody: nothing has happened"},
		{"a-2", "", "404", "account/a-2: nothing has happened"},
		{"a-1", `{"limit":1001}`, "400", "limit: 1001 is too many"},
		{"a-1", `{"from":-1}`, "400", "from"},
		{"a-1", `{"form":1}`, "400", `unknown field "form"`},
		{"a-1", `[]`, "400", "body: it is not a holdfast.v1.HistoryRequest in JSON"},
	} {
		refused(t, w.ask(t, "bank.history.account."+test.id, test.body), test.status, test.sentence)
	}
	w.ledger.store.Put(ada, []byte("rubbish"))
	refused(t, w.ask(t, "bank.history.account.a-1", ""), "500", "commit at 0-")
}

func TestHistoryOfWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	w := setup(t)
	c := at(1, &bankpb.Deposit{}, &bankpb.Deposited{}, &bankpb.Deposited{}, &bankpb.Deposited{}, &bankpb.Deposited{Amount: 7})
	c.Events[0].Type = "bank.v9.Invented"
	c.Events[1].KeyId = "k-1"
	c.Events[2].Schema = 9
	c.Events[0].Data, c.Events[1].Data, c.Events[2].Data = []byte{0, 1}, []byte{0, 2}, []byte{0, 3}
	w.record(t, ada, c)
	var got []string
	for _, e := range w.page(t, "").Events {
		got = append(got, fmt.Sprintf("%s %s %s", e.Data, base64.StdEncoding.EncodeToString(e.Undecoded), e.KeyID))
	}
	check(t, "events", fmt.Sprintf("%q", got), `["null AAE= " "null AAI= k-1" "null AAM= " "{\"amount\":\"7\"}  "]`)
}

// counter is a reader that counts the commits that were read.
type counter struct {
	persistence.Reader
	commits atomic.Int32
}

func (c *counter) Backwards(ctx context.Context, ref holdfast.Ref, at holdfast.Version) iter.Seq2[persistence.Commit, error] {
	return func(yield func(persistence.Commit, error) bool) {
		for commit, err := range c.Reader.Backwards(ctx, ref, at) {
			c.commits.Add(1)
			if !yield(commit, err) {
				return
			}
		}
	}
}

func TestHistoryReadsAPageAlone(t *testing.T) {
	t.Parallel()
	reader := new(counter)
	w := setup(t, func(c *gateway.Config) { reader.Reader, c.Reader = c.Reader, reader })
	for range 50 {
		w.record(t, ada, at(1, &bankpb.Deposit{}, &bankpb.Deposited{Amount: 1}))
	}
	check(t, "page", w.page(t, `{"from":20,"limit":5}`).versions(), "20 21 22 23 24 → 25")
	check(t, "commits read", reader.commits.Load(), 6)
}

func TestHistoryOfAVersionNearTheEndOfNumbers(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.accepted(t, "bank.cmd.account.a-1.Int32Value", "1100")
	check(t, "page", w.page(t, `{"from":"18446744073709551615","limit":1000}`).versions(), "→ 0")
}

// Page after page, cut by the size of an answer, every event is shown once and in order.
func TestHistoryPageAfterPage(t *testing.T) {
	t.Parallel()
	w := setupOn(t, natsd.Config{MaxPayload: 4096})
	const last = 60
	for range last {
		w.record(t, ada, at(1, &bankpb.Deposit{}, &bankpb.Deposited{Amount: 1}))
	}
	seen := uint64(0)
	for from, pages := uint64(1), 0; from != 0; pages++ {
		body, err := proto.Marshal(&messages.HistoryRequest{From: from})
		if err != nil {
			t.Fatal(err)
		}
		var got messages.HistoryReply
		if err := proto.Unmarshal(w.accepted(t, "bank.history.account.a-1", string(body), asProtobuf...).Data, &got); err != nil {
			t.Fatal(err)
		}
		for _, e := range got.Events {
			seen++
			check(t, "version", e.Version, seen)
		}
		if from = got.Next; pages > last {
			t.Fatal("the pages do not end")
		}
	}
	check(t, "events", seen, last)

	seen = 0
	for from, pages := uint64(1), 0; from != 0; pages++ {
		p := w.page(t, fmt.Sprintf(`{"from":%d}`, from))
		for _, e := range p.Events {
			seen++
			check(t, "version", e.Version, seen)
		}
		if from = p.Next; pages > last {
			t.Fatal("the pages do not end")
		}
	}
	check(t, "events in JSON", seen, last)
}

func TestHistoryPagesThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := setupOn(t, natsd.Config{MaxPayload: 8192})
	opened := func(n int) *messages.Change {
		return at(1, &bankpb.OpenAccount{}, &bankpb.AccountOpened{Owner: strings.Repeat("x", n)})
	}
	w.record(t, ada, opened(2000), opened(2000))
	w.record(t, ada, opened(2000), opened(2000))
	for range 6 {
		w.record(t, ada, opened(2000))
	}
	check(t, "page", w.page(t, "").versions(), "1 2 → 3")
	check(t, "page", w.page(t, `{"from":2}`).versions(), "2 3 → 4")
	check(t, "page", w.page(t, `{"from":9}`).versions(), "9 10 → 0")
	check(t, "page", w.page(t, `{"from":9,"limit":1}`).versions(), "9 → 10")

	reply := w.accepted(t, "bank.history.account.a-1", "", "Content-Type", "application/protobuf")
	var got messages.HistoryReply
	if err := proto.Unmarshal(reply.Data, &got); err != nil {
		t.Fatal(err)
	}
	check(t, "page in protobuf", fmt.Sprint(len(got.Events), got.Next), "3 4")

	w.record(t, ada, opened(7000))
	w.record(t, ada, opened(100))
	check(t, "page", w.page(t, `{"from":10}`).versions(), "10 → 11")
	refused(t, w.ask(t, "bank.history.account.a-1", `{"from":11}`), "413", "go on from 12")
	check(t, "page", w.page(t, `{"from":12}`).versions(), "12 → 0")
}
