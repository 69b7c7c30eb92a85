package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
	"github.com/holdfast-run/holdfast/sagas"
	"github.com/holdfast-run/holdfast/sagas/desk"
	"github.com/holdfast-run/holdfast/sagas/runner"
	"github.com/holdfast-run/holdfast/sagas/timers"
)

// typesOf gives the types that sagas are beside the others.
func typesOf(types []holdfast.Definition, sagas []*sagas.Saga) []holdfast.Definition {
	types = slices.Clip(types)
	for _, s := range sagas {
		types = append(types, s.Type())
	}
	return types
}

// runs is the name by which a node knows what it did before it was started again; empty when
// others might have it, too.
func (c Config) runs() string {
	if c.NATS == "" && len(c.Cluster) == 0 {
		return "alone"
	}
	return c.Name
}

// runSagas has the node take its part in what the sagas ask for.
func (n *Node) runSagas(ctx context.Context, conn *nats.Conn) error {
	c := n.config
	if len(c.Sagas) == 0 {
		return nil
	}
	book, err := sagas.NewBook(c.Types, c.Sagas...)
	if err != nil {
		return err
	}
	name := messages.Context(c.Context)
	wakes, err := timers.Open(ctx, timers.Config{Context: name, Conn: conn, Replicas: c.Replicas, Logger: c.Log})
	if err != nil {
		return fmt.Errorf("open the timers of %s: %w", name, err)
	}
	seats, err := follow.Open(ctx, follow.Config{
		Context: name, Conn: conn, Replicas: c.Replicas, Node: c.runs(), Lease: c.Lease, Log: c.Log,
	})
	if err != nil {
		return err
	}
	list, err := desk.Open(ctx, desk.ListConfig{Context: name, Conn: conn, Replicas: c.Replicas})
	if err != nil {
		return err
	}
	config := runner.Config{
		Book: book, Sagas: c.Sagas, Log: n.store, Sender: n.member, Timers: wakes, List: list, Seats: seats, Logger: c.Log,
	}
	if c.adapt != nil {
		c.adapt(&config)
	}
	if n.sagas, err = runner.Start(ctx, config); err != nil {
		return err
	}
	n.startDesk = func() error { return n.serveOperators(book, list) }
	return nil
}

// serveOperators answers the operators of sagas.
func (n *Node) serveOperators(book *sagas.Book, list *desk.List) (err error) {
	c := n.config
	n.desk, err = desk.Start(desk.Config{
		Context: messages.Context(c.Context), Conn: n.edge, Book: book, List: list, Sender: n.member, Viewer: n.member,
		Reader: linkedReader{n.store, n.member.Linked}, Timeout: c.Timeout, Logger: c.Log,
	})
	return err
}
