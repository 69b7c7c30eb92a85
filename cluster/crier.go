package cluster

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// A crier tells the log why nodes do not come together, of each of them once in a while:
// who is refused comes back many times a second.
type crier struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	told map[string]time.Time
}

const (
	tellAgain = 10 * time.Second
	// mostTold bounds those that are remembered: strangers come from anywhere.
	mostTold = 64
)

func newCrier(log *slog.Logger, now func() time.Time) *crier {
	return &crier{log: log, now: now, told: map[string]time.Time{}}
}

func (c *crier) warn(of, message string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if last, ok := c.told[of]; ok && now.Sub(last) < tellAgain {
		return
	}
	if len(c.told) >= mostTold {
		clear(c.told)
	}
	c.told[of] = now
	c.log.Warn(message, args...)
}

// watched is TLS that tells whom it has refused, which gRPC keeps to itself.
type watched struct {
	credentials.TransportCredentials
	crier *crier
}

// ServerHandshake is that of TLS.
func (w watched) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	from := conn.RemoteAddr().String()
	secure, info, err := w.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) { // which is somebody who looked whether the port is open
		host, _, splitErr := net.SplitHostPort(from)
		if splitErr != nil {
			host = from
		}
		w.crier.warn("from "+host, "a node was refused: both need valid certificates of an authority that both trust", "from", from, "error", err)
	}
	return secure, info, err
}

// Clone is that of TLS.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.crier}
}
