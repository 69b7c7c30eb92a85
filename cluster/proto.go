package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	pcluster "github.com/asynkron/protoactor-go/cluster"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// provider is Proto.Actor's source of members: this node, alone.
type provider struct {
	kinds []string
	ready chan struct{} // closed when the node is a member
	once  sync.Once
}

var _ pcluster.ClusterProvider = (*provider)(nil)

// StartMember implements Proto.Actor's ClusterProvider.
func (p *provider) StartMember(c *pcluster.Cluster) error {
	host, port, err := c.ActorSystem.GetHostPort()
	if err != nil {
		return err
	}
	c.MemberList.UpdateClusterTopology(pcluster.Members{{
		Host: host, Port: int32(port), Id: c.ActorSystem.ID, Kinds: p.kinds,
	}})
	p.once.Do(func() { close(p.ready) })
	return nil
}

// StartClient implements Proto.Actor's ClusterProvider.
func (p *provider) StartClient(*pcluster.Cluster) error {
	return errors.New("a node is always a member")
}

// Shutdown implements Proto.Actor's ClusterProvider.
func (p *provider) Shutdown(bool) error { return nil }

// lookup takes the place of Proto.Actor's identity lookup, which is not used: requests
// go by [placement].
type lookup struct{}

var _ pcluster.IdentityLookup = lookup{}

func (lookup) Get(*pcluster.ClusterIdentity) *actor.PID        { return nil }
func (lookup) RemovePid(*pcluster.ClusterIdentity, *actor.PID) {}
func (lookup) Setup(_ *pcluster.Cluster, _ []string, _ bool)   {}
func (lookup) Shutdown()                                       {}

var errOwnPath = errors.New("aggregates are reached through holdfast.Sender")

// refusal takes the place of Proto.Actor's request path, which may deliver one request
// twice.
type refusal struct{}

var _ pcluster.Context = refusal{}

func (refusal) Request(string, string, any, ...pcluster.GrainCallOption) (any, error) {
	return nil, errOwnPath
}

func (refusal) RequestFuture(string, string, any, ...pcluster.GrainCallOption) (actor.Future, error) {
	return nil, errOwnPath
}

// refuseCall and refuseStream keep everybody out: Proto.Actor always listens, whoever
// reaches an actor may stop it, and a single member has nobody to talk to.
func refuseCall(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, errNoMembers
}

func refuseStream(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
	return errNoMembers
}

var errNoMembers = status.Error(codes.PermissionDenied, "this node has no other members")

// quieter passes on what Proto.Actor warns of; its notices are of no use to an operator.
type quieter struct{ slog.Handler }

func (q quieter) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }
