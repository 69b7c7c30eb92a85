package natsd

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// portsFree is how long the server's ports may be another's before it starts, and fails.
const portsFree = 2 * time.Second

// awaitPorts returns when the ports that are given are free, or not soon. What a stopped server
// listened at may be taken for a moment longer: a process that this one begins meanwhile has
// all its files until it has become what it is to be.
func (s *Server) awaitPorts(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, portsFree)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for s.portTaken() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) portTaken() bool {
	addresses := []string{s.cfg.Listen}
	if c := s.cfg.Cluster; c != nil {
		addresses = append(addresses, c.Listen)
	}
	for _, address := range addresses {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return true
		}
		if err == nil {
			_ = l.Close()
		}
	}
	return false
}
