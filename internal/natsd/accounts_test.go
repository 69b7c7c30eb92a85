package natsd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/holdfast-run/holdfast/internal/natsd"
)

const deposit = demo + ".cmd.account.a-1.Deposit"

// client is a connection and what the server refused to do for it.
type client struct {
	*nats.Conn
	refusals chan error
}

func dial(t *testing.T, url string, opts ...nats.Option) client {
	t.Helper()
	refusals := make(chan error, 64)
	opts = append(opts, collect(refusals))
	nc, err := dialTCP(t, url, opts...)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	return client{nc, refusals}
}

func collect(refusals chan<- error) nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err })
}

// denied expects the server to refuse what the client has just sent.
func (c client) denied(t *testing.T, subject string) {
	t.Helper()
	err := receive(t, c.refusals, "refusal of "+subject)
	wantIs(t, err, nats.ErrPermissionViolation)
	wantText(t, err, `"`+subject+`"`)
}

func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushWithContext(within(t)); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// answer has nc answer requests to subject; the subjects asked are returned.
func answer(t *testing.T, nc *nats.Conn, subject, body string) <-chan string {
	t.Helper()
	asked := make(chan string, 64)
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
		if m.Reply != "" {
			if err := m.Respond([]byte(body)); err != nil {
				t.Errorf("respond: %v", err)
			}
		}
		asked <- m.Subject
	})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	return asked
}

func TestClientMayAsk(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	gateway := connect(t, s, natsd.Gateway)
	answer(t, gateway, demo+".>", "done")
	edge := dial(t, s.ClientURL())
	for _, subject := range []string{
		deposit, demo + ".get.account.a-1", demo + ".history.account.a-1",
		demo + ".inbox.account.a-1.Deposit", demo + ".view.balances.a-1", demo + ".views",
	} {
		reply, err := edge.RequestWithContext(within(t), subject, nil)
		if err != nil || string(reply.Data) != "done" {
			t.Errorf("%s: %v, %v", subject, reply, err)
		}
	}
	custom := dial(t, s.ClientURL(), nats.CustomInboxPrefix("_INBOX.me"))
	if _, err := custom.RequestWithContext(within(t), deposit, nil); err != nil {
		t.Errorf("with a custom inbox: %v", err)
	}
	gateway.Close()
	eventually(t, "nobody answers", func() error {
		// Until the server has seen it go, it sends requests to a connection that is closed.
		if _, err := edge.Request(deposit, nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("asking gives the error %w, want %w", err, nats.ErrNoResponders)
		}
		return nil
	})
}

func TestClientMayNotPublish(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	core := connect(t, s, natsd.Node)
	makeLog(t, core, 1)
	edge := dial(t, s.ClientURL())
	for _, subject := range []string{
		demo + ".log.0.account.a-1", demo + ".snap.account.a-1", demo + ".evt.account.a-1.Deposited",
		demo + ".sagas.list", demo + ".sagas.force.checkout.o-1", demo + ".projections.list", demo + ".index.events",
		demo + ".parked.list", demo + ".parked.skip.account.a-1", demo + ".feed.status",
		demo + ".cmd", demo, "other.cmd.account.a-1.Deposit",
		demo + ".outcome.c-1", demo + ".inbox", demo + ".views.x", "_DOOR.CREATE.X", "_PUBLISHER.x", "$KV.lease.a", "$O.files.C.a", "$SYS.REQ.SERVER.PING", "_INBOX.somebody.1", "_R_.somebody",
	} {
		if err := edge.Publish(subject, []byte("forged")); err != nil {
			t.Errorf("publish to %s: %v", subject, err)
			continue
		}
		edge.denied(t, subject)
	}
	if got := count(t, core); got != 0 {
		t.Errorf("%d messages in the log", got)
	}
}

