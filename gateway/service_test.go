package gateway_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/messages"
)

// discover asks as the nats tool does.
func discover[T any](t *testing.T, w *world, verb string) (v T) {
	t.Helper()
	reply, err := w.client.Request("$SRV."+verb+".holdfast-bank", nil, patient)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(reply.Data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *gateway.Config) { c.Version, c.Log = "1.2.3", "20260314T092653.589793238Z" })
	check(t, "ping", discover[micro.Ping](t, w, "PING").Version, "1.2.3")
	info := discover[micro.Info](t, w, "INFO")
	check(t, "metadata", fmt.Sprint(info.Metadata), "map[context:bank log:20260314T092653.589793238Z types:account, plain]")
	var endpoints []string
	for _, e := range info.Endpoints {
		endpoints = append(endpoints, e.Name+" "+e.Subject+" "+e.QueueGroup+" "+e.Metadata["subject"])
	}
	check(t, "endpoints", strings.Join(endpoints, "\n"), "cmd bank.cmd.> holdfast bank.cmd.<type>.<id>.<Command>\n"+
		"get bank.get.> holdfast bank.get.<type>.<id>\nhistory bank.history.> holdfast bank.history.<type>.<id>")
	check(t, "commands", info.Endpoints[0].Metadata["commands.account"], "CloseAccount, Deposit, Int32Value, OpenAccount, Withdraw")
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.ask(t, deposit, `{"amount":1}`)
	w.ask(t, deposit, `{"amount":-}`)
	w.ask(t, "bank.cmd.account.a-1.Withdraw", `{"amount":5}`)
	w.ask(t, "bank.get.account.a-1", ``)
	eventually(t, func() error { // a request is counted after it was answered
		got := map[string]string{}
		for _, e := range discover[micro.Stats](t, w, "STATS").Endpoints {
			got[e.Name] = fmt.Sprint(e.NumRequests, " ", string(e.Data))
		}
		want := map[string]string{
			"cmd":     `3 {"requests":3,"errors":{"400":1,"422":1},"ignored":0,"forbidden":0,"unsent":0,"overflows":0,"busy":0}`,
			"get":     `1 {"requests":1,"ignored":0,"forbidden":0,"unsent":0,"overflows":0,"busy":0}`,
			"history": `0 {"requests":0,"ignored":0,"forbidden":0,"unsent":0,"overflows":0,"busy":0}`,
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("got %v\nwant %v", got, want)
		}
		return nil
	})
	check(t, "of a kind that is not served", w.gateway.Stats(messages.KindLog).Requests, 0)
}

func TestReplyThatCannotBeSent(t *testing.T) {
	t.Parallel()
	var conn *nats.Conn
	w := setup(t, func(c *gateway.Config) { conn = c.Conn })
	g := newGate(w, "slow")
	w.post(t, 1, "bank.cmd.account.slow.Deposit", `{"amount":1}`)
	g.await(t, 1)
	conn.Close()
	close(g.open)
	eventually(t, func() error {
		if w.gateway.Stats(messages.KindCommand).Unsent != 1 {
			return errNotYet
		}
		return nil
	})
	if !strings.Contains(w.journal.String(), "reply could not be sent") {
		t.Error("the log does not tell it")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for want, change := range map[string]func(*gateway.Config){
		`Context: context "Bank"`:           func(c *gateway.Config) { c.Context = "Bank" },
		"Conn is nil":                       func(c *gateway.Config) { c.Conn = nil },
		"Types is empty":                    func(c *gateway.Config) { c.Types = nil },
		"Types has two types named account": func(c *gateway.Config) { c.Types = []holdfast.Definition{accountType, accountType} },
		"Sender, Viewer or Reader is nil":   func(c *gateway.Config) { c.Reader = nil },
		"MaxBody or Timeout is negative":    func(c *gateway.Config) { c.Timeout = -1 },
		"MaxBody is 2, more than":           func(c *gateway.Config) { c.MaxBody, c.MaxInFlightBytes = 2, 1 },
		"version":                           func(c *gateway.Config) { c.Version = "one" },
		"connection closed": func(c *gateway.Config) {
			c.Conn = w.node(t)
			c.Conn.Close()
		},
	} {
		cfg := w.config(w.node(t))
		change(&cfg)
		_, err := gateway.Start(cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "start gateway: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Without a clock, a source of ids and a logger of its own it has the usual ones.
func TestDefaults(t *testing.T) {
	w := setup(t)
	if err := w.gateway.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
	cfg := w.config(w.node(t))
	cfg.Now, cfg.NewID, cfg.Logger = nil, nil, nil
	var err error
	if w.gateway, err = gateway.Start(cfg); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	w.accepted(t, deposit, `{"amount":1}`)
	w.accepted(t, deposit, `{"amount":1}`)
	loaded, err := w.ledger.store.Load(t.Context(), ada, "")
	if err != nil {
		t.Fatal(err)
	}
	first, second := loaded.Commits[0].Changes[0], loaded.Commits[1].Changes[0]
	if err := messages.CheckCommandID(first.CommandId); err != nil || first.CommandId == second.CommandId {
		t.Errorf("ids %q and %q: %v", first.CommandId, second.CommandId, err)
	}
	if at := time.Unix(0, first.Time); at.Before(before) || at.After(time.Now()) {
		t.Errorf("the command came at %v", at)
	}
}
