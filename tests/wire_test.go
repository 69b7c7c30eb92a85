package tests

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// Who, when, which command, and the trace stand beside every event, and the state can be
// seen as it was.
func TestTheAuditTrail(t *testing.T) {
	p := startProcess(t, t.TempDir(), "127.0.0.1:0")
	nc := dial(t, p.url)
	before := time.Now()
	mustAsk(t, nc, "demo.cmd.account.a-1.OpenAccount", `{"owner":"Ada"}`, nil)
	r := mustAsk(t, nc, "demo.cmd.account.a-1.Deposit", `{"amount":100}`, map[string]string{
		"Nats-Msg-Id": "order-17", "Holdfast-User": "grace", "Holdfast-Correlation-Id": "story-1",
		"Holdfast-Causation-Id": "mail-3", "traceparent": parent,
	})
	if r.Status != 0 || r.Version != 2 {
		t.Fatalf("deposit: %s", r.body)
	}
	events := history(t, nc, "demo.history.account.a-1")
	if len(events) != 2 {
		t.Fatalf("%d events, want 2", len(events))
	}
	e := events[1]
	if e.ID != "account/a-1@2" || e.Type != "bank.v1.Deposited" || e.Command != "bank.v1.Deposit" || e.CommandID != "order-17" ||
		e.User != "grace" || e.CorrelationID != "story-1" || e.CausationID != "mail-3" || e.Trace != parent ||
		e.Data["amount"] != "100" || e.Time.Before(before) || e.Time.After(time.Now()) {
		t.Errorf("the event is %+v", e)
	}
	for what, header := range map[string]map[string]string{
		"as of the version": {"Holdfast-As-Of-Version": "1"},
		"as of the time":    {"Holdfast-As-Of": events[0].Time.Format(time.RFC3339Nano)},
	} {
		if r := mustAsk(t, nc, "demo.get.account.a-1", "", header); r.Version != 1 || r.State["balance"] != "0" {
			t.Errorf("%s: %s", what, r.body)
		}
	}
}

// What a client might try in order to write into the log by itself, or to confuse what is
// written: it has no part in the log, and the node goes on.
func TestForgery(t *testing.T) {
	folder := t.TempDir()
	p := startProcess(t, folder, "127.0.0.1:0")
	nc := dial(t, p.url)
	if r := mustAsk(t, nc, "demo.cmd.account.a-1.OpenAccount", `{"owner":"Ada"}`, nil); r.Status != 0 {
		t.Fatalf("open: %s", r.body)
	}
	for _, name := range []string{"Nats-Rollup", "Nats-Expected-Last-Msg-Id", "Nats-Subject", "Nats-Sequence", "Nats-TTL", "Nats-Batch-Id", "Nats-Schedule"} {
		if r := mustAsk(t, nc, "demo.cmd.account.a-1.Deposit", `{"amount":1}`, map[string]string{name: "1"}); r.Status != 400 || !strings.Contains(r.Error.Message, name) {
			t.Errorf("%s: %d %s", name, r.Status, r.body)
		}
	}
	for _, reply := range []string{"demo.log.0.account.a-1", "demo.cmd.account.a-1.Deposit", "$JS.API.STREAM.DELETE.DEMO_LOG_0"} {
		if err := nc.PublishRequest("demo.cmd.account.a-1.Deposit", reply, []byte(`{"amount":1}`)); err != nil {
			t.Errorf("reply to %s: %v", reply, err)
		}
	}
	for _, subject := range []string{"demo.log.0.account.a-1", "demo.snap.account.a-1", "$JS.API.STREAM.PURGE.DEMO_LOG_0"} {
		if err := nc.Publish(subject, []byte("forged")); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	// The commands were ordinary ones, and may have been executed: at the border of the
	// clients' account their reply subjects are renamed, and lead nowhere. The log has what
	// commands decided, and nothing else.
	if r := mustAsk(t, nc, "demo.cmd.account.a-1.Deposit", `{"amount":1}`, nil); r.Status != 0 {
		t.Errorf("after the forgeries: %s", r.body)
	}
	for _, e := range history(t, nc, "demo.history.account.a-1") {
		if e.CommandID == "" || e.Type != "bank.v1.AccountOpened" && e.Type != "bank.v1.Deposited" {
			t.Errorf("a forged event: %+v", e)
		}
	}
	p.kill()
	if out, errs, code := runNode(t, "verify", "--data", folder); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
}

// Ten thousand commands at one aggregate at once: some are refused as too many, the
// others take effect, and then all is as before.
func TestFlood(t *testing.T) {
	p := startProcess(t, t.TempDir(), "127.0.0.1:0", "--lease", "1m", "--request-timeout", "2m") // which outlast a machine that stands still
	nc := dial(t, p.url)
	if r := mustAsk(t, nc, "demo.cmd.account.a-1.OpenAccount", `{"owner":"Ada"}`, nil); r.Status != 0 {
		t.Fatalf("open: %s", r.body)
	}
	const commands = 10_000
	var accepted, refused atomic.Int64
	var answered sync.WaitGroup
	answered.Add(commands)
	inbox := nats.NewInbox()
	sub, err := nc.Subscribe(inbox+".*", func(m *nats.Msg) {
		switch m.Header.Get("Nats-Service-Error-Code") {
		case "":
			accepted.Add(1)
		case "429":
			refused.Add(1)
		default:
			t.Errorf("%s", m.Data)
		}
		answered.Done()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	for i := range commands {
		if err := nc.PublishRequest("demo.cmd.account.a-1.Deposit", fmt.Sprintf("%s.%d", inbox, i), []byte(`{"amount":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	all := make(chan struct{})
	go func() { answered.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(3 * time.Minute):
		t.Fatalf("%d accepted, %d refused, and the others were never answered", accepted.Load(), refused.Load())
	}
	t.Logf("%d accepted, %d refused", accepted.Load(), refused.Load())
	if refused.Load() == 0 {
		t.Error("none was refused: there is no limit")
	}
	r := mustAsk(t, nc, "demo.cmd.account.a-1.Deposit", `{"amount":1}`, nil)
	if want := uint64(accepted.Load()) + 2; r.Status != 0 || r.Version != want {
		t.Errorf("afterwards: %s, want version %d", r.body, want)
	}
}