func TestClientMayNotListenIn(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	answer(t, connect(t, s, natsd.Gateway), demo+".cmd.>", "done")
	spy, victim := dial(t, s.ClientURL()), dial(t, s.ClientURL())
	heard := make(chan *nats.Msg, 64)
	for _, subject := range []string{
		">", "*.>", demo + ".>", demo + ".cmd.>", demo + ".*.*.*.*", deposit, demo + ".log.>", demo + ".inbox.>",
		"$SRV.>", "$SRV.PING", "$JS.>", "_R_.>", "_INBOX",
	} {
		for _, queue := range []string{"", "q"} {
			if _, err := spy.QueueSubscribe(subject, queue, func(m *nats.Msg) { heard <- m }); err != nil {
				t.Errorf("subscribe to %s: %v", subject, err)
				continue
			}
			spy.denied(t, subject)
		}
	}
	for range 10 {
		reply, err := victim.RequestWithContext(within(t), deposit, []byte("secret"))
		if err != nil || string(reply.Data) != "done" {
			t.Fatalf("victim got %v, %v", reply, err)
		}
	}
	flush(t, spy.Conn)
	if len(heard) > 0 {
		t.Errorf("the spy heard %s", (<-heard).Subject)
	}
}

// The account boundary alone has to hold, so what answers is a Node
// connection, which may publish anything.
func TestReplySubjectOfClientStoresNothing(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	node := connect(t, s, natsd.Node)
	log := makeLog(t, node, 1)
	asked := answer(t, node, demo+".cmd.>", "{}")
	edge := dial(t, s.ClientURL())
	const forged, ack = demo + ".log.0.account.a-1", "$JS.ACK." + logName + ".c.1.1.1.1.0"
	for _, tt := range []struct {
		reply   string
		header  nats.Header
		refused string // what the server names when it does not pass the request on
	}{
		{reply: forged},
		{reply: "$JS.API.STREAM.DELETE." + logName},
		{reply: "$JS.API.STREAM.PURGE." + logName},
		{reply: "$KV.lease.node"},
		{reply: forged, header: nats.Header{"Nats-Expected-Last-Msg-Id": {"x"}, "Nats-Rollup": {"all"}}},
		{reply: ack, refused: ack},
		{reply: "_R_.somebody", refused: "_R_.somebody"},
		{reply: forged, header: nats.Header{"Nats-Trace-Dest": {forged}}, refused: forged},
		{header: nats.Header{"Nats-Trace-Dest": {forged}, "Nats-Trace-Only": {"true"}}, refused: forged},
	} {
		m := &nats.Msg{Subject: deposit, Reply: tt.reply, Header: tt.header}
		if err := edge.PublishMsg(m); err != nil {
			t.Fatalf("publish: %v", err)
		}
		if tt.refused != "" {
			edge.denied(t, tt.refused)
			continue
		}
		receive(t, asked, "request with reply subject "+tt.reply)
	}
	flush(t, edge.Conn)
	flush(t, node)
	if len(asked) > 0 {
		t.Error("a request that the server refused has arrived")
	}
	// What was sent to the stream before this has been stored before it.
	last, err := stream(t, node).Publish(within(t), demo+".log.0.account.last", nil)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	if last.Sequence != 1 {
		m, err := log.GetMsg(within(t), 1)
		t.Errorf("a client stored %v, %v", m, err)
	}
}

func TestGatewayMayNotPublish(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	node := connect(t, s, natsd.Node)
	makeLog(t, node, 1)
	refusals := make(chan error, 64)
	gateway := client{connect(t, s, natsd.Gateway, collect(refusals)), refusals}
	for _, subject := range []string{
		demo + ".log.0.account.a-1", demo + ".snap.account.a-1", demo + ".evt.account.a-1.Deposited", deposit,
		"$JS.API.STREAM.PURGE." + logName, "$JS.ACK.X.Y.1.1.1.1.0", "$KV.lease.a", "$O.files.C.a",
	} {
		if err := gateway.Publish(subject, []byte("forged")); err != nil {
			t.Errorf("publish to %s: %v", subject, err)
			continue
		}
		gateway.denied(t, subject)
	}
	// The same by way of a reply subject, from within CORE.
	asked := answer(t, gateway.Conn, demo+".cmd.>", "{}")
	forged := demo + ".log.0.account.a-1"
	if err := node.PublishRequest(deposit, forged, nil); err != nil {
		t.Fatal(err)
	}
	receive(t, asked, "request")
	gateway.denied(t, forged)
	if got := count(t, node); got != 0 {
		t.Errorf("%d messages in the log", got)
	}
}

