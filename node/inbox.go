package node

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/inbox"
	"github.com/holdfast-run/holdfast/internal/follow"
	"github.com/holdfast-run/holdfast/messages"
)

// runInbox has the node take its part in executing the commands that clients have left.
func (n *Node) runInbox(ctx context.Context, types []holdfast.Definition, core, public *nats.Conn) (err error) {
	c := n.config
	name := messages.Context(c.Context)
	n.inbox.Inbox, err = inbox.Open(ctx, inbox.Config{
		Context: name, Core: core, Public: public, Types: types, Replicas: c.Replicas, Logger: c.Log,
	})
	if err != nil {
		return err
	}
	seats, err := follow.Open(ctx, follow.Config{
		Context: name, Conn: core, Replicas: c.Replicas, Node: c.runs(), Lease: c.Lease, Log: c.Log,
	})
	if err != nil {
		return err
	}
	n.inbox.runner, err = n.inbox.Run(inbox.RunnerConfig{Sender: n.member, Seats: seats})
	return err
}

// serveInbox takes clients' commands for later, and answers operators.
func (n *Node) serveInbox() (err error) {
	n.inbox.door, err = n.inbox.Serve(inbox.DoorConfig{Conn: n.edge, MaxInFlight: n.config.MaxInFlight})
	if err == nil {
		n.inbox.desk, err = n.inbox.ServeOperators(inbox.DeskConfig{Conn: n.edge, Timeout: n.config.Timeout})
	}
	return err
}

// A post is a node's part in the inbox.
type post struct {
	*inbox.Inbox
	runner *inbox.Runner
	door   *inbox.Door
	desk   *inbox.Desk
}

func (p post) stopAnswering(ctx context.Context) (err error) {
	if p.door != nil {
		err = p.door.Stop(ctx)
	}
	if p.desk != nil {
		err = errors.Join(err, p.desk.Stop(ctx))
	}
	return err
}
