package node

import (
	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/door"
	"github.com/holdfast-run/holdfast/internal/natsd"
	"github.com/holdfast-run/holdfast/messages"
)

// openDoor has clients that ask for consumers answered. An external server answers them
// itself, with the rights that its operator has given to them.
func (n *Node) openDoor(public *nats.Conn) (err error) {
	if n.server == nil {
		return nil
	}
	n.door, err = door.Start(door.Config{
		Context: messages.Context(n.config.Context), Conn: public, Prefix: natsd.DoorPrefix, Logger: n.config.Log,
	})
	return err
}