func TestInProcessUsersRefusedOverTCP(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	for _, role := range []natsd.Role{natsd.Node, natsd.Gateway, natsd.Publisher} {
		connect(t, s, role) // The password is right, the way is not.
		nc, err := dialTCP(t, s.ClientURL(), nats.UserInfo(string(role), s.Password(role)))
		if err == nil {
			nc.Close()
			t.Errorf("%s connected over TCP", role)
			continue
		}
		wantIs(t, err, nats.ErrAuthorization)
	}
}

func TestClientLogin(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Listen = "0.0.0.0:0"
	cfg.ClientUser, cfg.ClientPassword = "shop $HOME", `pass "word" $2a$`
	warnings := &journal{}
	cfg.Logger = slogTo(warnings)
	s := start(t, cfg)
	if !strings.HasPrefix(s.ClientURL(), "nats://127.0.0.1:") {
		t.Errorf("ClientURL = %s", s.ClientURL())
	}
	if got := warnings.complaints(); got != "" {
		t.Errorf("logged %s", got)
	}
	for _, opts := range [][]nats.Option{
		nil,
		{nats.UserInfo(cfg.ClientUser, "wrong")},
		{nats.UserInfo("", cfg.ClientPassword)},
	} {
		nc, err := dialTCP(t, s.ClientURL(), opts...)
		if err == nil {
			nc.Close()
			t.Error("connected without the password")
			continue
		}
		wantIs(t, err, nats.ErrAuthorization)
	}
	answer(t, connect(t, s, natsd.Gateway), demo+".cmd.>", "done")
	edge := dial(t, s.ClientURL(), nats.UserInfo(cfg.ClientUser, cfg.ClientPassword))
	if _, err := edge.RequestWithContext(within(t), deposit, nil); err != nil {
		t.Errorf("request: %v", err)
	}
	if err := edge.Publish(demo+".log.0.account.a-1", nil); err != nil {
		t.Fatal(err)
	}
	edge.denied(t, demo+".log.0.account.a-1")
}

func TestMicroServiceAcrossAccounts(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	var ids []string
	for range 3 {
		svc, err := micro.AddService(connect(t, s, natsd.Gateway), micro.Config{
			Name: "gateway", Version: "1.0.0",
			Endpoint: &micro.EndpointConfig{
				Subject: demo + ".cmd.>",
				Handler: micro.HandlerFunc(func(r micro.Request) {
					if err := r.Respond(r.Data()); err != nil {
						t.Errorf("respond: %v", err)
					}
				}),
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, svc.Info().ID)
	}
	slices.Sort(ids)
	edge := dial(t, s.ClientURL())
	reply, err := edge.RequestWithContext(within(t), deposit, []byte("echo"))
	if err != nil || string(reply.Data) != "echo" {
		t.Errorf("endpoint: %v, %v", reply, err)
	}
	for _, tt := range []struct {
		subject string
		want    []string
	}{
		{"$SRV.PING", ids},
		{"$SRV.INFO", ids},
		{"$SRV.STATS", ids},
		{"$SRV.PING.gateway", ids},
		{"$SRV.INFO.gateway." + ids[1], ids[1:2]},
	} {
		if got := discover(t, edge.Conn, tt.subject, len(tt.want)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: answered by %v, want %v", tt.subject, got, tt.want)
		}
	}
}

// discover asks as the nats tool does, and returns the ids of n answers, sorted.
func discover(t *testing.T, nc *nats.Conn, subject string, n int) []string {
	t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		m, err := sub.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatalf("%s: answer %d of %d: %v", subject, i+1, n, err)
		}
		var identity micro.ServiceIdentity
		if err := json.Unmarshal(m.Data, &identity); err != nil {
			t.Fatalf("%s: %s: %v", subject, m.Data, err)
		}
		ids[i] = identity.ID
	}
	slices.Sort(ids)
	return ids
}
