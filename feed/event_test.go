package feed_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-run/holdfast"
	pb "github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/feed"
	"github.com/holdfast-run/holdfast/messages"
)

// show gives a message as text, its headers sorted, but those that JetStream needs.
func show(m *jetstream.RawStreamMsg) string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Subject)
	var lines []string
	for name := range m.Header {
		if !strings.HasPrefix(name, "Nats-") {
			lines = append(lines, name+": "+m.Header.Get(name))
		}
	}
	slices.Sort(lines)
	fmt.Fprintf(&b, "%s\n%s\n", strings.Join(lines, "\n"), m.Data[:min(len(m.Data), 200)])
	return b.String()
}

var at = time.Date(2026, 3, 14, 9, 26, 53, 589793238, time.UTC)

func (w *world) record(to holdfast.Ref, events ...*messages.Event) {
	w.t.Helper()
	w.append(to, &messages.Change{CommandId: "c-1", Command: "bank.v1.Deposit", CorrelationId: "story-%1", CausationId: "ä b", Time: at.UnixNano(), User: "ada", Events: events})
}

// The page shows an event as it is.
func TestPageShowsAnEvent(t *testing.T) {
	page, err := os.ReadFile("../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := strings.NewReplacer("shop", "bank", "purse", "account", "p=2E1", "a-1", "story-%1", "story-1", "%C3%A4%20b", "c-1").Replace(wholeEvent)
	if !strings.Contains(string(page), "```\n"+shown+"```\n") {
		t.Errorf("docs/wire.md does not show\n%s", shown)
	}
}

const wholeEvent = `shop.evt.purse.p=2E1.Deposited
Content-Type: application/json
ce-causationid: %C3%A4%20b
ce-correlationid: story-%1
ce-datacontenttype: application/json
ce-id: purse/p=2E1@1
ce-position: 0-1
ce-sequence: 00000000000000000001
ce-source: /shop/purse/p=2E1
ce-specversion: 1.0
ce-subject: purse/p=2E1
ce-time: 2026-03-14T09:26:53.589793238Z
ce-type: bank.v1.Deposited
{"amount":"7"}
`

func TestEvent(t *testing.T) {
	w := newWorld(t)
	w.record(ref("p.1"), encode(t, &pb.Deposited{Amount: 7})...)
	w.want = []string{"purse/p=2E1@1"}
	w.start(w.config())
	w.awaitEvents()
	if got := show(w.read()[0]); got != wholeEvent {
		t.Errorf("got\n%s\nwant\n%s", got, wholeEvent)
	}
}

func TestProtobuf(t *testing.T) {
	w := newWorld(t)
	w.record(ref("a"), encode(t, &pb.Deposited{Amount: 7})...)
	w.want = []string{"purse/a@1"}
	c := w.config()
	c.Protobuf = true
	w.start(c)
	w.awaitEvents()
	m := w.read()[0]
	var e pb.Deposited
	if err := proto.Unmarshal(m.Data, &e); err != nil || e.Amount != 7 || m.Header.Get("Content-Type") != messages.TypeProtobuf || m.Header.Get("ce-datacontenttype") != messages.TypeProtobuf {
		t.Errorf("got %v, %v:\n%s", &e, err, show(m))
	}
}

// TestUpcast: an event that has become several has an id for each, one that has become none
// has no message, and versions go on.
func TestUpcast(t *testing.T) {
	w := newWorld(t)
	w.record(ref("a"), encode(t, &pb.AccountOpened{Owner: "Ada"}, &pb.Withdrawn{Amount: 5}, &pb.AccountClosed{}, &pb.Deposited{Amount: 1})...)
	w.record(ref("a"), encode(t, &pb.AccountClosed{})...)
	w.record(ref("b"))
	w.want = []string{"purse/a@1", "purse/a@2.1", "purse/a@2.2", "purse/a@4"}
	w.start(w.config())
	w.awaitEvents()
	for i, m := range w.read() {
		if want := []string{"1", "2", "2", "4"}[i]; m.Subject != "shop.evt.purse.a.Deposited" || !strings.HasSuffix(m.Header.Get("ce-sequence"), "0"+want) {
			t.Errorf("message %d is\n%s", i, show(m))
		}
	}
	await(t, "the rest is noted", func() bool { return w.done() == 3 })
}

func (w *world) done() uint64 {
	w.seats.mu.Lock()
	defer w.seats.mu.Unlock()
	return w.seats.seats["feed.0"].Done
}

// A noting line notes that an answer has not come in time: then the log is read once more.
type noting struct {
	*nats.Conn
	lost atomic.Bool
}

func (l *noting) RequestMsgWithContext(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	answer, err := l.Conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		l.lost.Store(true)
	}
	return answer, err
}

