package node_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/examples/bank/bankpb"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/node"
	"github.com/holdfast-run/holdfast/node/cli"
	"github.com/holdfast-run/holdfast/projections"
)

type saldo struct {
	Owner   string `json:"owner"`
	Balance int64  `json:"balance"`
}

// clerks have the projections of a test, which refuse an amount of 13 until they are mended.
type clerks struct{ mended atomic.Bool }

func (c *clerks) projections() []*projections.Projection {
	deposited := func(d *projections.Docs[saldo], e *bankpb.Deposited, at projections.Event) error {
		if e.Amount == 13 && !c.mended.Load() {
			return errors.New("nobody takes 13")
		}
		return d.Change(at.Ref.ID, func(b saldo) saldo { b.Balance += e.Amount; return b })
	}
	opened := func(d *projections.Docs[saldo], e *bankpb.AccountOpened, at projections.Event) error {
		return d.Change(at.Ref.ID, func(b saldo) saldo { b.Owner = e.Owner; return b })
	}
	statement := func(r *projections.Rows, e *bankpb.Deposited, at projections.Event) error {
		_, err := r.Exec("INSERT INTO lines (account, version, amount) VALUES ($1, $2, $3)", at.Ref.ID, int64(at.Version), e.Amount)
		return err
	}
	return []*projections.Projection{
		projections.Define("balances", projections.From(bank.Account), projections.On(deposited), projections.On(opened)),
		projections.Define("statement", projections.From(bank.Account), projections.On(statement),
			projections.Tables("CREATE TABLE lines (account TEXT NOT NULL, version BIGINT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (account, version))")),
		projections.Define("owners", projections.InKV(), projections.From(bank.Account), projections.On(opened)),
	}
}

// visitor is a client, who has no credentials.
func visitor(t *testing.T, n *node.Node) *nats.Conn {
	t.Helper()
	nc, err := natsd.Dial(n.ClientURL(), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// inKV reads a document where any client can.
func inKV(t *testing.T, nc *nats.Conn, bucket, key string) string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value())
}

// asked sends a client's request, and gives the answer's body, or its error.
func asked(t *testing.T, nc *nats.Conn, subject, body string, headers ...string) string {
	t.Helper()
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	reply, err := nc.RequestMsg(m, 30*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return code + " " + reply.Header.Get("Nats-Service-Error")
	}
	return string(reply.Data)
}

// answered asks until a node can answer: one that is busy may say that it is not ready yet.
func answered(t *testing.T, nc *nats.Conn, subject, body string, headers ...string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		got := asked(t, nc, subject, body, headers...)
		if !strings.HasPrefix(got, "503 ") && !strings.HasPrefix(got, "504 ") || time.Now().After(end) {
			return got
		}
	}
}

