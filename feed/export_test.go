package feed

import (
	"time"

	"github.com/nats-io/nats.go"
)

// A Line is for tests what carries messages.
type Line = line

// Over has the messages carried by another line.
func (c Config) Over(l Line) Config {
	c.line = l
	return c
}

// Sweeping has no more than so many marks, or a few more.
func (c Config) Sweeping(n int) Config {
	c.sweep = n
	return c
}

// Settling takes an error for past after so long.
func (c Config) Settling(d time.Duration) Config {
	c.settled = d
	return c
}

// Of a batch.
const (
	HeaderCommit = headerCommit
	MaxMessages  = maxMessages
	MaxParts     = maxParts
)

var _ Line = (*nats.Conn)(nil)

// PublishBatch is what writes.
var PublishBatch = publishBatch