// TestUnread: what cannot be shown as it should be is shown as it was recorded, with the
// reason, and holds nothing up.
func TestUnread(t *testing.T) {
	w := newWorld(t)
	raw := []byte{0x0a, 0x03, 'a', 'b', 'c'}
	huge := strings.Repeat("x", 1<<20-400)
	long := strings.Repeat("x", 2000)
	for _, tt := range []struct {
		to                                           string
		event                                        *messages.Event
		subject, typ, contentType, unread, id, shown string
	}{
		{"thing", &messages.Event{Type: "shop.v1.Made", Schema: 1, Data: raw}, "shop.evt.thing.t.Made", "shop.v1.Made", messages.TypeProtobuf, "this node has no type thing", "thing/t@1", string(raw)},
		{"purse", &messages.Event{Type: "shop.v1.Made", Schema: 1, Data: raw}, "shop.evt.purse.t.Made", "shop.v1.Made", messages.TypeProtobuf, "recorded event shop.v1.Made", "purse/t@1", string(raw)},
		{"purse", &messages.Event{Type: "bank.v1.Deposited", Schema: 1, Data: []byte{0xff}}, "shop.evt.purse.t.Deposited", "bank.v1.Deposited", messages.TypeProtobuf, "cannot be decoded", "purse/t@2", "\xff"},
		{"purse", &messages.Event{Type: "bank.v1.Deposited", Schema: 2, Data: raw}, "shop.evt.purse.t.Deposited", "bank.v1.Deposited", messages.TypeUnread, "schema 2", "purse/t@3", string(raw)},
		{"purse", &messages.Event{Type: "bank.v1.Deposited", Schema: 1, Data: raw, KeyId: "k"}, "shop.evt.purse.t.Deposited", "bank.v1.Deposited", messages.TypeUnread, `the key "k"`, "purse/t@4", string(raw)},
		{"purse", encode(t, &pb.AccountOpened{Owner: "boom"})[0], "shop.evt.purse.t.AccountOpened", "bank.v1.AccountOpened", messages.TypeProtobuf, "panicked: boom", "purse/t@5", "\n\x04boom"},
		{"purse", encode(t, &pb.Withdrawn{Amount: 1000 + feed.MaxParts})[0], "shop.evt.purse.t.Withdrawn", "bank.v1.Withdrawn", messages.TypeProtobuf, "make 402 messages", "purse/t@6", "\x08\xf8\x0a"},
		{"purse", &messages.Event{Type: "shop.v1.Made", Schema: 1, Data: []byte(huge)}, "shop.evt.purse.t.Made", "shop.v1.Made", messages.TypeUnread, "; it takes 10", "purse/t@7", ""},
		{"purse", &messages.Event{Type: "not-a.name-at.all*", Schema: 1, Data: raw}, "shop.evt.purse.t.Unread", "holdfast.v1.Unread", messages.TypeProtobuf, "not-a.name-at.all*", "purse/t@8", string(raw)},
		{"purse", &messages.Event{Type: long + ".Made", Schema: 1, Data: raw}, "shop.evt.purse.t.Unread", "holdfast.v1.Unread", messages.TypeProtobuf, "xxx", "purse/t@9", string(raw)},
		{"purse", &messages.Event{Type: "x.a\r\nNats-Rollup: all", Schema: 1, Data: raw}, "shop.evt.purse.t.Unread", "holdfast.v1.Unread", messages.TypeProtobuf, "Nats-Rollup", "purse/t@10", string(raw)},
	} {
		w.record(holdfast.Ref{Type: tt.to, ID: "t"}, tt.event)
		w.want = append(w.want, tt.id)
		defer func() {
			m := w.read()[slices.Index(w.want, tt.id)]
			got := []string{m.Subject, m.Header.Get("ce-type"), m.Header.Get("Content-Type"), m.Header.Get("ce-id"), string(m.Data)}
			if want := []string{tt.subject, tt.typ, tt.contentType, tt.id, tt.shown}; !slices.Equal(got, want) || !strings.Contains(m.Header.Get("Holdfast-Unread"), tt.unread) {
				t.Errorf("%s is\n%s\nwant %q, and unread for %q", tt.id, show(m), want, tt.unread)
			}
			if m.Header.Get("Nats-Rollup") != "" {
				t.Error("an event's name has become a header")
			}
		}()
	}
	l := &noting{Conn: w.conn}
	f := w.start(w.config().Over(l))
	w.deposit("t", 1)
	w.want[len(w.want)-1] = "purse/t@11"
	w.awaitEvents()
	if s := status(t, f); s.Unread < 11 || s.Unread > 11 && !l.lost.Load() {
		t.Errorf("%d events are counted as unread", s.Unread)
	}
}

// TestUnreadCommit: a commit that cannot be read has no message, and holds nothing up.
func TestUnreadCommit(t *testing.T) {
	w := newWorld(t)
	w.deposit("a", 2)
	w.store.Put(ref("b"), []byte("no commit"))
	w.deposit("c", 2)
	l := &noting{Conn: w.conn}
	f := w.start(w.config().Over(l))
	w.awaitEvents()
	await(t, "all is well", func() bool { return status(t, f).Err == nil })
	if s := status(t, f); s.Unread < 1 || s.Unread > 1 && !l.lost.Load() || s.Done != holdfast.NewPosition(0, 3) {
		t.Errorf("the status is %+v", s)
	}
}

// TestLargest: an event that just fits is shown.
func TestLargest(t *testing.T) {
	w := newWorld(t)
	for n := 1<<20 - 1300; n < 1<<20-200; n += 100 {
		e := &pb.Deposited{Amount: 1}
		e.ProtoReflect().SetUnknown(append([]byte{0x7a, 0x80 | byte(n&0x7f), 0x80 | byte(n>>7&0x7f), byte(n >> 14)}, make([]byte, n)...))
		w.record(ref("a"), encode(t, e)...)
		w.want = append(w.want, fmt.Sprintf("purse/a@%d", len(w.want)+1))
	}
	c := w.config()
	c.Protobuf = true
	w.start(c)
	w.awaitEvents()
	var whole int
	for i, m := range w.read() {
		if m.Header.Get(messages.HeaderUnread) == "" {
			whole++
		} else if i == 0 || len(m.Data) > 0 {
			t.Errorf("event %d is not shown as it should be: %s", i, m.Header.Get(messages.HeaderUnread))
		}
	}
	if whole == len(w.want) {
		t.Error("all of them fit: the test does not reach the limit")
	}
}
