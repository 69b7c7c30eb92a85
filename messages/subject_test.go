package messages_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/messages"
)

func mustID(t testing.TB, raw string) messages.ID {
	t.Helper()
	id, err := messages.EncodeID(raw)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSubject(t *testing.T) {
	for _, tt := range []struct {
		text string
		want messages.Subject
	}{
		{"bank.log.0.account.a-1", messages.Subject{Context: "bank", Kind: messages.KindLog, Type: "account", ID: mustID(t, "a-1")}},
		{"bank.log.4294967295.account.=2A", messages.Subject{Context: "bank", Kind: messages.KindLog, Partition: 1<<32 - 1, Type: "account", ID: mustID(t, "*")}},
		{"bank.snap.account.a-1", messages.Subject{Context: "bank", Kind: messages.KindSnapshot, Type: "account", ID: mustID(t, "a-1")}},
		{"my-shop2.cmd.order_line.o=2E1.PlaceOrder", messages.Subject{Context: "my-shop2", Kind: messages.KindCommand, Type: "order_line", ID: mustID(t, "o.1"), Name: "PlaceOrder"}},
		{"bank.get.account.a-1", messages.Subject{Context: "bank", Kind: messages.KindGet, Type: "account", ID: mustID(t, "a-1")}},
		{"bank.history.account.a-1", messages.Subject{Context: "bank", Kind: messages.KindHistory, Type: "account", ID: mustID(t, "a-1")}},
		{"bank.evt.account.a-1.Deposited", messages.Subject{Context: "bank", Kind: messages.KindEvent, Type: "account", ID: mustID(t, "a-1"), Name: "Deposited"}},
		{"bank.timer.transfer.t-1.3-17", messages.Subject{Context: "bank", Kind: messages.KindTimer, Type: "transfer", ID: mustID(t, "t-1"), Key: "3-17"}},
		{"bank.due.transfer.=3E.-", messages.Subject{Context: "bank", Kind: messages.KindDue, Type: "transfer", ID: mustID(t, ">"), Key: "-"}},
		{"shop.inbox.order.o-1.PlaceOrder", messages.Subject{Context: "shop", Kind: messages.KindInbox, Type: "order", ID: mustID(t, "o-1"), Name: "PlaceOrder"}},
		{"shop.accepted.order.o-1.PlaceOrder", messages.Subject{Context: "shop", Kind: messages.KindAccepted, Type: "order", ID: mustID(t, "o-1"), Name: "PlaceOrder"}},
		{"shop.outcome.c=2F1", messages.Subject{Context: "shop", Kind: messages.KindOutcome, ID: mustID(t, "c/1")}},
	} {
		t.Run(tt.text, func(t *testing.T) {
			if got := tt.want.String(); got != tt.text {
				t.Errorf("String() = %s, want %s", got, tt.text)
			}
			if got, err := messages.ParseSubject(tt.text); err != nil || got != tt.want {
				t.Errorf("ParseSubject(%s) = %+v, %v, want %+v", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestParseSubjectRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", `subject "": want <context>.<kind>`},
		{"one token", "bank", `subject "bank": want <context>.<kind>`},
		{"another kind", "bank.ev.account.a-1", `the kind "ev" is unknown`},
		{"the kind in capitals", "bank.CMD.account.a-1.Open", `the kind "CMD" is unknown`},
		{"no context", ".get.account.a-1", `context ""`},
		{"the context in capitals", "Bank.get.account.a-1", `context "Bank"`},
		{"a context of another line", "bank\n.get.account.a-1", `context "bank\n"`},
		{"a long context", strings.Repeat("c", 33) + ".get.account.a-1", "context "},
		{"a dollar context", "$JS.get.account.a-1", `context "$JS"`},
		{"no command", "bank.cmd.account.a-1", "want <context>.cmd.<type>.<id>.<Command>"},
		{"a dot in the id", "bank.get.account.a.1", "want <context>.get.<type>.<id>, where a dot in an id is written =2E"},
		{"too much", "bank.history.account.a-1.x", "want <context>.history.<type>.<id>"},
		{"an empty command", "bank.cmd.account.a-1.", `command ""`},
		{"a command with a dash", "bank.cmd.account.a-1.Open-It", `command "Open-It"`},
		{"a command of digits", "bank.cmd.account.a-1.1", `command "1"`},
		{"a wildcard command", "bank.cmd.account.a-1.*", `command "*"`},
		{"a long command", "bank.cmd.account.a-1." + strings.Repeat("C", 129), "command "},
		{"no event", "bank.evt.account.a-1", "want <context>.evt.<type>.<id>.<Event>"},
		{"a wildcard event", "bank.evt.account.a-1.>", `event ">": want a letter`},
		{"an empty event", "bank.evt.account.a-1.", `event "": want a letter`},
		{"an empty type", "bank.get..a-1", `type ""`},
		{"a type in capitals", "bank.get.Account.a-1", `type "Account"`},
		{"a wildcard type", "bank.get.*.a-1", `type "*"`},
		{"a long type", "bank.get." + strings.Repeat("t", 65) + ".a-1", "type "},
		{"an empty id", "bank.get.account.", "id: it is empty"},
		{"a wildcard id", "bank.get.account.>", `id ">"`},
		{"DEL in the id", "bank.get.account.\x7f", `id "\x7f"`},
		{"an escape of a letter", "bank.get.account.=61", `id "=61"`},
		{"no partition", "bank.log.account.a-1", "want <context>.log.<partition>.<type>.<id>"},
		{"a partition in words", "bank.log.x.account.a-1", `the partition "x" is not a number`},
		{"a partition with zeros", "bank.log.00.account.a-1", `the partition "00" is not a number`},
		{"a partition with a sign", "bank.log.+1.account.a-1", `the partition "+1" is not a number`},
		{"no key", "bank.timer.transfer.t-1", "want <context>.timer.<type>.<id>.<key>"},
		{"an empty key", "bank.due.transfer.t-1.", `key ""`},
		{"a dot in the key", "bank.due.transfer.t-1.3.17", "want <context>.due.<type>.<id>.<key>"},
		{"a wildcard key", "bank.timer.transfer.t-1.*", `key "*"`},
		{"a key of another line", "bank.timer.transfer.t-1.a\n", `key "a\n"`},
		{"an escaped key", "bank.timer.transfer.t-1.=2E", `key "=2E"`},
		{"a long key", "bank.timer.transfer.t-1." + strings.Repeat("k", 65), "key "},
		{"a huge partition", "bank.log.4294967296.account.a-1", `the partition "4294967296" is not a number`},
		{"no command for the inbox", "shop.inbox.order.o-1", "want <context>.inbox.<type>.<id>.<Command>"},
		{"an accepted command with a dash", "shop.accepted.order.o-1.Place-It", `command "Place-It"`},
		{"an outcome of a type", "shop.outcome.order.c-1", "want <context>.outcome.<command id>"},
		{"an outcome of nothing", "shop.outcome.", "id: it is empty"},
		{"an outcome of a wildcard", "shop.outcome.*", `id "*"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := messages.ParseSubject(tt.in)
			wantError(t, err, tt.want)
		})
	}
}

func TestRef(t *testing.T) {
	typ, id, err := messages.ParseRef("account/a=2F1")
	if err != nil || typ != "account" || id.Raw() != "a/1" {
		t.Errorf("ParseRef = %q, %q, %v", typ, id.Raw(), err)
	}
	if got := messages.FormatRef(typ, id); got != "account/a=2F1" {
		t.Errorf("FormatRef = %s", got)
	}
	for _, tt := range []struct{ in, want string }{
		{"", `ref "": want <type>/<id>`},
		{"account", `ref "account": want <type>/<id>`},
		{"/a-1", `type ""`},
		{"account/", "id: it is empty"},
		{"account/a/1", `id "a/1": the byte '/' must be written =2F`},
		{"Account/a-1", `type "Account"`},
	} {
		_, _, err := messages.ParseRef(tt.in)
		wantError(t, err, tt.want)
	}
}

func TestStreamNames(t *testing.T) {
	c, err := messages.ParseContext("my-shop")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.LogStream(3); got != "MY-SHOP_LOG_3" {
		t.Errorf("LogStream(3) = %s", got)
	}
	if got := c.SnapshotStream(); got != "MY-SHOP_SNAPSHOTS" {
		t.Errorf("SnapshotStream() = %s", got)
	}
	if got := c.FeedStream() + " " + c.FeedMark(3); got != "MY-SHOP_FEED my-shop.fed.3" {
		t.Errorf("FeedStream(), FeedMark(3) = %s", got)
	}
	if got := c.TimerStream(); got != "MY-SHOP_TIMERS" {
		t.Errorf("TimerStream() = %s", got)
	}
}

// TestSubjectFits: the longest subject leaves room on a server's protocol line of
// 4,096 bytes, beyond which it closes the connection.
func TestSubjectFits(t *testing.T) {
	longest := messages.Subject{
		Context: messages.Context(strings.Repeat("c", 32)), Kind: messages.KindCommand,
		Type: strings.Repeat("t", 64), ID: mustID(t, strings.Repeat("i", 128)), Name: strings.Repeat("N", 128),
	}.String()
	if _, err := messages.ParseSubject(longest); err != nil {
		t.Fatal(err)
	}
	if len(longest) > 1024 {
		t.Errorf("the longest subject has %d bytes", len(longest))
	}
}

// FuzzSubject: what parses as a subject prints as itself, and means nothing else to a
// NATS server.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{
		"bank.log.0.account.a-1", "bank.log.01.account.a-1", "bank.snap.account.=2E", "bank.cmd.account.a-1.Deposit",
		"bank.get.account.a-1", "bank.history.account.a-1", "bank.get.account.*", "bank.get.account.>", "bank.evt.a.b.C", "..", "",
		"bank.timer.transfer.t-1.3-17", "bank.due.transfer.=2E.k",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sub, err := messages.ParseSubject(s)
		if err != nil {
			wantNamed(t, err, "subject", "context", "type", "id", "command", "event", "key")
			return
		}
		if got := sub.String(); got != s {
			t.Errorf("%q parses and prints as %q", s, got)
		}
		wantHarmless(t, s)
	})
}

// FuzzSubjectParts: what the parts' own grammars accept makes a subject that parses
// into the same parts.
func FuzzSubjectParts(f *testing.F) {
	f.Add("bank", uint8(0), uint32(7), "account", "a.1", "Deposit")
	f.Add("b", uint8(1), uint32(0), "t", "\x7f*>", "N")
	f.Add("shop-2", uint8(2), uint32(1), "order_line", "ü", "P_1")
	f.Add("shop-2", uint8(5), uint32(1), "order", "o-1", "Placed")
	kinds := []messages.Kind{messages.KindLog, messages.KindSnapshot, messages.KindCommand, messages.KindGet, messages.KindHistory, messages.KindEvent}
	f.Fuzz(func(t *testing.T, context string, kind uint8, partition uint32, typ, raw, name string) {
		c, err1 := messages.ParseContext(context)
		ty, err2 := messages.ParseType(typ)
		id, err3 := messages.EncodeID(raw)
		n, err4 := messages.ParseName(name)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			return
		}
		want := messages.Subject{Context: c, Kind: kinds[int(kind)%len(kinds)], Type: ty, ID: id}
		if want.Kind == messages.KindLog {
			want.Partition = partition
		}
		if want.Kind == messages.KindCommand || want.Kind == messages.KindEvent {
			want.Name = n
		}
		wantItsParts(t, want, raw)
	})
}

// FuzzTimerSubjectParts is the same of the subjects of timers.
func FuzzTimerSubjectParts(f *testing.F) {
	f.Add("bank", false, "transfer", "t.1", "3-17")
	f.Add("b", true, "t", "\x7f*>", "-")
	f.Add("shop-2", true, "order_line", "ü", "K_1")
	f.Fuzz(func(t *testing.T, context string, fired bool, typ, raw, key string) {
		c, err1 := messages.ParseContext(context)
		ty, err2 := messages.ParseType(typ)
		id, err3 := messages.EncodeID(raw)
		k, err4 := messages.ParseKey(key)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			return
		}
		want := messages.Subject{Context: c, Kind: messages.KindTimer, Type: ty, ID: id, Key: k}
		if fired {
			want.Kind = messages.KindDue
		}
		wantItsParts(t, want, raw)
	})
}

func wantItsParts(t *testing.T, want messages.Subject, raw string) {
	t.Helper()
	text := want.String()
	wantHarmless(t, text)
	got, err := messages.ParseSubject(text)
	if err != nil || got != want || got.ID.Raw() != raw {
		t.Errorf("%+v prints as %s, which parses as %+v, %v", want, text, got, err)
	}
}

// FuzzRef: what parses as a ref prints as itself.
func FuzzRef(f *testing.F) {
	for _, s := range []string{"account/a-1", "account/=2F", "account", "/", "account/a/b", "Account/a", "account/=2f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		typ, id, err := messages.ParseRef(s)
		if err != nil {
			wantNamed(t, err, "ref", "type", "id")
			return
		}
		if got := messages.FormatRef(typ, id); got != s {
			t.Errorf("%q parses and prints as %q", s, got)
		}
	})
}
