package bench

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/bench/report"
	"github.com/holdfast-run/holdfast/examples/bank"
	"github.com/holdfast-run/holdfast/gateway"
	"github.com/holdfast-run/holdfast/internal/natsd"
)

// through has clients send commands as JSON over TCP, as those in any language do, beside
// clients that publish over TCP. Beside the same stands one that asks and is answered at once,
// which tells how much of it is the way there and back.
type through struct {
	deposits
	clients    [][]*nats.Conn // of each part
	publishers [][]*nats.Conn // beside them
}

func newGateway(o options) workload {
	ids := idsOf(o.atMost(1000))
	return &through{deposits: deposits{ids: ids, callers: []int{1, o.atMost(64)}, pick: evenly(ids), earlier: fullTrail}}
}

// prepare implements workload.
func (w *through) prepare(ctx context.Context, s *stage) ([]part, error) {
	parts, err := w.deposits.prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := w.serve(s); err != nil {
		return nil, err
	}
	admin, err := natsd.ReadAdmin(s.servers[0].Config().DataDir)
	if err != nil {
		return nil, err
	}
	for i, n := range w.callers {
		clients, err := s.overTCP(n)
		if err != nil {
			return nil, err
		}
		publishers, err := s.overTCP(n, nats.UserInfo(admin.User, admin.Password))
		if err != nil {
			return nil, err
		}
		w.clients, w.publishers = append(w.clients, clients), append(w.publishers, publishers)
		parts[i].ours = w.asking(clients)
		if parts[i].raw, err = w.publishing(publishers); err != nil {
			return nil, err
		}
		if n == 1 {
			parts = append(parts, part{name: "echo", ours: w.echo(publishers, echoes), raw: parts[i].raw})
		}
	}
	return parts, nil
}

// What the subjects begin with of what is answered at once. Clients may ask on the second, from their
// account into that of the node, as they send commands.
const (
	echoes       = "echo."
	echoesAcross = string(contextName) + ".view.echo."
)

// echo has each client ask one request after the other.
func (w *through) echo(clients []*nats.Conn, subject string) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[string]{len(clients), w.pick}.run(ctx, d, "echo", func(caller int, id string) error {
			_, err := clients[caller].Request(subject+id, []byte(`{"amount":1}`), patience)
			return err
		})
	}
}

// serve starts a gateway, which is stopped with the stage.
func (w *through) serve(s *stage) error {
	nc, err := s.servers[0].Connect(natsd.Gateway)
	if err != nil {
		return err
	}
	s.conns = append(s.conns, nc)
	for _, subject := range []string{echoes, echoesAcross} {
		if _, err := nc.Subscribe(subject+">", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
			return err
		}
	}
	g, err := gateway.Start(gateway.Config{
		Context: contextName, Conn: nc, Types: []holdfast.Definition{bank.Account}, Logger: slog.New(slog.DiscardHandler),
		Sender: s.members[0], Viewer: s.members[0], Reader: s.stores[0],
	})
	if err != nil {
		return fmt.Errorf("serve clients: %w", err)
	}
	s.stops = append(s.stops, g.Stop)
	return nil
}

// overTCP connects so many clients to the first server.
func (s *stage) overTCP(n int, as ...nats.Option) ([]*nats.Conn, error) {
	var out []*nats.Conn
	for range n {
		nc, err := nats.Connect(s.servers[0].ClientURL(), as...)
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, nc)
		out = append(out, nc)
	}
	return out, nil
}

// asking has each client send one command after the other.
func (w *through) asking(clients []*nats.Conn) turn {
	return func(ctx context.Context, d time.Duration) (report.Sample, error) {
		return crowd[string]{len(clients), w.pick}.run(ctx, d, "holdfast", func(caller int, id string) error {
			m, err := clients[caller].Request("bench.cmd.account."+id+".Deposit", []byte(`{"amount":1}`), patience)
			if err != nil {
				return fmt.Errorf("pay into the account %s: %w", id, err)
			}
			if status := m.Header.Get("Nats-Service-Error-Code"); status != "" {
				return fmt.Errorf("pay into the account %s: %s %s", id, status, m.Data)
			}
			w.count(id)
			return nil
		})
	}
}

// publishing has each client publish one message after the other: with nats.go, or by a bare
// request.
func (w *through) publishing(clients []*nats.Conn) ([]turn, error) {
	streams := make([]natsjs.JetStream, len(clients))
	for i, nc := range clients {
		var err error
		if streams[i], err = natsjs.New(nc); err != nil {
			return nil, err
		}
	}
	crowd := crowd[*subject]{len(clients), subjects(w.pick, w.plain.subjectOf)}
	return []turn{
		func(ctx context.Context, d time.Duration) (report.Sample, error) {
			return crowd.run(ctx, d, "nats.go", func(caller int, s *subject) error { return w.plain.publishSync(streams[caller], s) })
		},
		func(ctx context.Context, d time.Duration) (report.Sample, error) {
			return crowd.run(ctx, d, "bare request", func(caller int, s *subject) error {
				s.Lock()
				defer s.Unlock()
				return w.plain.publishOne(clients[caller], s)
			})
		},
	}, nil
}
