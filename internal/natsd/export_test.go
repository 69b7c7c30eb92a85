package natsd

import (
	"context"
	"os"
)

// SyncAlways is what JetStream runs with, not what it was asked for.
func (s *Server) SyncAlways() bool { return s.nats.JetStreamConfig().SyncAlways }

// Password is the random password of role.
func (s *Server) Password(role Role) string {
	password, _ := s.credentials.of(role)
	return password
}

// StartClusterAt is StartCluster with a choice of ports.
func StartClusterAt(
	ctx context.Context, n int, cfg Config, free func(n int) ([]string, error),
) ([]*Server, error) {
	return startCluster(ctx, n, cfg, free)
}

// LockFile is the file whose lock makes the folder the server's own.
func (s *Server) LockFile() *os.File { return s.lock.file }

// AwaitReplicas returns when a stream can have a replica on every member.
func (s *Server) AwaitReplicas(ctx context.Context) error { return s.awaitReplicas(ctx) }

// ClusterSize is the number of servers of the cluster, running or not.
func (s *Server) ClusterSize() int { return s.clusterSize() }

// ErrUnrecovered is the error of a start on a folder that cannot all be served.
var ErrUnrecovered = errUnrecovered
