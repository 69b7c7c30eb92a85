package node

import (
	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/sagas/runner"
)

// Adapt has a node run its sagas with what f makes of it.
func (c Config) Adapt(f func(*runner.Config)) Config {
	c.adapt = f
	return c
}

// Dial connects as one of the node's own connections does.
func (n *Node) Dial(role natsd.Role) (*nats.Conn, error) { return n.dial(role) }
