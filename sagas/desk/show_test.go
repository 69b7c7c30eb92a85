package desk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/desk"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares an answer with the file of that name, which node/cli shows to people.
func (w *world) golden(name, answer string) {
	w.t.Helper()
	got := layout(w.t, answer)
	path := filepath.Join("testdata", name+".json")
	if *rewrite {
		w.must(os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	w.must(err)
	if !bytes.Equal(got, want) {
		w.t.Errorf("%s is now\n%s", path, got)
	}
}

// layout puts each member of a JSON object, and each element of a list in it, on a line.
func layout(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	dec := json.NewDecoder(strings.NewReader(text))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	b.WriteString("{")
	for n := 0; dec.More(); n++ {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n%q: ", name)
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil || len(list) == 0 || list[0][0] != '{' {
			b.Write(value)
			continue
		}
		for i, one := range list {
			fmt.Fprintf(&b, "%s\n  %s", map[bool]string{true: "[", false: ","}[i == 0], one)
		}
		b.WriteString("\n]")
	}
	b.WriteString("\n}\n")
	return b.Bytes()
}

// What the desk shows of sagas in several states, and the list of them.
func TestShow(t *testing.T) {
	t.Parallel()
	w := setup(t)
	grace := []string{"Holdfast-User", "grace", "Nats-Msg-Id", "op-1"}
	show := func(ref string) {
		t.Helper()
		saga, id, _ := strings.Cut(ref, "/")
		w.golden(id, w.answered("show."+saga+"."+id, ""))
	}

	ref := w.shipped("pausing")
	w.accept(ref, "take-out", "confirm")
	w.report(ref, "notify", rejected())
	show(ref)

	ref = w.stuck("stuck")
	w.answered("retry.checkout.stuck", `{"step":"confirm","reason":"the order is mended"}`, grace...)
	w.exhaust(ref, "confirm")
	show(ref)

	ref = w.paid("cancelled")
	w.pass(time.Second)
	w.answered("cancel.checkout.cancelled", `{"reason":"Ada has changed her mind"}`, grace...)
	w.report(ref, "void reserve", &messages.SagaAnswered{})
	w.report(ref, "undo pay", &messages.SagaAnswered{Code: "uncertain", Message: "no answer came"})
	show(ref)

	ref = w.shipped("edited")
	w.exhaust(ref, "notify")
	w.pass(time.Second)
	w.answered("edit.checkout.edited", `{"step":"notify","command":{"to":"ada","text":"Your order is on its way."},"reason":"nobody is Ada"}`, grace...)
	w.report(ref, "void notify", &messages.SagaAnswered{})
	w.accept(ref, "notify", "take-out", "confirm")
	show(ref)

	ref = w.paid("forced")
	w.pass(time.Second)
	w.answered("force.checkout.forced", `{"status":"compensated","reason":"settled by phone"}`, grace...)
	show(ref)

	w.send("delivery/d-1", account("ada"), "ada")
	w.accept("delivery/d-1", "send")
	show("delivery/d-1")

	w.send("nagging/n-1", account("ada"), "ada")
	w.report("nagging/n-1", "remind:1", &messages.SagaAnswered{Code: "rejected", Reason: "no_account", Message: "there is none"})
	w.pass(time.Hour)
	w.send("nagging/n-1", &messages.SagaWake{}, "")
	event, err := anypb.New(&bankpb.Deposited{Amount: 5})
	w.must(err)
	heard := &messages.SagaHear{Heard: &messages.SagaHeard{
		Event: event, From: &messages.SagaSource{Ref: "account/ada", Version: 3, EventId: "account/ada@3"},
	}}
	w.send("nagging/n-1", heard, "")
	show("nagging/n-1")

	w.send("nagging/parked", account("poison"), "ada")
	w.send("nagging/parked", heard, "")
	show("nagging/parked")

	for _, ref := range []holdfast.Ref{{Type: "delivery", ID: "d-1"}, {Type: "nagging", ID: "n-1"}, {Type: "nagging", ID: "parked"}} {
		w.must(w.list.Add(within(t), ref, w.now()))
	}
	w.golden("list", w.answered("list", ""))
	w.golden("acted", w.answered("resume.checkout.stuck", `{"reason":"it is back"}`, "Holdfast-User", "grace", "Nats-Msg-Id", "op-2"))
}

type shown struct {
	Ref, Status, Since string
	Version, Next      uint64
	State              json.RawMessage
	Error              *struct{ Code, Message string }
	Timeline           []struct {
		Version                       uint64
		What, Step, To, CommandID, By string
		Outcome                       string
		Data                          json.RawMessage
	}
}

func (w *world) shows(ref, body string) (s shown) {
	w.t.Helper()
	saga, id, _ := strings.Cut(ref, "/")
	w.must(json.Unmarshal([]byte(w.answered("show."+saga+"."+id, body)), &s))
	return s
}

// A long life is shown in pages that together are the whole of it. What became of a command
// names it, though that stands on another page.
func TestShowALongSaga(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ref := w.shipped("long")
	long := func() *messages.SagaAnswered {
		a := rejected()
		a.Message = strings.Repeat("it came back. ", 100)
		return a
	}
	for range 3 {
		for range 40 {
			w.report(ref, "notify", long())
			w.pass(2 * time.Hour)
			w.send(ref, &messages.SagaWake{}, "")
		}
		if w.state(ref).Status == "stuck" {
			w.answered("retry.checkout.long", `{"step":"notify",`+why+`}`, "Holdfast-User", "grace")
		}
	}
	whole := w.shows(ref, "")
	if whole.Next != 0 || len(whole.Timeline) != int(whole.Version) || whole.Version < 200 {
		t.Fatalf("of %d there are %d, and there is more at %d", whole.Version, len(whole.Timeline), whole.Next)
	}
	for _, limit := range []uint64{1, 7, 100, 999} {
		var got shown
		for from := uint64(1); from != 0; {
			page := w.shows(ref, fmt.Sprintf(`{"from":%d,"limit":%d}`, from, limit))
			if len(page.Timeline) > int(limit) || page.Since != whole.Since {
				t.Fatalf("limit %d: a page of %d since %s", limit, len(page.Timeline), page.Since)
			}
			got.Timeline = append(got.Timeline, page.Timeline...)
			from = page.Next
		}
		for i, m := range got.Timeline {
			if fmt.Sprint(m) != fmt.Sprint(whole.Timeline[i]) {
				t.Fatalf("limit %d: got %+v\nwant %+v", limit, m, whole.Timeline[i])
			}
		}
		if len(got.Timeline) != len(whole.Timeline) {
			t.Fatalf("limit %d: %d moments", limit, len(got.Timeline))
		}
	}
	for _, m := range whole.Timeline {
		if m.What == "answered" && m.Step == "notify" && (m.CommandID != "checkout/long:notify" || m.To != "mail/long") {
			t.Fatalf("it was sent as %q to %s", m.CommandID, m.To)
		}
	}
	if got := w.shows(ref, fmt.Sprintf(`{"from":%d}`, whole.Version+1)); len(got.Timeline) != 0 || got.Next != 0 {
		t.Errorf("beyond the end is %+v", got)
	}
}

// What does not fit into a message is cut into pages, and what fits into none is told without
// what makes it large.
func TestShowInManyParts(t *testing.T) {
	t.Parallel()
	w := setup(t)
	c := order()
	c.Address = strings.Repeat("a", 400_000)
	w.send("checkout/large", c, "ada")
	whole := w.shows("checkout/large", "")
	if whole.Next == 0 || len(whole.Timeline) != 1 || string(whole.State) != "null" {
		t.Fatalf("the first page has %d moments and goes on at %d, with %d bytes of state", len(whole.Timeline), whole.Next, len(whole.State))
	}
	if rest := w.shows("checkout/large", `{"from":2}`); rest.Next != 0 || len(rest.Timeline) != 1 {
		t.Errorf("the second page has %d moments and goes on at %d", len(rest.Timeline), rest.Next)
	}
	w.send("delivery/d-1", account(strings.Repeat("a", 1_046_000)), "ada")
	if got := w.shows("delivery/d-1", ""); len(got.Timeline) != 2 || got.Timeline[0].What != "begun" || got.Timeline[0].Data != nil {
		t.Errorf("of what is too large it shows %d moments and goes on at %d", len(got.Timeline), got.Next)
	}
}

// The commands are named as the machine sends them.
func TestCommandIDs(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ref := w.shipped("ids")
	w.exhaust(ref, "notify")
	w.answered("edit.checkout.ids", `{"step":"notify","command":{"to":"ada","text":"x"},`+why+`}`, "Holdfast-User", "grace")
	w.report(ref, "void notify", &messages.SagaAnswered{})
	w.report(ref, "notify", rejected())
	w.paid("ids-2")
	w.answered("cancel.checkout.ids-2", `{`+why+`}`, "Holdfast-User", "grace")
	w.report("checkout/ids-2", "void reserve", &messages.SagaAnswered{})
	w.accept("checkout/ids-2", "undo pay")
	long := "checkout/" + strings.Repeat("x", 120)
	w.send(long, order(), "")
	for _, ref := range []string{ref, "checkout/ids-2", long} {
		of, err := holdfast.ParseRef(ref)
		w.must(err)
		var want []string
		for c, err := range w.store.Backwards(within(t), of, 0) {
			w.must(err)
			tasks, err := w.config.Book.Tasks(w.config.Book.Saga("checkout"), of, c.Commit)
			w.must(err)
			var ids []string
			for _, task := range tasks {
				if c, ok := task.(sagas.Command); ok {
					ids = append(ids, c.Delivery.Meta.ID+" to "+c.To.String())
				}
			}
			want = append(ids, want...)
		}
		var got []string
		for _, m := range w.shows(ref, "").Timeline {
			if m.What == "sent" {
				got = append(got, m.CommandID+" to "+m.To)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(want) == 0 {
			t.Errorf("of %s it shows\n%s\nwant\n%s", ref, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// A saga that cannot say where it stands has a timeline all the same; of one that never was
// there is nothing to show.
func TestShowOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *desk.Config) {
		next := c.Viewer
		c.Viewer = viewer(func(ctx context.Context, ref holdfast.Ref) (holdfast.View, error) {
			if ref.ID == "mute" {
				return holdfast.View{}, errors.New("a bug")
			}
			return next.View(ctx, ref)
		})
	})
	w.begin("mute")
	got := w.shows("checkout/mute", "")
	if got.Error == nil || got.Error.Code != "internal" || len(got.Timeline) != 2 || got.Since != "2026-03-14T09:26:54Z" {
		t.Errorf("it shows %+v", got)
	}
	w.refused("404", "unknown", "nothing has happened to checkout/o-1", "show.checkout.o-1", "")
}
