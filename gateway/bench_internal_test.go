package gateway

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/internal/serve"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/persistence"
)

// instant executes every command at once.
type instant struct {
	holdfast.Viewer
	persistence.Reader
}

func (instant) Send(context.Context, holdfast.Ref, holdfast.Command, ...holdfast.SendOption) (holdfast.Receipt, error) {
	return holdfast.Receipt{Version: 41, Position: holdfast.NewPosition(0, 4711), Events: []string{"bank.v1.Deposited"}}, nil
}

// BenchmarkCommand tells what a command costs beside its execution, which costs nothing here: the
// gateway alone, from a request that has come in to the answer that is to go out, and all that is
// between a client over TCP and its answer, the server and the client included.
func BenchmarkCommand(b *testing.B) {
	const subject, body = "bank.cmd.account.a-1.Deposit", `{"amount":1}`
	server, err := natsd.Start(b.Context(), natsd.Config{DataDir: b.TempDir(), Listen: "127.0.0.1:0", Context: "bank", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()
	nc, err := server.Connect(natsd.Gateway)
	if err != nil {
		b.Fatal(err)
	}
	g, err := Start(Config{
		Context: "bank", Conn: nc, Types: []holdfast.Definition{bank.Account}, Sender: instant{}, Viewer: instant{}, Reader: instant{},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := g.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	b.Run("gateway", func(b *testing.B) {
		b.ReportAllocs()
		e := g.endpoints[0]
		for b.Loop() {
			r := serve.Request{
				Subject: subject, Reply: "_INBOX.x", Body: []byte(body), At: time.Unix(0, 0),
				Headers: map[string][]string{"Nats-Request-Info": {`{"acc":"EDGE"}`}},
			}
			r.Protobuf = wantsProtobuf(messages.KindCommand, r.Headers)
			if _, err := e.Handle(b.Context(), &r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		client, err := natsd.Dial(server.ClientURL())
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		for b.Loop() {
			m, err := client.Request(subject, []byte(body), time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			if m.Header.Get("Nats-Service-Error") != "" {
				b.Fatal(m.Header)
			}
		}
	})
}
