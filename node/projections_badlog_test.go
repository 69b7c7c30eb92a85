package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/persistence"
	"github.com/holdfast-run/holdfast/persistence/jetstream"
	"github.com/holdfast-run/holdfast/projections"
)

// asNode connects to the embedded server of a node with a node's rights.
func asNode(t *testing.T, data string) *nats.Conn {
	t.Helper()
	admin, err := natsd.ReadAdmin(data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsd.Dial(admin.URL, nats.UserInfo(admin.User, admin.Password), nats.IgnoreDiscoveredServers(), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// writeOdd records an event for an account with data of one's choice, and behind it a deposit.
func writeOdd(t *testing.T, log *jetstream.Store, id, typ string, data []byte, amount int64) {
	t.Helper()
	good, err := persistence.EncodeEvent(&bankpb.Deposited{Amount: amount})
	if err != nil {
		t.Fatal(err)
	}
	odd := &messages.Event{Type: typ, Schema: messages.SchemaProtobuf, Data: data}
	done := make(chan error, 1)
	log.Append(holdfast.Ref{Type: "account", ID: id}, persistence.Head{},
		[]*messages.Change{{CommandId: "odd-" + id, Time: time.Now().UnixNano(), Events: []*messages.Event{odd, good}}},
		func(_ persistence.Head, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Queries that make no sense are answered with a sentence each, also across the border of the
// clients' account.
func TestUnreadableQueries(t *testing.T) {
	c := config(t)
	none := func(*bankpb.Deposited) error { return nil }
	c.Projections = []*projections.Projection{counting("kept", none)}
	a := &oneAccount{t: t, node: start(t, c)}
	a.nc = visitor(t, a.node)
	open(t, a.node)
	for _, q := range []struct{ subject, after, want string }{
		{"kept.a=2e", "", `400 key, which is written as an id: id "a=2e": '=' must be followed by two capital hex digits`},
		{"kept.\x01\xff", "", `400 key, which is written as an id: id "\x01\xff": the byte '\x01' must be written =01`},
		{"kept.a.b", "", "400 "},
		{"kept.ada", "odd", `400 header Holdfast-After: "odd": want a position such as 0-42`},
		{"kept.ada", "0-2", "400 header Holdfast-After: 0-2 is beyond the end of this log, 0-1: it is of another context"},
		{"kept.ada", "3-1", "400 header Holdfast-After: 3-1 is of a partition that this log does not have (it has 1): it is of another context"},
		{"lost.ada", "", `404 there is no projection "lost"`},
	} {
		var headers []string
		if q.after != "" {
			headers = []string{"Holdfast-After", q.after}
		}
		if got := answered(t, a.nc, "demo.view."+q.subject, "", headers...); !strings.HasPrefix(got, q.want) {
			t.Errorf("%s after %q: %s, want %s", q.subject, q.after, got, q.want)
		}
	}
	a.shows("kept", a.deposit(1), 1)
}

// What is in the log and cannot be read is parked with the reason, in SQL and in NATS KV; what
// comes behind it waits, others go on, and once a person has left it out all the rest is there.
func TestUnreadableEvents(t *testing.T) {
	c := config(t)
	none := func(*bankpb.Deposited) error { return nil }
	c.Projections = []*projections.Projection{counting("kept", none), counting("in_kv", none, projections.InKV())}
	a := &oneAccount{t: t, node: start(t, c)}
	a.nc = visitor(t, a.node)
	open(t, a.node)
	core := asNode(t, c.Data)
	log, err := jetstream.Open(t.Context(), jetstream.Config{
		Context: "demo", Publish: core, Read: []*nats.Conn{asNode(t, c.Data)}, AppendTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	writeOdd(t, log, "unknown", "bank.v1.Robbed", nil, 5)
	writeOdd(t, log, "undecodable", "bank.v1.Deposited", []byte{0xff, 0xff}, 7)
	if _, err := core.Request("demo.log.0.account.garbage", []byte("garbage"), time.Minute); err != nil {
		t.Fatal(err)
	}
	last := a.deposit(3)
	for _, name := range []string{"kept", "in_kv"} {
		a.shows(name, last, 3)
		for id, says := range map[string][]string{
			"unknown": {"bank.v1.Robbed"}, "undecodable": {"bank.v1.Deposited"}, "garbage": {"0-4"},
		} {
			out, errs, code := run("parked", "show", name, "account/"+id, "--data", c.Data)
			for _, text := range append(says, "account/"+id) {
				if code != cli.ExitOK || !strings.Contains(out, text) {
					t.Errorf("%s, %s: exit code %d, want %q in:\n%s%s", name, id, code, text, out, errs)
				}
			}
		}
		for _, event := range []string{"account/unknown@1", "account/undecodable@1", "0-4"} {
			if out, errs, code := run("parked", "skip", name, event, "--reason", "it is not ours", "--data", c.Data); code != cli.ExitOK {
				t.Errorf("skip %s of %s: exit code %d\n%s%s", event, name, code, out, errs)
			}
		}
		told(t, c.Data, name, live)
		for id, want := range map[string]string{"unknown": `"value":{"Sum":5}}`, "undecodable": `"value":{"Sum":7}}`, "garbage": "404 "} {
			if got := answered(t, a.nc, "demo.view."+name+"."+id, ""); !strings.Contains(got, want) {
				t.Errorf("%s shows %s of %s, want %s", name, got, id, want)
			}
		}
	}
}
