package natsd

import (
	"errors"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
)

// greetings is how often a server may be slow to greet before it counts as not there.
const greetings = 3

// Dial connects as nats.Connect does, and again when the server, or this process, was only
// slow to greet: a machine that stands still for two seconds is no reason to give up.
func Dial(url string, opts ...nats.Option) (*nats.Conn, error) {
	return dial(url, greetings, slow, opts)
}

// dial tries so many times as long as the error is one that passes.
func dial(url string, times int, passes func(error) bool, opts []nats.Option) (nc *nats.Conn, err error) {
	for range times {
		if nc, err = nats.Connect(url, opts...); err == nil || !passes(err) {
			break
		}
	}
	return nc, err
}

// slow tells an error that passes when there is more time. A server pings for the first time
// after two seconds, and nats.go, if it is still busy greeting, takes that for the answer to
// its own ping.
func slow(err error) bool {
	var of net.Error
	return errors.As(err, &of) && of.Timeout() || errors.Is(err, nats.ErrTimeout) || strings.Contains(err.Error(), "expected 'PONG', got 'PING'")
}