// A client reads what it has written, through a projection that the node keeps.
func TestProjections(t *testing.T) {
	c, team := config(t), new(clerks)
	c.Projections = team.projections()
	n := start(t, c)
	nc := visitor(t, n)
	has := func(got string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
		}
	}
	check := func(code int, says string, args ...string) {
		t.Helper()
		out, errs, got := run(append(args, "--data", c.Data)...)
		if got != code || !strings.Contains(out+errs, says) {
			t.Errorf("%v: exit code %d, want %d, and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
	shows := func(code int, says string, args ...string) { // nodes tell how they stand each second
		t.Helper()
		eventually(t, code, []string{says}, append(args, "--data", c.Data)...)
	}
	send := func(command holdfast.Command, id string) holdfast.Position {
		t.Helper()
		return sent(t, n, holdfast.Ref{Type: "account", ID: id}, command, holdfast.Meta{}).Position
	}
	view := func(at holdfast.Position) string {
		t.Helper()
		return answered(t, nc, "demo.view.balances.a=2E1", "", "Holdfast-After", at.String())
	}
	send(&bankpb.OpenAccount{Owner: "Ada"}, "a.1")
	at := send(&bankpb.Deposit{Amount: 7}, "a.1")
	has(view(at), fmt.Sprintf(`{"projection":"balances","key":"a=2E1","position":"%s","value":{"owner":"Ada","balance":7}}`, at))
	has(answered(t, nc, "demo.views", ""), `{"projection":"balances","form":"documents","where":"SQLite, file balances.db on each node","generation":1,"position":"`,
		`{"projection":"statement","form":"rows",`, `"answers":false}`)
	has(answered(t, nc, "demo.view.owners.a=2E1", "", "Holdfast-After", at.String()), `"value":{"owner":"Ada","balance":0}}`)
	has(answered(t, nc, "demo.views", ""), `"where":"NATS KV, bucket demo_view_owners_1","bucket":"demo_view_owners_1"`)
	has(inKV(t, nc, "demo_view_owners_1", "a=2E1"), `"value":{"owner":"Ada","balance":0}`)
	has(answered(t, nc, "demo.view.balances.a-2", ""), "404 balances has nothing under the key a-2")
	has(answered(t, nc, "demo.view.statement.a-2", ""), "404 the projection statement has no Show: read its tables")
	has(answered(t, nc, "demo.view.balances.a-2", "", "Holdfast-After", "0-99"), "400 header Holdfast-After: 0-99 is beyond the end of this log, 0-2")
	has(answered(t, nc, "demo.view.balances.a-2", "", "Holdfast-After", "7-1"), "400 ")

	shows(cli.ExitOK, "balances   live   0-2", "projections")
	shows(cli.ExitOK, "generation 1, serving, revision 0: live", "projections", "show", "balances")
	shows(cli.ExitOK, `{"name":"statement","state":"live"`, "projections", "--json")
	shows(cli.ExitFailure, "unknown: projection accounts is unknown: there are balances, index, owners, statement", "projections", "show", "accounts")
	check(cli.ExitOK, "balances: generation 2 is ready", "projections", "rebuild", "balances", "--wait", "--as", "ann")
	check(cli.ExitOK, "They are the same.", "projections", "compare", "balances")
	check(cli.ExitOK, "generation 2 serves", "projections", "switch", "balances")
	has(view(send(&bankpb.Deposit{Amount: 1}, "a.1")), `"balance":8`)
	check(cli.ExitOK, "generation 1 serves", "projections", "back", "balances")
	has(view(send(&bankpb.Deposit{Amount: 1}, "a.1")), `"balance":9`)
	check(cli.ExitOK, "generation 2 is dropped", "projections", "drop", "balances")
	check(cli.ExitOK, "They are the same.", "projections", "verify", "balances")
	check(cli.ExitOK, "They are the same.", "projections", "verify", "statement")
	check(cli.ExitOK, "They are the same.", "projections", "verify", "owners")

	check(cli.ExitOK, "balances: pause, by ann", "projections", "pause", "balances", "--reason", "a look", "--as", "ann")
	at = send(&bankpb.Deposit{Amount: 1}, "a.1")
	waits, answer := nc, make(chan string, 1)
	go func() { answer <- answered(t, waits, "demo.view.balances.a=2E1", "", "Holdfast-After", at.String()) }()
	shows(cli.ExitOK, "paused by ann since", "projections", "show", "balances")
	check(cli.ExitOK, "balances: resume, by", "projections", "resume", "balances")
	has(<-answer, `"balance":10`)

	has(view(send(&bankpb.Deposit{Amount: 13}, "a.1")), `"balance":10`)
	send(&bankpb.Deposit{Amount: 2}, "a.1")
	at = send(&bankpb.Deposit{Amount: 3}, "a.1")
	has(view(at), `"balance":10`)
	shows(cli.ExitOK, "balances  account/a.1  3", "parked")
	shows(cli.ExitOK, `refused: nobody takes 13; tried 3 times`, "parked", "show", "balances", "account/a.1")
	shows(cli.ExitOK, "balances account/a.1: retry, by ann; keys with parked events: 1", "parked", "retry", "balances", "account/a.1", "--as", "ann")
	team.mended.Store(true)
	shows(cli.ExitOK, "nothing is parked any more", "parked", "retry", "balances", "--all")
	has(view(at), `"balance":28`)
	domain.Projections = team.projections()
	defer func() { domain.Projections = nil }()
	check(cli.ExitOK, `{"owner":"Ada","balance":7}`, "projections", "as-of", "balances", "--at", "0-2", "--key", "a.1")
	check(cli.ExitOK, `{"key":"a.1","position":"0-2","projection":"balances","value":{"owner":"Ada","balance":7}}`, "projections", "as-of", "balances", "--at", "0-2", "--key", "a.1", "--json")
	check(cli.ExitOK, `"a.1"  {"owner":"Ada","balance":28}`, "projections", "as-of", "balances", "--at", time.Now().UTC().Format(time.RFC3339Nano))
	check(cli.ExitOK, `{"key":"[\"a.1\",2]","row":{"account":"a.1","version":2,"amount":7},"table":"lines"}`, "projections", "as-of", "statement", "--at", "0-2", "--json")
	check(cli.ExitFailure, `balances had nothing under the key "a.1" then`, "projections", "as-of", "balances", "--at", "0-0", "--key", "a.1")
	check(cli.ExitFailure, "0-999 is beyond the end of the log", "projections", "as-of", "balances", "--at", "0-999")
	check(cli.ExitUsage, `NAME: this binary has no projection "accounts"`, "projections", "as-of", "accounts", "--at", "0-1")
	check(cli.ExitUsage, `--at "yesterday": want a time such as`, "projections", "as-of", "balances", "--at", "yesterday")
	check(cli.ExitUsage, "--key: the projection statement has no Show", "projections", "as-of", "statement", "--at", "0-1", "--key", "a.1")
	team.mended.Store(false)
	check(cli.ExitOK, "left out are 3 events, which could not be handled, or come after such in their key; the first is account/a=2E1@", "projections", "as-of", "balances", "--at", at.String())
	team.mended.Store(true)
	check(cli.ExitOK, "balances: reset, by", "projections", "reset", "balances", "--to", "0-1")

	stop(t, n)
	n = start(t, c)
	nc = visitor(t, n)
	has(view(send(&bankpb.Deposit{Amount: 1}, "a.1")), `"owner":"Ada"`)
}

// A node whose database cannot be reached starts, serves, and says so.
func TestProjectionsWithoutTheirDatabase(t *testing.T) {
	c, team := config(t), new(clerks)
	c.Projections, c.Database = team.projections(), "postgres://ann:secret@127.0.0.1:1/none"
	n := start(t, c)
	sent(t, n, holdfast.Ref{Type: "account", ID: "a-1"}, &bankpb.OpenAccount{Owner: "Ada"}, holdfast.Meta{})
	deadline := time.After(30 * time.Second)
	for {
		out, errs, code := run("projections", "show", "balances", "--data", c.Data)
		if strings.Contains(out+errs, "secret") {
			t.Fatalf("it shows the password:\n%s%s", out, errs)
		}
		if code == cli.ExitOK && strings.Contains(out, "balances is blocked: ") && strings.Contains(out, "127.0.0.1") {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("it does not say that it is blocked:\n%s%s", out, errs)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestConfigOfProjections(t *testing.T) {
	c := config(t)
	for want, change := range map[string]func(*node.Config){
		"Projections: one of them is nil":            func(c *node.Config) { c.Projections = append(c.Projections, nil) },
		"Projections: two of them are called":        func(c *node.Config) { c.Projections = append(c.Projections, c.Projections[0]) },
		"Database: want one like postgres://user@ho": func(c *node.Config) { c.Database = "mysql://ann:secret@here" },
	} {
		wrong := c
		wrong.Projections = new(clerks).projections()
		change(&wrong)
		if err := wrong.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, errs, code := run("run", "--database", "mysql://ann:secret@here"); code != cli.ExitUsage || !strings.Contains(errs, "--database: want one like") || strings.Contains(errs, "secret") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// What a projection does, it does in all partitions of the log.
func TestProjectionsOfPartitions(t *testing.T) {
	c := config(t)
	c.Partitions, c.Projections = 3, new(clerks).projections()
	n := start(t, c)
	last := map[uint32]holdfast.Position{}
	for i := range 12 {
		ref := holdfast.Ref{Type: "account", ID: fmt.Sprint("a-", i)}
		for _, command := range []holdfast.Command{&bankpb.OpenAccount{Owner: "Ada"}, &bankpb.Deposit{Amount: int64(i + 1)}} {
			r := sent(t, n, ref, command, holdfast.Meta{})
			last[r.Position.Partition()] = r.Position
		}
	}
	if len(last) != 3 {
		t.Fatalf("the accounts are in %d partitions only", len(last))
	}
	everything := fmt.Sprintf("%s,%s,%s", last[0], last[1], last[2])
	nc := visitor(t, n)
	for i := range 12 {
		got := answered(t, nc, fmt.Sprint("demo.view.owners.a-", i), "", "Holdfast-After", everything)
		if want := fmt.Sprintf(`"position":"%s","value":{"owner":"Ada"`, everything); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := answered(t, nc, "demo.view.owners.a-1", "", "Holdfast-After", "3-1"); !strings.HasPrefix(got, "400 header Holdfast-After: 3-1 is of a partition that this log does not have (it has 3)") {
		t.Errorf("of another partition: %s", got)
	}
	domain.Projections = c.Projections
	defer func() { domain.Projections = nil }()
	for _, at := range []string{everything, time.Now().UTC().Format(time.RFC3339Nano)} {
		out, errs, code := run("projections", "as-of", "balances", "--at", at, "--data", c.Data)
		if code != cli.ExitOK || strings.Count(out, "\n") != 12 || !strings.Contains(out, `"a-11"  {"owner":"Ada","balance":12}`) {
			t.Errorf("as of %s: exit code %d\n%s%s", at, code, out, errs)
		}
	}
	if out, errs, code := run("projections", "as-of", "balances", "--at", last[1].String(), "--data", c.Data); code != cli.ExitFailure ||
		!strings.Contains(errs, "there is no position of partition 0: give one of each of the 3, or a time") {
		t.Errorf("of one position: exit code %d\n%s%s", code, out, errs)
	}
	if out, errs, code := run("projections", "verify", "statement", "--data", c.Data); code != cli.ExitOK || !strings.Contains(out, "lines        12            12\n") {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
}
