package desk_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/projections"
	"github.com/holdfast-run/holdfast/projections/runner"
)

// records puts events of an account that has none into the log, each in a commit of its own.
func (w *world) records(id string, events ...holdfast.Event) []persistence.Record {
	w.t.Helper()
	ref := holdfast.Ref{Type: "account", ID: id}
	var head persistence.Head
	for i, e := range events {
		recorded, err := persistence.EncodeEvent(e)
		if err != nil {
			w.t.Fatal(err)
		}
		done := make(chan error, 1)
		change := &messages.Change{CommandId: "c-" + string(rune('1'+i)), Command: "bank.v1.Deposit", User: "eve", Time: dawn.UnixNano(), Events: []*messages.Event{recorded}}
		w.log.Append(ref, head, []*messages.Change{change}, func(h persistence.Head, err error) { head = h; done <- err })
		if err := <-done; err != nil {
			w.t.Fatal(err)
		}
	}
	var all []persistence.Record
	if _, err := w.log.Scan(w.t.Context(), persistence.ScanOptions{Filter: persistence.Filter(ref)}, func(r persistence.Record) error { all = append(all, r); return nil }); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// commit has a batch of a generation's first partition done.
func (w *world) commit(generation uint64, do func(projections.Batch) error) {
	w.t.Helper()
	u := projections.Unit{Projection: "balances", Generation: generation}
	at, err := w.crew.Checkpoint(w.t.Context(), u)
	if err == nil {
		err = w.crew.Commit(w.t.Context(), u, at, projections.Checkpoint{Done: at.Done + 1}, do)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// deposit changes a document of a generation.
func (w *world) deposit(generation uint64, amount int64, id string) {
	w.t.Helper()
	w.commit(generation, func(b projections.Batch) error {
		return b.Change(id, projections.Place{Sequence: 1}, func([]byte) ([]byte, error) { return json.Marshal(balance{Balance: amount}) })
	})
}

// park puts the events of an account aside, the first with a reason.
func (w *world) park(id, reason string, records ...persistence.Record) {
	w.t.Helper()
	w.commit(1, func(b projections.Batch) error {
		for _, rec := range records {
			item := balances.Read(rec)[0]
			if err := b.Park(projections.Parked{Key: "account/" + id, Event: item.Event, Record: rec, Reason: reason, Since: dawn, Attempts: 3}); err != nil {
				return err
			}
			reason = ""
		}
		return nil
	})
}

func TestParked(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.has("nothing", w.ask("parked", ""), `{"parked":[],"unreached":[]}`)
	w.park("a-1", "the amount is odd", w.records("a-1", &bankpb.Deposited{Amount: 7}, &bankpb.AccountOpened{Owner: "Ada"})...)
	w.park("\xff\"", "no such account", w.records("\xff\"", &bankpb.Deposited{Amount: 8})...)
	first := `{"where":"projection","projection":"balances","generation":1,"partition":0,"shard":0,"key":"account/a-1","events":2,` +
		`"first":{"id":"account/a-1@1","ref":"account/a-1","version":1,"position":"0-1","type":"bank.v1.Deposited","time":"2026-03-14T09:26:53Z",` +
		`"user":"eve","commandId":"c-1","reason":"the amount is odd","since":"2026-03-14T09:26:53Z","attempts":3}}`
	w.has("all", w.ask("parked", ""), `{"parked":[`+first+`,{`, "\"key\":\"account/\ufffd\\\"\",\"events\":1", `"ref":"account/=FF=22"`, `"unreached":[]}`)
	w.has("one", w.ask("parked", `{"limit":1}`), `{"parked":[`+first+`],"unreached":[]}`)
	w.has("of it", w.ask("parked.balances", `{"limit":1}`), `{"parked":[`+first+`]}`)
	w.has("of another generation", w.ask("parked.balances", `{"generation":2}`), `{"parked":[]}`)
	w.has("under a key", w.ask("parked.balances", `{"key":"account/a-1"}`), `{"events":[{"id":"account/a-1@1",`, `"data":{"amount":"7"}},{"id":"account/a-1@2",`,
		`"attempts":3,"data":{"owner":"Ada"}}],"key":`+first+`}`)
	w.has("under an odd key", w.ask("parked.balances", `{"key":"account/\ufffd\""}`), `"data":{"amount":"8"}`)
}

// TestParkedUnread: what this build cannot read is shown as it was recorded.
func TestParkedUnread(t *testing.T) {
	t.Parallel()
	w := setup(t)
	rec := w.records("a-1", &bankpb.Transfer{From: "a"})[0]
	w.park("a-1", "it is unknown", rec)
	w.has("unknown event", w.ask("parked.balances", `{"key":"account/a-1"}`), `"unread":"corrupt: type account has neither Evolve nor Upcast for the recorded event bank.v1.Transfer","recorded":"CgFh"`)
	broken := persistence.Record{Position: holdfast.NewPosition(0, 9), Subject: rec.Subject, Body: []byte("no commit"), Time: dawn}
	w.park("a-2", "it is broken", broken)
	w.has("broken record", w.ask("parked.balances", `{"key":"account/a-2"}`), `"id":"0-9"`, `"recorded":"bm8gY29tbWl0"`)
	w.commit(1, func(b projections.Batch) error { // of a sink that had no room for its commit
		e := projections.Event{ID: "account/a-3@1", Position: holdfast.NewPosition(0, 10), Index: 0}
		return b.Park(projections.Parked{Key: "account/a-3", Event: e, Record: persistence.Record{Position: e.Position}, Reason: "no"})
	})
	w.has("left out", w.ask("parked.balances", `{"key":"account/a-3"}`), `"unread":"the sink has no room for its commit: the log has it at 0-10"`)
}

func TestParkedUnreached(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask("rebuild.balances", "")
	w.crew.away = errors.New("the database is gone")
	w.has("all", w.ask("parked", ""), `{"parked":[],"unreached":[{"projection":"balances","reason":"unavailable: the database is gone"}]}`)
	w.has("one", w.ask("parked.balances", ""), "503 the database is gone")
	w.has("compare", w.ask("compare.balances", ""), "503 the database is gone")
}

func TestOrders(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.park("a-1", "the amount is odd", w.records("a-1", &bankpb.Deposited{Amount: 7})...)
	w.has("retry", w.ask("retry.balances", `{"key":"account/a-1"}`), `"order":1,"done":true}`)
	w.has("retry all", w.ask("retry.balances", `{"all":true}`), `"order":2,"done":true}`)
	w.has("skip", w.ask("skip.balances", `{"event":"account/a-1@1","reason":"a test"}`), `"order":3,"done":true}`)
	w.crew.mu.Lock()
	w.crew.idle = true
	w.crew.mu.Unlock()
	w.has("nobody carries it out", w.ask("skip.balances", `{"event":"account/a-1@2","reason":"a test"}`), `"order":4}`)
	want := []runner.Order{
		{Number: 1, Generation: 1, Act: runner.Retry, Key: "account/a-1", By: "ada", At: dawn},
		{Number: 2, Generation: 1, Act: runner.Retry, By: "ada", At: dawn},
		{Number: 3, Generation: 1, Act: runner.Skip, Event: "account/a-1@1", Reason: "a test", By: "ada", At: dawn},
		{Number: 4, Generation: 1, Act: runner.Skip, Event: "account/a-1@2", Reason: "a test", By: "ada", At: dawn},
	}
	for i, o := range w.now().Orders {
		if o != want[i] {
			t.Errorf("got  %+v\nwant %+v", o, want[i])
		}
	}
}
