package cli_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/node/cli"
)

// nobody is the access to nodes that are not there.
var nobody = cli.Access{
	Bind: func(fs *pflag.FlagSet) { fs.String("data", "here", "`folder` of the node") },
	Find: func() (cli.Nodes, error) {
		return cli.Nodes{Context: "shop", Name: "here", Flag: "--data", Connect: func(...nats.Option) (*nats.Conn, error) {
			return nil, errors.New("nobody is here")
		}}, nil
	},
}

// A stubDesk answers operators on a real NATS server with what the desk of package desk has
// answered in its own tests, and misbehaves when told to.
type stubDesk struct {
	t      *testing.T
	server *natsd.Server

	mu    sync.Mutex
	asked []*nats.Msg
	// fault is asked about every request, with its number from 1; it answers when it is not
	// nil.
	fault func(n int, m *nats.Msg) *nats.Msg
}

func startDesk(t *testing.T) *stubDesk {
	t.Helper()
	server, err := natsd.Start(t.Context(), natsd.Config{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", Context: "shop", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	conn, err := server.Connect(natsd.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	d := &stubDesk{t: t, server: server}
	for _, subjects := range []string{"shop.sagas.>", "shop.index.>", "shop.parked.>", "shop.projections.>", "shop.feed.>"} {
		if _, err := conn.Subscribe(subjects, d.receive); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return d
}

// operator is a terminal whose user reaches the desk.
func (d *stubDesk) operator() *terminal {
	d.t.Helper()
	tm := newTerminal(d.t, nil)
	tm.access.Find = func() (cli.Nodes, error) {
		return cli.Nodes{Context: "shop", Name: "the folder", Flag: "--data", Connect: func(opts ...nats.Option) (*nats.Conn, error) {
			return d.server.Connect(natsd.Node, opts...)
		}}, nil
	}
	return tm
}

func (d *stubDesk) onRequest(f func(n int, m *nats.Msg) *nats.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// last gives what was asked last: subject, headers that matter, and body.
func (d *stubDesk) last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 {
		return ""
	}
	m := d.asked[len(d.asked)-1]
	text := m.Subject
	for _, h := range []string{messages.HeaderUser, messages.HeaderID, messages.HeaderExpectedVersion} {
		if v := m.Header.Get(h); v != "" {
			text += " " + v
		}
	}
	return text + " " + string(m.Data)
}

func (d *stubDesk) receive(m *nats.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, m)
	var reply *nats.Msg
	if d.fault != nil {
		reply = d.fault(len(d.asked), m)
	}
	if reply == nil {
		reply = d.answer(m)
	}
	if len(reply.Data) == 0 { // it is not answered
		return
	}
	if err := m.RespondMsg(reply); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		d.t.Errorf("respond: %v", err)
	}
}

func (d *stubDesk) answer(m *nats.Msg) *nats.Msg {
	subject, err := messages.ParseDeskSubject(m.Subject)
	if err != nil {
		return refuse(400, "malformed", err.Error())
	}
	name := "acted"
	switch subject.Verb {
	case messages.DeskList:
		name = "list"
	case messages.DeskShow:
		name = subject.ID.String()
	default:
	}
	body, err := os.ReadFile(filepath.Join("..", "..", "sagas", "desk", "testdata", name+".json"))
	if err != nil {
		return refuse(404, "unknown", "nothing has happened to "+messages.FormatRef(subject.Saga, subject.ID))
	}
	return &nats.Msg{Data: body}
}
